"""How long answers are: one histogram for several groups of them, as a PNG and in the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from srl_agent.reports.figures import (
    BLUE,
    ORANGE,
    PURPLE,
    STYLE,
    TEAL,
    figure_of,
    legend,
    themed_svg,
)
from srl_agent.reports.plots import Plot
from srl_envs.errors import MissingDependencyError, install_command

_COLOURS = (BLUE, ORANGE, TEAL, PURPLE)
_BINS = 30


def length_histogram(name: str, title: str, groups: Mapping[str, Sequence[int]]) -> Plot | None:
    """Draw how the lengths of each group are distributed, in shares of the group.

    All groups have the same bins; a dashed line is a group's mean.

    Args:
        name: Of the PNG file.
        title: Above it.
        groups: Lengths in tokens by the group's label; at most four groups, empty ones
            are left out.

    Returns:
        The plot; None if all groups are empty.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            f"Length histograms need matplotlib: {install_command('train')}"
        ) from error
    filled = {label: lengths for label, lengths in groups.items() if lengths}
    if not filled:
        return None
    longest = max(map(max, filled.values()))
    edges = np.linspace(0, max(longest, _BINS), _BINS + 1).tolist()
    caption = "Tokens in an answer; the bars of each group add up to 100 %, dashed lines are means."
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, (axes,) = figure_of(1)
        for (label, lengths), colour in zip(filled.items(), _COLOURS, strict=False):
            shares = [100 / len(lengths)] * len(lengths)
            axes.hist(lengths, edges, weights=shares, color=colour, alpha=0.3)
            axes.hist(
                lengths,
                edges,
                weights=shares,
                color=colour,
                histtype="step",
                linewidth=1.4,
                label=f"{label}, mean {fmean(lengths):.0f}",
            )
            axes.axvline(fmean(lengths), color=colour, linestyle=(0, (3, 2)), linewidth=1.2)
        axes.set_xlim(0, edges[-1])
        axes.set_xlabel("tokens in an answer")
        axes.set_ylabel("% of answers")
        legend(axes)
        svg = themed_svg(figure, name, f"{title}. {caption}")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=200, facecolor="white")
    return Plot(name, title, caption, svg, png.getvalue())

"""How figures look.

Colours, style, kinds of marks, and an SVG that follows the page's light or dark theme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from srl_agent.runs.records import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1f2430", "#667085", "#e4e7ec"
BLUE, ORANGE, TEAL, PURPLE, RED, GOLD, GREY = (
    "#2563eb",
    "#d9730d",
    "#0d9488",
    "#7c3aed",
    "#d1435b",
    "#a07800",
    "#98a2b3",
)
CSS_NAMES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BLUE: "--blue",
    ORANGE: "--orange",
    TEAL: "--teal",
    PURPLE: "--purple",
    RED: "--red",
    GOLD: "--gold",
    GREY: "--grey",
}
"""The CSS variable for each colour in the page.

With it plots follow the page's light or dark theme.
"""

LAYERS = (TEAL, ORANGE, PURPLE, RED, GOLD, BLUE, GREY)
MOST_BARS = 80  # more of them would be too thin to tell apart
FIGURE_INCHES = (5.2, 3.7)
DASHES = (0, (3, 2))
LONGEST_LABEL = 40  # characters
SMOOTHED_FROM = 40  # training rewards of fewer steps are readable as they are

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
    "text.parse_math": False,  # a malformation's name is not a formula
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
}
"""matplotlib settings of all figures."""


def figure_of(panels: int, heights: Sequence[float] | None = None) -> tuple[Figure, Sequence[Axes]]:
    """A figure of ``panels`` axes above each other that share the x axis."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained")
    grid = figure.subplots(
        panels,
        1,
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": heights or [1] * panels},
    )
    return figure, list(grid[:, 0])


def noisy_line(axes: Axes, series: Series, label: str, colour: str) -> None:
    """A line; one of many points is drawn faint, with its moving mean on top."""
    if not series:
        return
    count = len(series.steps)
    if count < SMOOTHED_FROM:
        axes.plot(
            series.steps, series.values, color=colour, label=label, marker="." if count < 30 else ""
        )
        return
    axes.plot(series.steps, series.values, color=colour, alpha=0.3, linewidth=0.9)
    window = max(5, count // 20) | 1
    sums, counts = (
        np.convolve(values, np.ones(window), mode="same")
        for values in (series.values, np.ones(count))
    )
    axes.plot(series.steps, sums / counts, color=colour, label=label)


def level_line(axes: Axes, level: float | None, label: str) -> None:
    """A dashed reference level.

    A level far outside the data is given in words instead, so that it does not flatten
    the curves.
    """
    if level is None:
        return
    low, high = axes.get_ylim()
    if axes.has_data() and not low - 0.6 * (high - low) <= level <= high + 0.6 * (high - low):
        side = "below" if level < low else "above"
        words = f"{label}: {level:.3g} ({side})".replace("-", "\N{MINUS SIGN}")
        axes.plot([], [], color=MUTED, linestyle=DASHES, linewidth=1.2, label=words)
    else:
        axes.axhline(level, color=MUTED, linestyle=DASHES, linewidth=1.2, label=label)


def stack(axes: Axes, steps: Sequence[int], layers: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Stacked bars; of many steps, one bar for the mean of some neighbouring ones."""
    places, width = binned(steps, steps)[0], 0.8
    if len(places) > 1:
        width = 0.8 * min(after - before for before, after in pairwise(places))
    floor = np.zeros(len(places))
    for (label, values), colour in zip(layers, LAYERS, strict=False):
        means = binned(steps, values)[1]
        axes.bar(places, means, width, bottom=floor, color=colour, label=label)
        floor += np.asarray(means)


def binned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean steps and mean values of at most ``MOST_BARS`` bins.

    Bins are of neighbouring points, all but the last of equal size.
    """
    size = -(-len(steps) // MOST_BARS)
    starts = range(0, len(steps), max(size, 1))
    return [fmean(steps[start : start + size]) for start in starts], [
        fmean(values[start : start + size]) for start in starts
    ]


def step_axis(axes: Axes, label: str = "training step") -> None:
    """Label the x axis and put its ticks on whole steps."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))


def legend(axes: Axes) -> None:
    """A legend above the axes, in as many columns as fit the figure's width."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    labels = [
        (
            label
            if len(label) <= LONGEST_LABEL
            else label[: LONGEST_LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
        )
        for label in labels
    ]
    columns = max(
        count
        for count in range(1, 5)
        if count == 1 or _legend_inches(labels, count) < FIGURE_INCHES[0] - 0.9
    )
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns)


def _legend_inches(labels: Sequence[str], columns: int) -> float:
    """The approximate width of a legend whose columns are filled one by one.

    In inches at a font size of 9 points.
    """
    widest = [
        max(map(len, column))
        for column in np.array_split(np.asarray(labels, dtype=object), columns)
        if len(column)
    ]
    return sum(0.075 * length + 0.45 for length in widest)


def themed_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element for the page.

    It scales, uses the page's font and colours, and has unique ids.
    """
    with io.StringIO() as buffer:
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
        drawn = buffer.getvalue()
    drawn = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>",
        "",
        drawn[drawn.index("<svg") :],
        flags=re.DOTALL,
    )
    drawn = re.sub(
        r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), drawn
    )  # a hundredth of a point is enough
    drawn = re.sub(r"font: (\d+ )?([\d.]+)px [^;\"]+", r"font-size: \2px", drawn)
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(url\(|href=")#', rf"\1#{name}-", drawn)
    for colour, variable in CSS_NAMES.items():
        drawn = drawn.replace(colour, f"var({variable})")
    head, rest = drawn.split(">", 1)
    view = re.search(r'viewBox="[^"]+"', head)
    assert view is not None  # matplotlib always writes one
    return (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} role="img"'
        f' aria-label="{escape(description, quote=True)}">{rest}'
    )

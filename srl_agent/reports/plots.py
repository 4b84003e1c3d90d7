"""The plots of a run's report.

Each function draws one figure from a run's records, or returns None if there is nothing
to draw.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srl_agent.reports.figures import (
    BLUE,
    GREY,
    INK,
    LAYERS,
    ORANGE,
    PURPLE,
    STYLE,
    TEAL,
    binned,
    figure_of,
    legend,
    level_line,
    noisy_line,
    stack,
    step_axis,
    themed_svg,
)
from srl_agent.runs.answers import Answer
from srl_agent.runs.records import RunRecords, Series
from srl_envs.errors import MissingDependencyError, install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: Names the PNG file.
        title: Heading.
        caption: One sentence that says how to read it.
        svg: An ``<svg>`` element that takes its colours from the page's CSS variables.
        png: The same plot as a PNG file on white, with the title.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def draw_plots(records: RunRecords) -> list[Plot]:
    """All plots that the records have data for.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            f"The plots of a report need matplotlib: {install_command('train')}"
        ) from error
    plots = []
    for name, title, caption, draw in _PLOTS:
        title, caption = _in_words_of(records, title), _in_words_of(records, caption)
        settings: Any = {**STYLE, "svg.hashsalt": name}
        with matplotlib.rc_context(settings):
            figure = draw(records)
            if figure is not None:
                svg = themed_svg(figure, name, f"{title}. {caption}")
                figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
                png = io.BytesIO()
                figure.savefig(png, format="png", dpi=200, facecolor="white")
                plots.append(Plot(name, title, caption, svg, png.getvalue()))
    return plots


def _in_words_of(records: RunRecords, text: str) -> str:
    method = records.method
    return text.format(
        method=method.label, Measure=method.measure.capitalize(), rewarded=method.explained
    )


def _reward(records: RunRecords) -> Figure | None:
    return _curves(
        records,
        records.method.measure,
        {"training, kept": ("reward", ORANGE), "training, all": ("reward_all", GREY)},
        validation="eval_reward",
    )


def _similarity(records: RunRecords) -> Figure | None:
    return _curves(
        records,
        "similarity, well-formed answers",
        {"training": ("similarity", ORANGE)},
        validation="eval_similarity",
    )


def _mean_length(records: RunRecords) -> Figure | None:
    return _curves(
        records,
        "tokens in an answer",
        {"training": ("completions/mean_length", ORANGE)},
        validation="eval_mean_length",
    )


def _curves(
    records: RunRecords, label: str, training: Mapping[str, tuple[str, str]], validation: str
) -> Figure | None:
    """Curves of training and validation over the training steps.

    The untrained model's level is drawn too.
    """
    curves = [(name, records.train.series(key), colour) for name, (key, colour) in training.items()]
    held_out, base = _validation(records, validation), _level(records, "base", validation)
    if not (held_out or any(series for _, series, _ in curves)):
        return None
    figure, (axes,) = figure_of(1)
    for name, series, colour in curves:
        noisy_line(axes, series, name, colour)
    if held_out:
        axes.plot(held_out.steps, held_out.values, "o-", color=BLUE, label="validation", zorder=3)
    level_line(axes, base, "base model")
    axes.set_ylabel(label)
    step_axis(axes)
    legend(axes)
    return figure


def _format(records: RunRecords) -> Figure | None:
    rate, held_out = records.train.series("format_rate"), _validation(records, "eval_format_rate")
    base = _level(records, "base", "eval_format_rate")
    reasons = records.train.names("malformed/")[: len(LAYERS)]
    if not (rate or held_out or reasons):
        return None
    axes: Sequence[Axes]
    figure, axes = figure_of(2 if reasons else 1)
    noisy_line(axes[0], rate, "training", ORANGE)
    if held_out:
        axes[0].plot(
            held_out.steps, held_out.values, "o-", color=BLUE, label="validation", zorder=3
        )
    axes[0].set_ylim(-0.03, 1.03)
    level_line(axes[0], base, "base model")
    axes[0].set_ylabel("well-formed")
    legend(axes[0])
    if reasons:
        stack(axes[1], *_malformed_shares(records, reasons))
        axes[1].set_ylabel("malformed")
        legend(axes[1])
    step_axis(axes[-1])
    return figure


def _malformed_shares(
    records: RunRecords, reasons: Sequence[str]
) -> tuple[Sequence[int], list[tuple[str, Sequence[float]]]]:
    """Each malformation's share of all training answers, by step.

    It may be logged as counts or as shares.
    """
    layers: list[tuple[str, list[float]]] = [(reason, []) for reason in reasons]
    for row in records.train.rows.values():
        total = sum(row.get(f"malformed/{reason}", 0.0) for reason in reasons)
        rate = row.get("format_rate")
        scale = (1 - rate) / total if rate is not None and total > 0 else 1.0
        for reason, values in layers:
            values.append(row.get(f"malformed/{reason}", 0.0) * scale)
    return records.train.steps, [(reason.replace("_", " "), values) for reason, values in layers]


def _groups(records: RunRecords) -> Figure | None:
    layers = [(name, _filled(records, f"groups_{name}")) for name in ("kept", "dropped", "surplus")]
    layers = [(name, values) for name, values in layers if any(values)]
    rounds = records.train.series("rounds")
    if not layers:
        return None
    figure, axes = figure_of(2 if rounds else 1, heights=(3, 1) if rounds else None)
    stack(axes[0], records.train.steps, layers)
    axes[0].set_ylabel("groups")
    legend(axes[0])
    if rounds:
        axes[1].plot(*binned(rounds.steps, rounds.values), color=INK, drawstyle="steps-mid")
        axes[1].set_ylim(0, max(rounds.values) * 1.25 or 1)
        axes[1].set_ylabel("rounds")
        axes[1].locator_params(axis="y", integer=True, nbins=3)
    step_axis(axes[-1])
    return figure


def _length_distribution(records: RunRecords) -> Figure | None:
    before = "warmup" if records.final_samples("warmup") else "base"
    method = records.method
    stages = (
        (before, f"before {method.label}", ORANGE),
        (method.name, f"after {method.label}", BLUE),
    )
    lengths = [
        (label, values, colour)
        for stage, label, colour in stages
        if (values := _lengths(records.final_samples(stage)))
    ]
    if not lengths:
        return None
    pooled = [value for _, values, _ in lengths for value in values]
    edges = np.histogram_bin_edges(pooled, bins=min(32, max(8, 2 * int(len(pooled) ** 0.5))))
    figure, (axes,) = figure_of(1)
    for label, values, colour in lengths:
        shares = np.histogram(values, bins=edges)[0] / len(values)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.28)
        axes.stairs(
            shares,
            edges,
            color=colour,
            linewidth=1.6,
            label=f"{label}, median {np.median(values):.0f}",
        )
    axes.set_xlabel("tokens in an answer")
    axes.set_ylabel("share of held-out answers")
    legend(axes)
    return figure


def _seconds(records: RunRecords) -> Figure | None:
    names = records.train.names("time/")[: len(LAYERS)]
    if not names:
        return None
    layers = [(name, _filled(records, f"time/{name}")) for name in names]
    figure, (axes,) = figure_of(1)
    stack(
        axes,
        records.train.steps,
        [(f"{name}, mean {np.mean(values):.3g} s", values) for name, values in layers],
    )
    axes.set_ylabel("seconds a step")
    step_axis(axes)
    legend(axes)
    return figure


def _optimization(records: RunRecords) -> Figure | None:
    names = (
        ("loss", "loss", PURPLE),
        ("grad_norm", "grad norm", TEAL),
        ("learning_rate", "lr", INK),
    )
    curves = [
        (key, label, series, colour)
        for key, label, colour in names
        if (series := records.train.series(key))
    ]
    if not curves:
        return None
    figure, axes = figure_of(len(curves))
    for panel, (key, label, series, colour) in zip(axes, curves, strict=True):
        if key == "learning_rate":  # set, not measured: nothing to smooth
            panel.plot(series.steps, series.values, color=colour)
        else:
            noisy_line(panel, series, label, colour)
        panel.set_ylabel(label)
    figure.align_ylabels(list(axes))
    step_axis(axes[-1])
    return figure


def _warmup_loss(records: RunRecords) -> Figure | None:
    loss = records.warmup.series("loss")
    if not loss:
        return None
    figure, (axes,) = figure_of(1)
    noisy_line(axes, loss, "loss", ORANGE)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("cross-entropy, nats a token")
    step_axis(axes, "warm-up step")
    return figure


_PLOTS: tuple[tuple[str, str, str, Callable[[RunRecords], Figure | None]], ...] = (
    (
        "reward",
        "{Measure}",
        "{rewarded} In training: of the kept groups and of all that were drawn.",
        _reward,
    ),
    (
        "similarity",
        "Similarity",
        "2M/T to the expert's action, mean of the well-formed answers alone.",
        _similarity,
    ),
    (
        "format",
        "Format",
        (
            "Share of well-formed answers (where whole problems are asked: those with a final"
            " answer); below, the malformed training answers by reason."
        ),
        _format,
    ),
    (
        "groups",
        "Dynamic sampling",
        "Groups of answers that were trained on, dropped for lack of spread, or left over.",
        _groups,
    ),
    (
        "lengths",
        "Answer length before and after {method}",
        "Held-out answers, the same bins for all.",
        _length_distribution,
    ),
    (
        "mean_length",
        "Mean answer length",
        "In tokens; a method should not owe its gains to longer answers.",
        _mean_length,
    ),
    (
        "seconds",
        "Time of a step",
        (
            "Wall time of the main process by phase; other is tensors, optimizer, and waiting for"
            " other processes."
        ),
        _seconds,
    ),
    (
        "optimization",
        "Optimization",
        (
            "Of the {method} stage. The level of a policy-gradient loss says little; the gradient"
            " norm should stay bounded."
        ),
        _optimization,
    ),
    ("warmup_loss", "Warm-up loss", "Of the supervised format warm-up.", _warmup_loss),
)


def _validation(records: RunRecords, key: str) -> Series:
    """Validation over the training steps.

    The point at step 0 is the model after the warm-up, where training begins.
    """
    points = dict(zip(*_pair(records, records.method.name, key), strict=True))
    start = _level(records, "warmup", key)
    if start is not None:
        points.setdefault(0, start)
    ordered = sorted(points.items())
    return Series(tuple(step for step, _ in ordered), tuple(value for _, value in ordered))


def _pair(records: RunRecords, stage: str, key: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    log = records.evaluations.get(stage)
    series = log.series(key) if log else Series((), ())
    return series.steps, series.values


def _level(records: RunRecords, stage: str, key: str) -> float | None:
    values = _pair(records, stage, key)[1]
    return values[-1] if values else None


def _filled(records: RunRecords, key: str) -> list[float]:
    return [row.get(key, 0.0) for row in records.train.rows.values()]


def _lengths(samples: Sequence[Answer]) -> list[int]:
    return [sample.tokens for sample in samples if sample.tokens is not None]

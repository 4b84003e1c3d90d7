"""The curves of a run as SVG, drawn from ``metrics.jsonl`` however long it is.

Each band of a chart links to the rollouts of its steps.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 26

_MOST_LINES = 4000  # of a longer file so many are read, evenly spaced
_BINS = 160
_BANDS = 48


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        label: For the legend.
        color: Its CSS class.
        path: The ``d`` of its path.
        faint: The ``d`` of the single steps behind a moving mean; may be empty.
        dots: Points that are marked: validations.
    """

    label: str
    color: str
    path: str
    faint: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Band:
    """A strip of a chart that links to the rollouts of its steps."""

    x: float
    width: float
    first: int
    last: int
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart, in the units of its view box of :data:`WIDTH` by :data:`HEIGHT`."""

    title: str
    caption: str
    lines: Sequence[Line]
    y_ticks: Sequence[tuple[float, str]]
    x_ticks: Sequence[tuple[float, str]]
    bands: Sequence[Band]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The logged figures of a run.

    Attributes:
        train: By step, of training; of a long run evenly spaced steps.
        evaluations: By step, of its validations.
        last_step: The last that was logged.
    """

    train: Mapping[int, Mapping[str, float]]
    evaluations: Mapping[int, Mapping[str, float]]
    last_step: int


class MetricsReader:
    """Reads a run's ``metrics.jsonl`` again where it has grown.

    Args:
        path: The file; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = -1
        self._metrics = Metrics({}, {}, 0)
        self._charts: list[Chart] | None = None

    def read(self) -> Metrics:
        """All that is in the file now."""
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size != self._size:
            self._metrics, self._size, self._charts = _metrics(self._path, size), size, None
        return self._metrics

    def charts(self) -> list[Chart]:
        """The charts of a run; those without a figure are left out."""
        metrics = self.read()
        if self._charts is None:
            made = [_chart(title, caption, keys, metrics) for title, caption, keys in _CHARTS]
            self._charts = [chart for chart in made if chart is not None]
        return self._charts


def _metrics(path: Path, size: int) -> Metrics:
    train: dict[int, Mapping[str, float]] = {}
    evaluations: dict[int, Mapping[str, float]] = {}
    if size:
        for row in _rows(path):
            step, kind = row.get("step"), row.get("kind")
            if isinstance(step, int) and kind in ("train", "eval"):
                (train if kind == "train" else evaluations)[step] = _numbers(row)
    last = max([0, *train, *evaluations])
    return Metrics(dict(sorted(train.items())), dict(sorted(evaluations.items())), last)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """All lines of a short file; of a long one evenly spaced lines, and every validation."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        mean = max(1, text.find(b"\n") + 1)
        if len(text) <= _MOST_LINES * mean * 2:
            lines: Iterator[bytes] = iter(text.readline, b"")
        else:
            lines = _sampled(text)
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # cut off by a kill, or being written
                continue
            if isinstance(row, dict):
                yield row


def _sampled(text: mmap.mmap) -> Iterator[bytes]:
    for number in range(_MOST_LINES):
        begin = text.rfind(b"\n", 0, max(1, number * len(text) // _MOST_LINES)) + 1
        yield _line_at(text, begin)
    yield _line_at(text, text.rfind(b"\n", 0, len(text) - 1) + 1)
    place = text.find(b'{"kind": "eval"')
    while place >= 0:
        yield _line_at(text, place)
        place = text.find(b'{"kind": "eval"', place + 1)


def _line_at(text: mmap.mmap, begin: int) -> bytes:
    end = text.find(b"\n", begin)
    return text[begin : end if end >= 0 else len(text)]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


# ---------------------------------------------------------------- charts

_CHARTS: Sequence[tuple[str, str, Sequence[tuple[str, str, str]]]] = (
    (
        "Reward",
        "Mean reward of the groups that are trained on, of all groups, and on held-out instances.",
        (("reward_all", "all groups", "grey"), ("reward", "trained on", "blue"),
         ("eval:eval_reward", "held out", "orange")),
    ),
    (
        "Format and similarity",
        "Share of well-formed answers, and the similarity of those.",
        (("format_rate", "well-formed", "teal"), ("similarity", "similarity", "blue"),
         ("eval:eval_similarity", "similarity, held out", "orange")),
    ),
    (
        "Spread within groups",
        "Standard deviation of the rewards in a group: without it nothing is learned.",
        (("reward_std", "standard deviation", "purple"),),
    ),
    (
        "Groups",
        "How many groups a step kept, and how many it replaced.",
        (("groups_kept", "kept", "teal"), ("groups_dropped", "dropped", "red"),
         ("groups_surplus", "surplus", "grey")),
    ),
    (
        "Length",
        "Tokens of an answer.",
        (("completions/mean_length", "mean", "blue"),
         ("completions/max_length", "longest", "grey")),
    ),
    (
        "Malformed answers",
        "Share of all answers, by kind.",
        (("malformed/*", "", ""),),
    ),
    (
        "Optimizer",
        "Norm of the gradient before clipping.",
        (("grad_norm", "gradient norm", "gold"),),
    ),
    (
        "Seconds of a step",
        "Where the time goes.",
        (("time/*", "", ""),),
    ),
)  # fmt: skip

_COLORS = ("blue", "orange", "teal", "purple", "red", "gold", "grey")


def _chart(
    title: str, caption: str, keys: Sequence[tuple[str, str, str]], metrics: Metrics
) -> Chart | None:
    found = [(label, color, points) for label, color, points in _series(keys, metrics) if points]
    if not found:
        return None
    low, high = _range([value for _, _, points in found for _, value, _ in points])
    begin = min(points[0][0] for _, _, points in found)
    end = max(max(points[-1][0] for _, _, points in found), begin + 1)

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (step - begin) / (end - begin) * (WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    lines = []
    for label, color, points in found:
        binned = _binned([(step, value) for step, value, _ in points])
        smooth = _smoothed(binned) if len(binned) > 40 and not points[0][2] else binned
        lines.append(
            Line(
                label,
                color,
                _path([place(*point) for point in smooth]),
                _path([place(*point) for point in binned]) if smooth is not binned else "",
                [place(*point) for point in binned] if len(binned) < 30 else [],
            )
        )
    y_ticks = [(place(begin, value)[1], _label(value)) for value in _ticks(low, high, 5)]
    x_ticks = [
        (place(step, low)[0], f"{step:,.0f}")
        for step in _ticks(begin, end, 6)
        if step == int(step) and begin <= step <= end
    ]
    return Chart(title, caption, lines, y_ticks, x_ticks, _bands(begin, end, found, place))


Points = list[tuple[int, float, bool]]
"""Step, value, and whether it is of a validation."""


def _series(
    keys: Sequence[tuple[str, str, str]], metrics: Metrics
) -> Iterator[tuple[str, str, Points]]:
    for key, label, color in keys:
        if key.endswith("*"):
            prefix = key.removesuffix("*")
            sums: dict[str, float] = {}
            for row in metrics.train.values():
                for name, value in row.items():
                    if name.startswith(prefix):
                        sums[name] = sums.get(name, 0.0) + value
            largest = sorted((name for name in sums if sums[name]), key=lambda one: -sums[one])
            for name, its_color in zip(largest, _COLORS, strict=False):
                words = name.removeprefix(prefix).replace("_", " ")
                yield words, its_color, _points(metrics.train, name, False)
        elif key.startswith("eval:"):
            yield label, color, _points(metrics.evaluations, key.removeprefix("eval:"), True)
        else:
            yield label, color, _points(metrics.train, key, False)


def _points(rows: Mapping[int, Mapping[str, float]], key: str, is_eval: bool) -> Points:
    return [(step, row[key], is_eval) for step, row in rows.items() if key in row]


def _bands(
    begin: int, end: int, found: Sequence[tuple[str, str, Points]], place: Any
) -> list[Band]:
    """At most :data:`_BANDS` strips over the steps of training."""
    begin = max(1, begin)
    size = max(1, -(-(end + 1 - begin) // _BANDS))
    means: list[dict[str, float]] = [{} for _ in range(begin, end + 1, size)]
    for label, _, points in found:
        sums: dict[int, list[float]] = {}
        for step, value, _ in points:
            sums.setdefault((step - begin) // size, []).append(value)
        for number, values in sums.items():
            if number >= 0:
                means[number][label] = fmean(values)
    bands = []
    for number, of_labels in enumerate(means):
        first = begin + number * size
        last = min(first + size - 1, end)
        words = [f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"]
        words += [f"{label} {_label(value)}" for label, value in of_labels.items()]
        left, right = place(first - 0.5, 0.0)[0], place(last + 0.5, 0.0)[0]
        left, right = max(left, _LEFT), min(right, WIDTH - _RIGHT)
        bands.append(Band(left, round(max(right - left, 0.5), 1), first, last, " · ".join(words)))
    return bands


def _binned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = max(1, -(-len(points) // _BINS))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in parts]


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Moving means over a fifteenth of the points."""
    half = max(2, len(points) // 30)
    values = [value for _, value in points]
    return [
        (step, fmean(values[max(0, i - half) : i + half + 1])) for i, (step, _) in enumerate(points)
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of an axis with some air; outliers beyond it would flatten the rest."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    air = (high - low) * 0.06
    return (0.0 if 0 <= low < (high - low) * 0.4 else low - air), high + air


def _ticks(low: float, high: float, count: int) -> list[float]:
    step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(step))
    size = next(one * power for one in (1, 2, 5, 10) if one * power >= step)
    first = math.ceil(low / size - 1e-9)
    return [number * size for number in range(first, math.floor(high / size + 1e-9) + 1)]


def _label(value: float) -> str:
    return f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")


def sparkline(values: Sequence[float], width: int = 72, height: int = 20) -> str:
    """The ``d`` of a small curve of values, in a box of that size."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    air = (high - low) or 1.0
    places = [
        (
            round(2 + number / (len(values) - 1) * (width - 4), 1),
            round(2 + (high - value) / air * (height - 4), 1),
        )
        for number, value in enumerate(values)
    ]
    return _path(places)

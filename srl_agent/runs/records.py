"""The nouns of a run's records.

What was logged at each step, validation results, and sample answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from srl_agent.intervals import Interval
from srl_agent.runs.answers import Answer
from srl_agent.runs.files import replace_file

METHOD_FILE = "method.json"


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """What a run trains by, as its folder records it and its report shows it.

    Attributes:
        name: The method's name: that of its stage, and of its files in ``samples/``.
        label: How it is written: ``"SRL"``.
        measure: What its mean reward is called: ``"step reward"``, ``"accuracy"``.
        explained: What the reward is, in a sentence.
        asks: What one answer holds: ``"step"`` or ``"problem"``, a whole solution.
    """

    name: str = "srl"
    label: str = "SRL"
    measure: str = "step reward"
    explained: str = "The reward of each step."
    asks: str = "step"

    @property
    def stages(self) -> tuple[str, ...]:
        """The points at which a model is validated, in order.

        Untrained, after the format warm-up, and during and after the run's method.
        """
        return ("base", "warmup", self.name)


def write_method(folder: Path, method: MethodRecord) -> None:
    """Write what :func:`srl_agent.runs.reading.read_run` reads back."""
    replace_file(folder / METHOD_FILE, json.dumps(asdict(method), indent=1).encode())


@dataclass(frozen=True, slots=True)
class Series:
    """One logged quantity over the steps at which it was logged."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True, slots=True)
class StepLog:
    """What was logged by step.

    The last line of each step counts, because a resumed run logs some steps again.

    Attributes:
        rows: The logged numbers of each step, in the order of the steps.
    """

    rows: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that were logged, in order."""
        return tuple(self.rows)

    def series(self, key: str) -> Series:
        """The values of ``key`` where it was logged; NaN and infinity are left out."""
        found = [(step, row[key]) for step, row in self.rows.items() if key in row]
        return Series(tuple(step for step, _ in found), tuple(value for _, value in found))

    def names(self, prefix: str) -> list[str]:
        """What follows ``prefix`` in the logged keys, the largest sum first."""
        sums: dict[str, float] = {}
        for row in self.rows.values():
            for key, value in row.items():
                if key.startswith(prefix):
                    sums[key.removeprefix(prefix)] = sums.get(key.removeprefix(prefix), 0.0) + value
        return sorted(sums, key=lambda name: (-sums[name], name))


@dataclass(frozen=True, slots=True)
class StageResult:
    """Validation of one stage; a figure is None where it was not recorded."""

    stage: str
    step: int
    reward: float | None
    similarity: float | None
    format_rate: float | None
    count: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How a metric differs between two stages on the same instances."""

    before: str
    after: str
    metric: str
    interval: Interval

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Difference:
        """What :meth:`as_row` wrote; bounds that are missing are infinite."""
        interval = Interval(
            value=row["difference"],
            low=row.get("low", -math.inf),
            high=row.get("high", math.inf),
            count=int(row.get("count", 0)),
        )
        return cls(str(row.get("from")), str(row.get("to")), str(row.get("metric")), interval)

    def as_row(self) -> dict[str, Any]:
        """One of the ``differences`` of ``summary.json``."""
        return {
            "from": self.before,
            "to": self.after,
            "metric": self.metric,
            "difference": self.interval.value,
            "low": self.interval.low,
            "high": self.interval.high,
            "count": self.interval.count,
        }


@dataclass(frozen=True, slots=True)
class RunRecords:
    """All that a run's folder tells.

    Attributes:
        name: The folder's name.
        method: What the run trains by.
        train: Logged at each step of the method.
        warmup: Logged at each step of the format warm-up.
        evaluations: Validation by stage.
        samples: Answers to the held-out instances, by stage and step.
        stages: The run's headline: one result a stage.
        differences: Between stages, each pair of a stage and the one before, and of the
            last and the first.
        seconds: Wall time by part of the run.
        config: The resolved settings.
        environment: Versions, hardware, git state.
        notes: What could not be read.
    """

    name: str
    method: MethodRecord
    train: StepLog
    warmup: StepLog
    evaluations: Mapping[str, StepLog]
    samples: Mapping[str, Mapping[int, Sequence[Answer]]]
    stages: Sequence[StageResult]
    differences: Sequence[Difference]
    seconds: Mapping[str, float]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: Sequence[str]

    def final_samples(self, stage: str) -> Sequence[Answer]:
        """The answers at the step that the headline reports for ``stage``.

        Otherwise those at its last step; empty if there are none.
        """
        return final_samples(
            self.samples.get(stage, {}),
            [result.step for result in self.stages if result.stage == stage],
        )


def final_samples(
    by_step: Mapping[int, Sequence[Answer]], reported: Sequence[int]
) -> Sequence[Answer]:
    """The answers at the first of the ``reported`` steps that has any.

    Otherwise those at the last step; empty if there are none.
    """
    for step in (*reported, max(by_step, default=0)):
        if step in by_step:
            return by_step[step]
    return ()

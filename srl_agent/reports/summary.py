"""The three points of a run on the same held-out instances.

They are base, after warm-up and after training, with the paired differences between
them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.intervals import Interval, paired_difference
from srl_agent.runs.answers import Answer, read_answers
from srl_agent.runs.files import replace_file

METRICS = ("reward", "similarity")


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``summary.json`` holds.

    Attributes:
        stages: stage, step, reward, similarity (of the well-formed; None if there is
            none), format_rate, count.
        differences: from, to, metric, difference, low, high (95% interval), count.
        seconds: How long this process took.
    """

    stages: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    seconds: dict[str, float]

    def table(self) -> str:
        """The stages and differences as lines for a terminal."""
        lines = [f"{'stage':<8} {'step':>5} {'reward':>8} {'similarity':>11} {'well-formed':>12}"]
        for stage in self.stages:
            similarity = "-" if stage["similarity"] is None else f"{stage['similarity']:.3f}"
            lines.append(
                f"{stage['stage']:<8} {stage['step']:>5} {stage['reward']:>+8.3f} {similarity:>11}"
                f" {stage['format_rate']:>12.1%}"
            )
        for change in self.differences:
            lines.append(
                f"{change['metric']}, {change['from']} -> {change['to']}:"
                f" {change['difference']:+.3f} (95% interval of the paired difference"
                f" {change['low']:+.3f} to {change['high']:+.3f}, {change['count']} pairs)"
            )
        return "\n".join(lines)


def summarize(folder: Path, method: str, step: int, seconds: float) -> Summary:
    """Compare the stages of a run and write ``summary.json``.

    Args:
        folder: The run's; its ``samples`` are read.
        method: Names the trained stage.
        step: The step of its samples.
        seconds: How long this process took.
    """
    names = [("base", 0), ("warmup", 0), (method, step)]
    answers = {
        stage: read_answers(path)
        for stage, at in names
        if (path := folder / "samples" / f"{stage}-{at}.jsonl").is_file()
    }
    stages = [
        {
            "stage": stage,
            "step": at,
            "reward": _mean([answer.reward for answer in answers[stage]]),
            "similarity": _mean([answer.similarity for answer in answers[stage]]),
            "format_rate": fmean(answer.error is None for answer in answers[stage]),
            "count": len(answers[stage]),
        }
        for stage, at in names
        if stage in answers
    ]
    present = list(answers)
    differences = [
        {
            "from": before,
            "to": after,
            "metric": metric,
            "difference": interval.value,
            "low": interval.low,
            "high": interval.high,
            "count": interval.count,
        }
        for before, after in pairwise(present)
        for metric in METRICS
        if (interval := _difference(answers[before], answers[after], metric)) is not None
    ]
    summary = Summary(stages, differences, {"total": round(seconds, 1)})
    replace_file(folder / "summary.json", json.dumps(asdict(summary), indent=1).encode())
    return summary


def _difference(before: list[Answer], after: list[Answer], metric: str) -> Interval | None:
    # Several processes answer in another order than one: a run may have been resumed with more of
    # them.
    matched = zip(
        *(sorted(answers, key=lambda answer: answer.instance_id) for answers in (before, after)),
        strict=True,
    )
    values = ((getattr(one, metric), getattr(other, metric)) for one, other in matched)
    pairs = [pair for pair in values if None not in pair]
    return (
        paired_difference([one for one, _ in pairs], [other for _, other in pairs])
        if len(pairs) > 1
        else None
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

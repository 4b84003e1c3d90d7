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

from srl_agent.intervals import Interval, paired_difference
from srl_agent.runs.answers import Answer, read_answers
from srl_agent.runs.files import replace_file
from srl_agent.runs.records import Difference, StageResult

METRICS = ("reward", "similarity")


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``summary.json`` holds.

    Attributes:
        stages: One result a stage; ``similarity`` is that of the well-formed answers.
        differences: Between each stage and the one before, with 95% intervals.
        seconds: How long this process took.
    """

    stages: list[StageResult]
    differences: list[Difference]
    seconds: dict[str, float]

    def table(self) -> str:
        """The stages and differences as lines for a terminal."""
        lines = [f"{'stage':<8} {'step':>5} {'reward':>8} {'similarity':>11} {'well-formed':>12}"]
        for result in self.stages:
            similarity = "-" if result.similarity is None else f"{result.similarity:.3f}"
            lines.append(
                f"{result.stage:<8} {result.step:>5} {result.reward:>+8.3f} {similarity:>11}"
                f" {result.format_rate:>12.1%}"
            )
        for change in self.differences:
            interval = change.interval
            lines.append(
                f"{change.metric}, {change.before} -> {change.after}:"
                f" {interval.value:+.3f} (95% interval of the paired difference"
                f" {interval.low:+.3f} to {interval.high:+.3f}, {interval.count} pairs)"
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
        StageResult(
            stage=stage,
            step=at,
            reward=_mean([answer.reward for answer in answers[stage]]),
            similarity=_mean([answer.similarity for answer in answers[stage]]),
            format_rate=fmean(answer.error is None for answer in answers[stage]),
            count=len(answers[stage]),
        )
        for stage, at in names
        if stage in answers
    ]
    differences = [
        Difference(before, after, metric, interval)
        for before, after in pairwise(answers)
        for metric in METRICS
        if (interval := _difference(answers[before], answers[after], metric)) is not None
    ]
    summary = Summary(stages, differences, {"total": round(seconds, 1)})
    content = {
        "stages": [asdict(result) for result in stages],
        "differences": [change.as_row() for change in differences],
        "seconds": summary.seconds,
    }
    replace_file(folder / "summary.json", json.dumps(content, indent=1).encode())
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

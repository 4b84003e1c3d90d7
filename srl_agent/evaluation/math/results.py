"""Graded samples -> the figures of an evaluation, and ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, TABLE_1, Problem, label_of
from srl_agent.evaluation.math.metrics import (
    majority_at_k,
    pass_at_k,
    powers_of_two_up_to,
)
from srl_agent.evaluation.math.samples import Mode, Sample
from srl_agent.intervals import Interval, bootstrap
from srl_agent.runs.files import replace_file


@dataclass(frozen=True, slots=True)
class Answers:
    """What can be counted about some answers, right or wrong.

    Attributes:
        count: How many.
        truncated: Cut off at the token limit (step-wise: or out of steps), or without
            room in the model's context.
        context_full: Those among them whose prompt (step-wise: with the steps before)
            left no room.
        without_answer: Without a final answer that could be found.
        mean_tokens: Mean length.
        median_tokens: Median length.
        mean_steps: Step-wise: mean number of steps asked for; else None.
        malformed_steps: Step-wise: share of the steps that did not follow the format;
            else None.
    """

    count: int
    truncated: int
    context_full: int
    without_answer: int
    mean_tokens: float
    median_tokens: float
    mean_steps: float | None = None
    malformed_steps: float | None = None


@dataclass(frozen=True, slots=True)
class SampledScores:
    """Scores of k answers a problem, drawn at a temperature.

    Attributes:
        k: Answers a problem.
        average: avg@k: the share of right ones, as a mean over problems.
        pass_at: pass@1, 2, 4, ... k, estimated from the k answers without bias.
        majority: majority@k: how often the most frequent answer is right.
        answers: Counts.
        identical: Whether the k answers of every problem are one and the same text:
            then they were hardly drawn at a temperature.
    """

    k: int
    average: Interval
    pass_at: dict[int, Interval]
    majority: Interval
    answers: Answers
    identical: bool


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Scores on one benchmark.

    Attributes:
        benchmark: Its name.
        problems: How many were asked.
        greedy: Share of right greedy answers.
        greedy_answers: Counts.
        sampled: The scores of sampled answers; None if there are none.
    """

    benchmark: str
    problems: int
    greedy: Interval
    greedy_answers: Answers
    sampled: SampledScores | None = None

    @property
    def label(self) -> str:
        """As in tables."""
        return label_of(self.benchmark)


@dataclass(frozen=True, slots=True)
class Results:
    """All scores of a run.

    Attributes:
        model: The model's name.
        benchmarks: In the order asked for.
        average: The mean of the seven columns of the paper's Table 1, in [0, 1]; None
            if not all of them were evaluated.
    """

    model: str
    benchmarks: tuple[BenchmarkResult, ...]
    average: float | None


def summarize(
    model: str,
    problems: Mapping[str, Sequence[Problem]],
    samples: Iterable[Sample],
    num_samples: Mapping[str, int],
    same: Callable[[str, str], bool],
    seed: int,
) -> Results:
    """Compute all scores.

    Args:
        model: The model's name.
        problems: The problems that were asked, by benchmark.
        samples: Graded answers to them; others among them are ignored.
        num_samples: How many sampled answers count, by benchmark.
        same: Whether two answers mean the same, for the vote.
        seed: Of the bootstrap.
    """
    by_problem: dict[tuple[str, str, Mode], dict[int, Sample]] = {}
    for sample in samples:
        by_problem.setdefault((sample.benchmark, sample.problem_id, sample.mode), {})[
            sample.number
        ] = sample
    results = []
    for name, asked in problems.items():
        greedy = [by_problem[name, problem.id, "greedy"][0] for problem in asked]
        sampled = None
        if k := num_samples[name]:
            drawn = [
                [by_problem[name, problem.id, "sampled"][number] for number in range(k)]
                for problem in asked
            ]
            sampled = _sampled_scores(drawn, k, same, seed)
        results.append(
            BenchmarkResult(
                name,
                len(asked),
                bootstrap([float(bool(s.correct)) for s in greedy], seed),
                _answers(greedy),
                sampled,
            )
        )
    return Results(model, tuple(results), table_1_average(results))


def table_1_columns(results: Sequence[BenchmarkResult]) -> list[float | None]:
    """The seven columns of the paper's Table 1, in [0, 1].

    avg@k and greedy of AMC23, AIME24 and AIME25, then greedy of Minerva Math.
    """
    found = {result.benchmark: result for result in results}
    columns: list[float | None] = []
    for name in TABLE_1:
        result = found.get(name)
        if BENCHMARKS[name].sampled:
            columns.append(result.sampled.average.value if result and result.sampled else None)
        columns.append(result.greedy.value if result else None)
    return columns


def table_1_average(results: Sequence[BenchmarkResult]) -> float | None:
    """The mean of the seven columns, which the paper calls "Average"; None if one is missing."""
    columns = [column for column in table_1_columns(results) if column is not None]
    return fmean(columns) if len(columns) == 7 else None


def write_results(
    path: Path,
    results: Results,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    speed: Mapping[str, float],
) -> None:
    """Write ``results.json``.

    Args:
        path: The file.
        results: The scores.
        settings: The run's resolved config.
        environment: Versions and hardware.
        speed: ``tokens``, ``seconds``, ``tokens_per_second`` of what this call
            generated; empty if it generated nothing.
    """
    benchmarks = {result.benchmark: asdict(result) for result in results.benchmarks}
    content = {
        "task": "math",
        "model": results.model,
        "average": results.average,
        "benchmarks": benchmarks,
        "config": dict(settings),
        "environment": dict(environment),
        "generation": dict(speed),
    }
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _sampled_scores(
    drawn: Sequence[Sequence[Sample]], k: int, same: Callable[[str, str], bool], seed: int
) -> SampledScores:
    right = [[bool(sample.correct) for sample in samples] for samples in drawn]
    votes = [
        majority_at_k([sample.answer for sample in samples], verdicts, same)
        for samples, verdicts in zip(drawn, right, strict=True)
    ]
    return SampledScores(
        k=k,
        average=bootstrap([fmean(verdicts) for verdicts in right], seed),
        pass_at={
            few: bootstrap([pass_at_k(k, sum(verdicts), few) for verdicts in right], seed)
            for few in powers_of_two_up_to(k)
        },
        majority=bootstrap(votes, seed),
        answers=_answers([sample for samples in drawn for sample in samples]),
        identical=k > 1
        and all(len({sample.text for sample in samples}) == 1 for samples in drawn)
        and any(samples[0].text for samples in drawn),
    )


def _answers(samples: Sequence[Sample]) -> Answers:
    lengths = [sample.tokens for sample in samples]
    steps = [sample.steps for sample in samples if sample.steps is not None]
    asked = sum(steps)
    return Answers(
        count=len(samples),
        truncated=sum(sample.truncated for sample in samples),
        context_full=sum(bool(sample.context_full) for sample in samples),
        without_answer=sum(sample.answer is None for sample in samples),
        mean_tokens=fmean(lengths),
        median_tokens=median(lengths),
        mean_steps=fmean(steps) if steps else None,
        malformed_steps=sum(sample.malformed or 0 for sample in samples) / asked if asked else None,
    )

"""The figures of an evaluation of agents, with 95 % intervals, as data and as tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.evaluation.agent.attempts import Key
from srl_agent.evaluation.math.metrics import pass_at_k, powers_of_two_up_to
from srl_agent.evaluation.math.table import aligned
from srl_agent.intervals import Interval, bootstrap
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_agent.runs.files import replace_file
from srl_envs.trajectory import Trajectory

ENDS = {
    "ended": "submitted, or the environment ended it",
    "turns": "out of turns",
    "tokens": "out of tokens",
    "seconds": "out of time",
    "context": "the context was full",
}
"""Why episodes end, in words."""


@dataclass(frozen=True, slots=True)
class KindResult:
    """Tasks of one kind.

    Attributes:
        kind: What they share, see :func:`kind_of`.
        tasks: How many.
        rate: Their solve rate.
    """

    kind: str
    tasks: int
    rate: float


@dataclass(frozen=True, slots=True)
class AgentResults:
    """What :func:`summarize` gives.

    Attributes:
        model: Its label.
        source: Of the tasks.
        tasks: How many were asked for.
        samples: Episodes of each.
        rate: Solve rate, over all episodes that were asked for: one without a verdict
            is not solved. The interval is over the tasks.
        pass_at: k -> pass@k, from 2 on.
        kinds: The solve rate of each kind.
        unjudged: Episodes without a verdict: the machinery failed.
        turns: Mean of a judged episode, as the next three.
        tokens: That the model wrote.
        seconds: From its beginning to its verdict.
        malformed: Share of turns whose answer was malformed.
        ends: Why episodes ended -> how many.
        solved_ends: The same of those that were solved.
    """

    model: str
    source: str
    tasks: int
    samples: int
    rate: Interval
    pass_at: Mapping[int, Interval]
    kinds: Sequence[KindResult]
    unjudged: int
    turns: float
    tokens: float
    seconds: float
    malformed: float
    ends: Mapping[str, int]
    solved_ends: Mapping[str, int]


def kind_of(trajectory: Trajectory) -> str:
    """A task's family, else its repository, else nothing."""
    metadata = trajectory.metadata
    return str(metadata.get("family") or metadata.get("repo") or "")


def summarize(
    model: str,
    source: str,
    tasks: Sequence[Trajectory],
    samples: int,
    attempts: Mapping[Key, EpisodeRecord],
    seed: int = 0,
) -> AgentResults:
    """The figures of the first ``samples`` episodes of each task.

    Args:
        model: Its label.
        source: Of the tasks.
        tasks: All that were asked for, at least one.
        samples: Episodes of each.
        attempts: Those that have a verdict.
        seed: Of the resamples.
    """
    solved = {
        task.id: sum(
            bool((one := attempts.get((task.id, number))) and one.correct)
            for number in range(samples)
        )
        for task in tasks
    }
    judged = [
        attempts[key]
        for task in tasks
        for number in range(samples)
        if (key := (task.id, number)) in attempts
    ]
    of_kind: dict[str, list[float]] = {}
    for task in tasks:
        of_kind.setdefault(kind_of(task), []).append(solved[task.id] / samples)
    turns = [turn for one in judged for turn in one.turns]
    return AgentResults(
        model=model,
        source=source,
        tasks=len(tasks),
        samples=samples,
        rate=bootstrap([count / samples for count in solved.values()], seed),
        pass_at={
            k: bootstrap([pass_at_k(samples, count, k) for count in solved.values()], seed)
            for k in powers_of_two_up_to(samples)
            if k > 1
        },
        kinds=[KindResult(kind, len(rates), fmean(rates)) for kind, rates in of_kind.items()],
        unjudged=len(tasks) * samples - len(judged),
        turns=_mean([len(one.turns) for one in judged]),
        tokens=_mean([one.tokens for one in judged]),
        seconds=_mean([one.seconds for one in judged]),
        malformed=_mean([turn.error is not None for turn in turns]),
        ends=dict(Counter(one.end for one in judged)),
        solved_ends=dict(Counter(one.end for one in judged if one.correct)),
    )


def rate_cells(results: AgentResults) -> list[list[str]]:
    """The solve rate and pass@k, with their intervals."""
    rows = [["", "%", "95% interval"], ["solve rate", *_percent(results.rate)]]
    return rows + [[f"pass@{k}", *_percent(value)] for k, value in results.pass_at.items()]


def episode_cells(results: AgentResults) -> list[list[str]]:
    """What the episodes took, and why they ended."""
    judged = results.tasks * results.samples - results.unjudged
    rows = [["episodes", str(judged), "solved"]]
    for end, words in ENDS.items():
        if results.ends.get(end):
            solved = results.solved_ends.get(end, 0)
            rows.append([words, str(results.ends[end]), str(solved)])
    if results.unjudged:
        rows.append(["no verdict: the machinery failed", str(results.unjudged), "-"])
    rows += [
        ["turns, mean", f"{results.turns:.1f}", ""],
        ["tokens written, mean", f"{results.tokens:.0f}", ""],
        ["seconds, mean", f"{results.seconds:.1f}", ""],
        ["malformed turns", f"{results.malformed:.1%}", ""],
    ]
    return rows


def kind_cells(results: AgentResults) -> list[list[str]]:
    """The solve rate of each kind; empty if there is one only."""
    if len(results.kinds) < 2:
        return []
    rows = [[one.kind or "other", str(one.tasks), f"{one.rate:.1%}"] for one in results.kinds]
    return [["kind", "tasks", "solve rate"], *rows]


def terminal_text(results: AgentResults) -> str:
    """All of it for a terminal."""
    heading = (
        f"{results.model} as an agent on {results.source}: {results.tasks} tasks,"
        f" {results.samples} episode{'s' if results.samples > 1 else ''} each"
    )
    tables = [rate_cells(results), episode_cells(results), kind_cells(results)]
    return "\n\n".join([heading, *(aligned(rows) for rows in tables if rows)])


def write_results(
    path: Path,
    results: AgentResults,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    speed: Mapping[str, float],
) -> None:
    """Write ``results.json``.

    Args:
        path: The file.
        results: The figures.
        settings: The run's resolved config.
        environment: Versions and hardware.
        speed: ``tokens``, ``seconds``, ``tokens_per_second`` of this call; empty if it
            asked nothing.
    """
    content = {
        "task": "agent",
        **asdict(results),
        "config": dict(settings),
        "environment": dict(environment),
        "generation": dict(speed),
    }
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _percent(interval: Interval) -> list[str]:
    return [
        f"{100 * interval.value:.1f}",
        f"{100 * interval.low:.1f} to {100 * interval.high:.1f}",
    ]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0

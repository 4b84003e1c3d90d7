"""Episodes that their tests passed -> trajectories, and which of them a replay confirms."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srl_agent.evaluation.agent.results import ENDS
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_envs.commands import CommandError, grammar_named
from srl_envs.data.lone_surrogates import lone_surrogate
from srl_envs.fleet import open_fleet
from srl_envs.replay import Replay, read_report, replay_all
from srl_envs.sandbox import SandboxLimits
from srl_envs.trajectory import ExpertStep, Trajectory

_logger = logging.getLogger(__name__)

REPLAYS = "replays.jsonl"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way of an agent through a task.

    Attributes:
        task: The task's id.
        number: Of the attempt.
        trajectory: If the tests passed it.
        reason: Why it is not kept; empty as long as nothing speaks against it.
        detail: What exactly.
        patch: What it changed, where that is known.
    """

    task: str
    number: int
    trajectory: Trajectory | None
    reason: str = ""
    detail: str = ""
    patch: str = ""

    @property
    def name(self) -> str:
        """Of this attempt among all, for the report of the replays."""
        return f"{self.task}#{self.number}"

    def row(self) -> dict[str, Any]:
        """A line of the file of rejects."""
        steps = self.trajectory.steps if self.trajectory else ()
        return {
            **{"id": self.task, "try": self.number, "reason": self.reason, "detail": self.detail},
            "steps": [asdict(step) for step in steps],
        }


def attempt_of(task: Trajectory, record: EpisodeRecord) -> Attempt:
    """An episode as an attempt: with a trajectory if it was solved."""
    if not record.correct:
        detail = ", ".join(record.failing_tests) or f"after {len(record.turns)} turns"
        reason = f"not solved: {ENDS.get(record.end, record.end)}"
        return Attempt(task.id, record.number, None, reason, detail)
    steps = _steps(record, task.grammar)
    if not steps:
        return Attempt(task.id, record.number, None, "solved without a command")
    metadata = {name: value for name, value in task.metadata.items() if name != "skipped_turns"}
    trajectory = Trajectory(task.id, task.prompt, steps, domain="swe", metadata=metadata)
    if place := lone_surrogate(trajectory):
        return Attempt(task.id, record.number, None, "a lone surrogate", place)
    return Attempt(task.id, record.number, trajectory, patch=record.patch)


def _steps(record: EpisodeRecord, grammar: str) -> tuple[ExpertStep, ...]:
    """A step for each turn whose command ran: what is malformed ran nothing."""
    steps = []
    for turn in record.turns:
        if turn.error is not None:
            continue
        try:
            said, command = grammar_named(grammar).split(turn.action)
        except CommandError:
            continue
        thought = "\n\n".join(part for part in (turn.thought.strip(), said) if part)
        steps.append(ExpertStep(command.text, thought=thought, observation=turn.observation))
    return tuple(steps)


def attempt_of_run(run: Trajectory, number: int, tasks: Mapping[str, Trajectory]) -> Attempt:
    """A run that another agent made, on one of our tasks: its tests decide in the replay."""
    name = str(run.metadata.get("instance_id") or run.id)
    task = tasks.get(name) or tasks.get(run.id)
    if task is None:
        return Attempt(name, number, None, "no task of this id in the source", run.id)
    own = {key: value for key, value in task.metadata.items() if key != "grammar"}
    metadata = {**run.metadata, **own}
    trajectory = replace(run, id=task.id, prompt=task.prompt, metadata=metadata)
    return Attempt(task.id, number, trajectory)


def confirmed(
    attempts: Sequence[Attempt],
    folder: Path,
    *,
    sandbox: str,
    command_timeout: float,
    at_once: int,
    max_drift: float,
) -> list[Attempt]:
    """The attempts, with a reason for those that a replay does not confirm.

    Args:
        attempts: Those without a trajectory stay as they are.
        folder: Keeps what was replayed; that is not run again.
        sandbox: Where commands run.
        command_timeout: Seconds that one may take.
        at_once: Replays side by side.
        max_drift: Largest mean distance of the observations that is kept.
    """
    report = folder / REPLAYS
    done = read_report(report)
    solved = {one.name: one for one in attempts if one.trajectory is not None}
    left = [name for name in solved if name not in done]
    if left:
        with open_fleet(places=at_once) as fleet:
            named = [_named(solved[name]) for name in left]
            for result in replay_all(
                named,
                fleet,
                image=None,
                limits=SandboxLimits(),
                command_timeout=command_timeout,
                sandbox=sandbox,
            ):
                if result.failure:
                    _logger.warning(f"{result.id}: the replay failed: {result.failure}")
                else:
                    done[result.id] = result
                    with report.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(result)) + "\n")
    return [_judged(one, done.get(one.name), max_drift) for one in attempts]


def _named(attempt: Attempt) -> Trajectory:
    assert attempt.trajectory is not None
    return replace(attempt.trajectory, id=attempt.name)


def _judged(attempt: Attempt, replay: Replay | None, max_drift: float) -> Attempt:
    if attempt.trajectory is None:
        return attempt
    if replay is None:
        return replace(attempt, reason="the replay failed for reasons of the machinery")
    if not replay.resolved:
        return replace(attempt, reason="its replay does not solve the task")
    if replay.drift > max_drift:
        return replace(attempt, reason="its replay drifts", detail=f"by {replay.drift:.3f}")
    return attempt


def best_attempt(attempts: Iterable[Attempt]) -> Attempt | None:
    """The attempt at a task that is kept: of those that passed, the median number of steps.

    Of two in the middle the shorter one is taken, of two equally long ones the earlier.
    """
    passed = [one for one in attempts if one.trajectory is not None and not one.reason]
    passed.sort(key=lambda one: (len(one.trajectory.steps if one.trajectory else ()), one.number))
    return passed[(len(passed) - 1) // 2] if passed else None

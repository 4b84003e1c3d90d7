"""The built-in trajectories: what was recorded is what the experts' list and the tasks say."""

from __future__ import annotations

import pytest

from srl_envs.commands import grammar_named
from srl_envs.data.sources import load_trajectories
from srl_envs.data.swe_tasks.record import read_experts
from srl_envs.swe_tasks import load_task, load_tasks
from srl_envs.trajectory import Trajectory

RECORDED = load_trajectories("builtin_swe")


def test_every_task_was_solved_once() -> None:
    assert [trajectory.id for trajectory in RECORDED] == [task.id for task in load_tasks()]
    assert sum(len(trajectory.steps) for trajectory in RECORDED) >= 60


@pytest.mark.parametrize("trajectory", RECORDED, ids=lambda trajectory: trajectory.id)
def test_a_recording_is_up_to_date(trajectory: Trajectory) -> None:
    assert trajectory.prompt == load_task(trajectory.id).issue.strip()
    expected = [(thought, command.text) for thought, command in read_experts()[trajectory.id]]
    assert [(step.thought, step.action) for step in trajectory.steps] == expected


@pytest.mark.parametrize("trajectory", RECORDED, ids=lambda trajectory: trajectory.id)
def test_a_recording_is_whole(trajectory: Trajectory) -> None:
    commands = [grammar_named("xml").parse(step.action) for step in trajectory.steps]
    assert 6 <= len(commands) <= 14
    assert [command.submits for command in commands] == [False] * (len(commands) - 1) + [True]
    assert all(step.thought and step.observation for step in trajectory.steps[:-1])
    assert trajectory.domain == "swe"
    assert trajectory.metadata["grammar"] == "xml"
    assert trajectory.metadata["workdir"] == "/testbed"
    assert trajectory.metadata["task"] == trajectory.id


@pytest.mark.parametrize("trajectory", RECORDED, ids=lambda trajectory: trajectory.id)
def test_an_expert_edits_the_source_and_no_test(trajectory: Trajectory) -> None:
    task = load_task(trajectory.id)
    commands = [grammar_named("xml").parse(step.action) for step in trajectory.steps]
    edited = {command.arguments["path"] for command in commands if command.arguments.get("command") in ("str_replace", "insert", "create")}
    edited |= {f"/testbed/{path}" for path in task.source_files for command in commands if f"{path}" in command.text and "sed -i" in command.text}
    assert edited == {f"/testbed/{path}" for path in task.source_files}


def test_the_packages_are_named_with_their_licences() -> None:
    for trajectory in RECORDED:
        task = load_task(trajectory.id)
        assert trajectory.metadata["license"] == task.license
        assert task.attribution in trajectory.metadata["attribution"]
        assert task.url in trajectory.metadata["attribution"]

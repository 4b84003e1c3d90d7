"""The built-in trajectories: what was recorded is what the experts' list and the tasks say."""

from __future__ import annotations

import re

import pytest

from srl_envs.commands import grammar_named
from srl_envs.data.sources import load_trajectories
from srl_envs.errors import InfrastructureError
from srl_envs.sandbox import DockerSandbox
from srl_envs.swe.tasks import fetch_sdists, load_task, load_tasks
from srl_envs.swe.tasks.hidden_tests import task_tests
from srl_envs.swe.tasks.images import cache_folder, task_image
from srl_envs.swe.tasks.record import read_experts, record
from srl_envs.swe.tasks.verification import judge
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
    edited = {
        command.arguments["path"]
        for command in commands
        if command.arguments.get("command") in ("str_replace", "insert", "create")
    }
    edited |= {
        f"/testbed/{path}"
        for path in task.source_files
        for command in commands
        if f"{path}" in command.text and "sed -i" in command.text
    }
    assert edited == {f"/testbed/{path}" for path in task.source_files}


def test_the_packages_are_named_with_their_licences() -> None:
    for trajectory in RECORDED:
        task = load_task(trajectory.id)
        assert trajectory.metadata["license"] == task.license
        assert task.attribution in trajectory.metadata["attribution"]
        assert task.url in trajectory.metadata["attribution"]


@pytest.mark.docker
@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("task_id", ["parse-hyphenated-field", "sqlparse-case-in-begin"])
def test_recording_again_gives_the_same_and_solves_the_task(
    task_id: str, index_at_hand: None
) -> None:
    task = load_task(task_id)
    image = task_image(task)
    with DockerSandbox(image) as sandbox:
        assert (
            sandbox.run("git log --all --oneline | wc -l; git status --short; git remote").output
            == "1\n"
        )
        names = {name.rpartition("::")[2].partition("[")[0] for name in task.fail_to_pass}
        assert sandbox.run(f"grep -rnE '{'|'.join(names)}' . .git").exit_code == 1
        again = record(task, read_experts()[task_id], sandbox)
        patch = sandbox.diff()
    recorded = next(trajectory for trajectory in RECORDED if trajectory.id == task_id)
    assert [without_times(step.observation) for step in again.steps] == [
        without_times(step.observation) for step in recorded.steps
    ]
    assert again.metadata == recorded.metadata
    with DockerSandbox(image) as fresh:
        assert judge(task_tests(task), patch, fresh).failing == ()
    other = (
        "diff --git a/other.txt b/other.txt\nnew file mode 100644\n--- /dev/null\n+++ "
        "b/other.txt\n@@ -0,0 +1 @@\n+nothing\n"
    )
    with DockerSandbox(image) as fresh:
        assert judge(task_tests(task), other, fresh).failing == task.fail_to_pass


@pytest.fixture
def index_at_hand() -> None:
    """Skips where a task's archives are neither kept nor to be fetched."""
    try:
        for task_id in ("parse-hyphenated-field", "sqlparse-case-in-begin"):
            fetch_sdists(load_task(task_id), cache_folder())
    except InfrastructureError as error:
        pytest.skip(str(error))


def without_times(text: str) -> str:
    return re.sub(r"in \d+\.\d+s", "in s", text)

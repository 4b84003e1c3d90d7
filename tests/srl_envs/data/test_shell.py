"""The generated shell tasks: what holds before anything is run."""

from __future__ import annotations

import itertools

import pytest

from srl_envs import load_trajectories
from srl_envs.commands import grammar_named
from srl_envs.data.shell import DIFFICULTIES, FAMILIES, generate
from srl_envs.data.shell.task import IMAGE
from srl_envs.data.splits import question_key
from srl_envs.errors import ConfigError
from srl_envs.sandbox import BASE_IMAGE
from srl_envs.trajectory import Trajectory


@pytest.fixture(scope="module")
def tasks() -> list[Trajectory]:
    return generate(1500, seed=4)


def test_a_seed_decides_every_task(tasks: list[Trajectory]) -> None:
    assert generate(60, seed=4) == tasks[:60]
    others = {one.metadata["setup_command"] for one in generate(60, seed=5)}
    assert not others & {one.metadata["setup_command"] for one in tasks}


def test_all_families_have_all_difficulties(tasks: list[Trajectory]) -> None:
    drawn = {(one.metadata["family"], one.metadata["difficulty"]) for one in tasks}
    assert drawn == set(itertools.product(FAMILIES, DIFFICULTIES))


def test_families_are_chosen_by_name_and_their_tasks_are_those_among_all(
    tasks: list[Trajectory],
) -> None:
    chosen = generate(40, seed=4, families=["edit-1", "rename"])
    kinds = {(one.metadata["family"], one.metadata["difficulty"]) for one in chosen}
    assert kinds == {("edit", 1), *itertools.product(["rename"], DIFFICULTIES)}
    assert chosen == [one for one in tasks if one in chosen][:40]
    for wrong in (["edit-4"], ["cook"], []):
        with pytest.raises(ConfigError, match="families"):
            load_trajectories("builtin_shell", families=wrong)
    with pytest.raises(ConfigError, match="'builtin_swe' has no families"):
        load_trajectories("builtin_swe", families=["edit"])


def test_no_two_tasks_have_a_request_files_or_an_id_in_common(tasks: list[Trajectory]) -> None:
    assert len({one.id for one in tasks}) == len(tasks)
    assert len({question_key(one.prompt) for one in tasks}) == len(tasks)
    assert len({one.metadata["setup_command"] for one in tasks}) == len(tasks)


def test_training_and_held_out_tasks_are_apart() -> None:
    settings = {"source": "builtin_shell", "count": 300, "held_out": 50, "seed": 1}
    train, held_out = (
        load_trajectories(split=split, **settings)  # type: ignore[arg-type]
        for split in ("train", "validation")
    )
    assert (len(train), len(held_out)) == (250, 50)
    for key in ("id", "prompt"):
        assert not {getattr(one, key) for one in train} & {getattr(one, key) for one in held_out}


def test_every_step_is_a_command_with_a_thought(tasks: list[Trajectory]) -> None:
    grammar = grammar_named("bash")
    for task in tasks:
        assert task.domain == "swe" and task.grammar == "bash" and len(task.steps) >= 3
        commands = [grammar.parse(step.action) for step in task.steps]
        assert [command.submits for command in commands] == [False] * (len(commands) - 1) + [True]
        for step in task.steps:
            assert step.thought.endswith(".") and "\n" not in step.thought


def test_what_the_checks_expect_is_not_in_the_request(tasks: list[Trajectory]) -> None:
    for task in tasks:
        assert task.metadata["image"] == IMAGE == BASE_IMAGE
        assert task.metadata["checks"][0]["output"].strip() not in task.prompt.split()

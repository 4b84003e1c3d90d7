"""Tasks with checks: the generated shell tasks in real sandboxes, and who cannot pass them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium as gym
import pytest

from srl_envs import ExpertStep, Trajectory, load_trajectories
from srl_envs.data.shell import generate
from srl_envs.errors import ConfigError
from srl_envs.replay import replay
from srl_envs.sandbox import SandboxError
from srl_envs.swe.tasks.checks import checks_of

KINDS = [
    pytest.param(("bubblewrap", 200), id="bubblewrap"),
    pytest.param(("docker", 45), id="docker", marks=pytest.mark.docker),
]
SUBMIT = "```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```"
SECRET = "aX7 q"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, int]:
    request.getfixturevalue("bubblewrap" if request.param[0] == "bubblewrap" else "base_image")
    return request.param  # type: ignore[no-any-return]


def answer(action: str, thought: str = "So.") -> str:
    return f"<think>{thought}</think>\n{action}"


def episode(env: Any, number: int, actions: list[str]) -> dict[str, Any]:
    env.reset(options={"trajectory": number})
    for action in actions:
        _, _, terminated, truncated, info = env.step(answer(action))
        if terminated or truncated:
            break
    assert terminated or truncated
    return info  # type: ignore[no-any-return]


def test_experts_solve_their_tasks_and_saw_what_they_recorded(kind: tuple[str, int]) -> None:
    tasks = generate(kind[1], seed=2)
    for task in tasks:
        replayed = replay(task, sandbox=kind[0])
        assert (replayed.resolved, replayed.drift) == (True, 0.0), task.id


def test_episodes_of_both_kinds_go_through_the_environment(kind: tuple[str, int]) -> None:
    tasks = generate(kind[1] // 5, seed=3)
    for follow, targets in (("agent", "all_but_last"), ("expert", "all")):
        with gym.make(
            "SRL-SWE-v0", trajectories=tasks, sandbox=kind[0], follow=follow, targets=targets
        ) as env:
            for number, task in enumerate(tasks):
                info = episode(env.unwrapped, number, [step.action for step in task.steps])
                if follow == "agent":
                    assert (info["correct"], info["failing_tests"]) == (True, ())
                else:
                    assert info["drift"] == 0.0 and info["similarity"] == 1.0


def test_who_does_nothing_or_something_else_fails(kind: tuple[str, int]) -> None:
    tasks = generate(kind[1] // 4, seed=6)
    with gym.make("SRL-SWE-v0", trajectories=tasks, sandbox=kind[0], follow="agent") as env:
        for number, task in enumerate(tasks):
            nothing = episode(env.unwrapped, number, [SUBMIT])
            assert nothing["correct"] is False and nothing["failing_tests"], task.id
            other = tasks[number - 1]
            wrong = [step.action for step in other.steps]
            assert episode(env.unwrapped, number, wrong)["correct"] is False, task.id


# -- what no agent gets away with

TASK = Trajectory(
    "made",
    "Write the word.",
    (ExpertStep(f"```\necho '{SECRET}' > word.txt\n```"), ExpertStep("```\nsubmit\n```")),
    domain="swe",
    metadata={
        "grammar": "ticks",
        "image": "srl-base:bookworm",
        "workdir": "/srv",
        "setup_command": "mkdir -p kept && echo here > kept/file",
        "checks": [
            {"command": "cat word.txt", "output": SECRET},
            {"command": "cd kept; cat file", "output": "here\n"},
        ],
    },
)


@pytest.fixture
def env(bubblewrap: None) -> Iterator[Any]:
    with gym.make("SRL-SWE-v0", trajectories=[TASK], sandbox="bubblewrap", follow="agent") as made:
        yield made.unwrapped


@pytest.mark.parametrize(
    "trick",
    [
        "exit() { :; }; kill() { :; }; exec() { :; }; cat() { echo 'aX7'; }; shopt -s extdebug",
        "alias cat='echo x'; set +e; trap 'echo aX7' EXIT DEBUG; enable -n exit",
        "readonly PATH; PATH=/srv; cd /; set -n",
        "cat() { tee /srv/seen; }; export -f cat; BASH_ENV=/srv/x; export BASH_ENV",
        "(while :; do cat /proc/[0-9]*/cmdline >> /srv/seen; done) > /dev/null 2>&1 & disown",
        "grep -rs 'aX7 q' /proc/[0-9]*/environ /proc/[0-9]*/cmdline /tmp /srv > word.txt",
        "while :; do :; done",
        "exit",
        "kill -9 $$",
        "cd kept; rm -rf /srv/*",
    ],
)
def test_tricks_do_not_pass_and_do_not_keep_the_checks_from_running(env: Any, trick: str) -> None:
    env.domain._timeout = 2.0
    info = episode(env, 0, [f"```\n{trick}\n```", "```\nsubmit\n```"])
    assert info["correct"] is False and "cat word.txt" in info["failing_tests"]


def test_the_same_after_tricks_is_solved(env: Any) -> None:
    trick = "exit() { :; }; cat() { :; }; trap 'echo x' EXIT; cd kept; sleep 300 & disown"
    actions = [f"```\n{trick}\n```", f"```\necho '{SECRET}' > ../word.txt\n```", "```\nsubmit\n```"]
    assert episode(env, 0, actions)["correct"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checks": []}, "at least one"),
        ({"checks": "cat x"}, "give a list"),
        ({"checks": [{"command": "cat x"}]}, "a command and an output"),
        ({"checks": [{"command": "cat x", "output": 3}]}, "both texts"),
        ({"test_command": "pytest"}, "exclude test_command"),
    ],
)
def test_checks_that_could_not_judge_are_refused_at_once(
    change: dict[str, Any], message: str
) -> None:
    task = replace(TASK, metadata={**TASK.metadata, **change})
    with pytest.raises(ConfigError, match=f"'made'.*{message}"):
        checks_of(task)
    with pytest.raises(ConfigError, match=message):
        gym.make("SRL-SWE-v0", trajectories=[task], sandbox="bubblewrap", follow="agent")


def test_a_setup_that_fails_is_the_machinerys(bubblewrap: None) -> None:
    task = replace(TASK, metadata={**TASK.metadata, "setup_command": "echo why; false"})
    env = gym.make("SRL-SWE-v0", trajectories=[task], sandbox="bubblewrap", follow="agent")
    with env, pytest.raises(SandboxError, match=r"setup_command of 'made' failed.*why"):
        env.reset()


def test_the_source_goes_by_its_name(bubblewrap: None) -> None:
    with gym.make(
        "SRL-SWE-v0", source="builtin_shell", split="validation", limit=2, sandbox="bubblewrap"
    ) as env:
        assert env.unwrapped.observations == "live"
        env.reset(seed=0)
    assert len(load_trajectories("builtin_shell", split="train", limit=3)) == 3

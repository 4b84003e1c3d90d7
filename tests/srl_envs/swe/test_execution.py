"""The reward "execution": real commands in real twin sandboxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import pytest

import srl_envs
from srl_envs import ExpertStep, RewardSettings, Trajectory
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import StepInstances
from srl_envs.reward import step_reward, step_rewards
from srl_envs.rewards import StateReward
from srl_envs.sandbox import SandboxError
from srl_envs.swe import execution
from srl_envs.swe.execution import same_outcomes

SETTINGS = RewardSettings(name="execution", sandbox="bubblewrap")


def bash(command: str) -> str:
    return f"<function=bash>\n<parameter=command>{command}</parameter>\n</function>"


def edit(**arguments: str) -> str:
    written = [f"<parameter={name}>{value}</parameter>" for name, value in arguments.items()]
    return "\n".join(["<function=str_replace_editor>", *written, "</function>"])


SUBMIT = "<function=submit>\n</function>"
SOURCE = "/srv/src/a.txt"
REPLACE = edit(command="str_replace", path=SOURCE, old_str="one", new_str="uno")
ACTIONS = (
    bash("cd src && export A=1"),
    bash("cat a.txt"),
    edit(command="view", path=SOURCE),
    REPLACE,
    bash("git add a.txt"),
    bash("grep -c o a.txt"),
    bash("grep nothing a.txt"),
    bash("sleep 0.01; echo took 0.$RANDOM s; ls -l --full-time / >/dev/null"),
    SUBMIT,
)
SETUP = (
    r"mkdir src lib; printf 'one\ntwo\n' > src/a.txt; cp src/a.txt lib/b.txt; git init -q .; "
    "git add .; git -c user.name=a -c user.email=a@b commit -qm x"
)


@pytest.fixture
def expert(bubblewrap: None) -> Trajectory:
    return Trajectory(
        "t1",
        "Do it.",
        tuple(map(ExpertStep, ACTIONS)),
        domain="swe",
        metadata={"image": "srl-base:bookworm", "workdir": "/srv", "setup_command": SETUP},
    )


CASES: list[tuple[int, list[str], list[str]]] = [
    (
        0,  # the shell's folder and variables
        ["cd /srv/src; export A=1", "export A=1 && cd lib/../src"],
        ["cd lib && export A=1", "cd src", "cd src && export A=2", "cd src; export A=1; B=1"],
    ),
    (
        1,  # what is read
        ["cat /srv/src/a.txt", "head -5 a.txt", "sed -n 1,2p a.txt", "cat ../lib/b.txt"],
        ["head -1 a.txt", "cat b.txt", r"printf 'one\ntwo\n'", "cat a.txt > c.txt; cat c.txt"],
    ),
    (2, ["cat -n a.txt", "cd .; cat -n /srv/src/a.txt"], ["cat a.txt"]),
    (3, ["sed -i s/one/uno/ a.txt"], ["sed -i s/one/un/ a.txt", "sed -i s/o/uno/ a.txt", "true"]),
    (4, ["git add .", "git add -u"], ["git add ../lib", "true", "git stash -q"]),
    (5, ["cat a.txt | grep -c o", "grep -o o a.txt | wc -l"], ["echo 2", "grep -c n a.txt"]),
    (7, ["sleep 0.02; echo took 1.5 s"], ["sleep 0.02; echo took 1.5 h"]),
]


@pytest.mark.parametrize(("index", "alike", "other"), CASES)
def test_commands_are_the_same_if_the_same_comes_of_them(
    expert: Trajectory, index: int, alike: list[str], other: list[str]
) -> None:
    found = same_outcomes(expert, index, {bash(one) for one in alike + other}, SETTINGS)
    assert [one for one in alike if not found[bash(one)]] == []
    assert [one for one in other if found[bash(one)]] == []


def test_where_the_outcome_says_nothing_only_the_same_text_has_full_reward(
    expert: Trajectory,
) -> None:
    found = same_outcomes(
        expert, 6, {bash("grep nothing a.txt"), bash("grep nought a.txt"), bash("false")}, SETTINGS
    )
    assert {text for text, same in found.items() if same} == {bash("grep nothing a.txt")}


def test_handing_in_is_only_like_handing_in(expert: Trajectory) -> None:
    found = same_outcomes(expert, 8, {SUBMIT, f"Done.\n{SUBMIT}", bash("true")}, SETTINGS)
    assert {text for text, same in found.items() if same} == {SUBMIT, f"Done.\n{SUBMIT}"}


def test_rewards_of_answers_keep_their_order_and_malformed_ones(expert: Trajectory) -> None:
    instances = StepInstances([expert], "all")
    answers = [
        (1, f"<think>x</think>\n{bash('head -9 a.txt')}"),
        (3, f"<think>x</think>\n{REPLACE}"),
        (1, bash("cat a.txt")),  # without a think block
        (1, f"<think>x</think>\n{bash('cat b.txt')}"),
        (1, "<think>x</think>\nI would look at the file."),
        (1, f"<think>x</think>\nSee:\n{bash('cat a.txt')}"),
    ]
    asked = [instances[index] for index, _ in answers]
    rewards = step_rewards(
        [text for _, text in answers],
        [one.expert_action for one in asked],
        SETTINGS,
        scored=[one.scored for one in asked],
        at=[(one.trajectory, one.index) for one in asked],
    )
    values = [one.value for one in rewards]
    assert values[:3] == [1.0, 1.0, -1.0] and values[5] == 1.0
    similar = step_reward(answers[3][1], instances[1].expert_action, scored=instances[1].scored)
    assert values[3] == 0.5 * similar.value > values[4] > 0
    assert rewards[2].similarity is None


def test_the_environment_scores_as_training_does(expert: Trajectory) -> None:
    with gym.make(
        "SRL-SWE-v0", trajectories=[expert], reward=SETTINGS, observations="recorded"
    ) as env:
        env.reset(options={"instance_id": "t1/2"})
        _, value, *_ = env.step(f"<think>x</think>\n{bash('head -9 a.txt')}")
        assert value == 1.0
        _, value, *_ = env.step(f"<think>x</think>\n{bash('cat a.txt')}")
        assert 0 < value < 0.5
    with pytest.raises(ConfigError, match="compares in the expert's state: use follow='expert'"):
        gym.make("SRL-SWE-v0", trajectories=[expert], reward=SETTINGS, follow="agent")


@pytest.mark.docker
def test_docker_gives_the_same_verdicts(expert: Trajectory, base_image: str) -> None:
    index, alike, other = CASES[1]
    found = same_outcomes(
        expert,
        index,
        {bash(one) for one in alike + other},
        RewardSettings(name="execution", sandbox="docker"),
    )
    assert [one for one in alike if not found[bash(one)]] == []
    assert [one for one in other if found[bash(one)]] == []


def test_what_cannot_be_run_is_refused_before_any_work() -> None:
    text = Trajectory("t2", "Add.", (ExpertStep("1 + 1 = 2"),), "2")
    commands = Trajectory("t3", "Look.", (ExpertStep(bash("ls")),), domain="swe")
    image: dict[str, Any] = {"image": "srl-base:bookworm"}
    with pytest.raises(ConfigError, match=r"'t2' is of the domain 'math': use --reward similarity"):
        SETTINGS.check([text])
    with pytest.raises(ConfigError, match="'t3' names no image"):
        SETTINGS.check([commands])
    with pytest.raises(DataError, match="'t3', step 1: the action holds no command"):
        SETTINGS.check([replace(commands, metadata=image, steps=(ExpertStep("ls"),))])
    with pytest.raises(ConfigError, match="sandbox is 'dokcer': use one of"):
        replace(SETTINGS, sandbox="dokcer").check([commands])
    with pytest.raises(ConfigError, match="needs the state of each step: give at="):
        step_reward("<think>x</think>\nls", "ls", SETTINGS)
    with pytest.raises(ConfigError, match="command_timeout is 0: it must be above 0"):
        replace(SETTINGS, command_timeout=0)
    RewardSettings().check([text, commands])


def test_a_failure_of_the_machinery_is_tried_again_and_then_not_a_reward(
    expert: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {bash("head -9 a.txt")}
    works, calls = execution.sandbox_of, []

    def fails(times: int) -> Any:
        def made(*parts: Any) -> Any:
            calls.append(1)
            if len(calls) <= times:
                raise SandboxError("The engine is gone.")
            return works(*parts)

        calls.clear()
        return made

    monkeypatch.setattr(execution, "sandbox_of", fails(1))
    assert all(same_outcomes(expert, 1, ask, SETTINGS).values())
    monkeypatch.setattr(execution, "sandbox_of", fails(2))
    with pytest.raises(SandboxError, match="Step t1/2: The engine is gone"):
        same_outcomes(expert, 1, ask, SETTINGS)


def test_another_reward_may_look_at_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    from srl_envs.rewards import REWARDS

    monkeypatch.setattr(REWARDS, "_entries", dict(REWARDS._entries))
    seen = StateReward(lambda attempts, settings: [one.index / 10 for one in attempts], print)
    srl_envs.register_reward("by_index")(seen)
    one = Trajectory("t2", "Add.", (ExpertStep("1 + 1 = 2"),) * 4)
    settings = RewardSettings(name="by_index")
    assert step_reward("<think>x</think>\nls", "ls", settings, at=(one, 3)).value == 0.3

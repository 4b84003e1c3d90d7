"""A step of an environment is a walk: how often control passes from one file to another."""

import sys
from pathlib import Path

import gymnasium as gym
import pytest

import srl_envs
from srl_envs.commands import Grammar
from srl_envs.domain import DOMAINS, Reading, declare_domain, register_domain
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import PromptSettings
from srl_envs.sandbox import DockerSandbox, SandboxLimits
from srl_envs.steps import TextDomain
from srl_envs.swe.env import SWEEnv
from srl_envs.swe.tasks.images import image_of
from srl_envs.trajectory import ExpertStep, Trajectory

PACKAGE = str(Path(srl_envs.__file__).parent)
COMMAND = (
    "<think>t</think>Let us see.\n<function=bash>\n<parameter=command>ls</parameter>\n</function>"
)
MOVES = (ExpertStep("e2e4"), ExpertStep("g1f3"), ExpertStep("f1c4"))


def file_changes(env, action):
    """How often control passes from one file of srl_envs to another in the second step."""
    files = []

    def look(frame, event, _):
        file = frame.f_code.co_filename
        if event not in ("call", "return") or not file.startswith(PACKAGE):
            return
        if not files or files[-1] != file:
            files.append(file)

    env.reset(options={"trajectory": 0})
    env.step(action)
    sys.setprofile(look)
    try:
        env.step(action)
    finally:
        sys.setprofile(None)
    return len(files) - 1


def counted(monkeypatch, owner, name):
    """Counts the calls of a function that is run as ever."""
    calls, function = [], getattr(owner, name)

    def call(*arguments, **settings):
        calls.append(arguments)
        return function(*arguments, **settings)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_a_math_step_is_a_walk():
    env = gym.make("SRL-Math-v0", limit=5, targets="all").unwrapped
    assert 5 < file_changes(env, "<think>a</think>b") < 16
    env.close()


def test_a_recorded_software_step_is_a_walk():
    assert 5 < file_changes(SWEEnv(observations="recorded"), COMMAND) < 40


@pytest.mark.docker
@pytest.mark.parametrize("follow", ["expert", "agent"])
def test_a_live_software_step_is_a_walk(base_image, follow):
    def make(trajectory):
        return DockerSandbox(image_of(trajectory), limits=SandboxLimits(cpus=1.0, memory_mib=256))

    env = SWEEnv(observations="live", follow=follow, make_sandbox=make)
    try:
        assert 5 < file_changes(env, COMMAND) < 70
    finally:
        env.close()


def test_each_text_is_read_once(monkeypatch):
    env = SWEEnv(observations="recorded")
    env.reset(options={"trajectory": 0})
    commands = counted(monkeypatch, Grammar, "parse")
    responses = counted(monkeypatch, sys.modules["srl_envs.env"], "parse_response")
    env.step(COMMAND)
    assert len(commands) == len(responses) == 1
    env.step("malformed")
    assert len(commands) == 1 and len(responses) == 2


def test_a_domain_of_ones_own_is_reached_by_its_name(monkeypatch):
    monkeypatch.setattr(DOMAINS, "_entries", dict(DOMAINS))

    @register_domain("chess")
    class Chess(TextDomain):
        def read(self, action: str) -> Reading:
            return Reading(action.lower().replace("-", ""))

    with pytest.raises(ConfigError, match="already a domain 'chess'"):
        register_domain("chess")(Chess)
    games = [Trajectory("g", "White opens.", MOVES, domain="chess")]
    env = gym.make("SRL-Steps-v0", trajectories=games)
    env.reset()
    assert isinstance(env.unwrapped.domain, Chess)
    assert env.step("<think></think>E2-E4")[1] == 1.0
    mixed = [*games, Trajectory("s", "Else.", MOVES, domain="steps")]
    with pytest.raises(ConfigError, match="'chess', 'steps'"):
        gym.make("SRL-Steps-v0", trajectories=mixed)


def test_commands_of_any_domain_are_scored_as_they_are_trained():
    declare_domain("shell")
    steps = (ExpertStep("```bash\nls\n```"), ExpertStep("```bash\nid\n```"))
    game = Trajectory("g", "Look.", steps, domain="shell", metadata={"grammar": "bash"})
    env = gym.make("SRL-Steps-v0", trajectories=[game])
    _, info = env.reset()
    instance = srl_envs.StepInstance(game, 0, env.unwrapped.prompt)
    assert info["expert_action"] == instance.expert_action
    assert info["messages"] == instance.messages
    assert env.step("<think></think>Some prose.\n```bash\nls\n```")[1] == 1.0


def test_a_declared_domain_without_a_registration_is_text():
    declare_domain("go")
    games = [Trajectory("g", "White plays.", MOVES, domain="go")]
    env = gym.make("SRL-Steps-v0", trajectories=games)
    env.reset()
    assert env.step("<think></think>e2e4")[1] == 1.0
    assert env.unwrapped.prompt == PromptSettings(system_prompt=env.unwrapped.prompt.system_prompt)

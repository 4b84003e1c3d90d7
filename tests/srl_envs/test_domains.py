"""Domains: what is trained is what the environment shows; a misspelt name is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import srl_envs
from srl_envs import domain as domains
from srl_envs.data.jsonl import save_trajectories
from srl_envs.domain import DOMAINS, Reading, declare_domain, register_domain
from srl_envs.errors import ConfigError, DataError
from srl_envs.prompts.step import (
    MATH_SYSTEM_PROMPT,
    STEPS_SYSTEM_PROMPT,
    Message,
    PromptSettings,
)
from srl_envs.steps import TextDomain
from srl_envs.trajectory import ExpertStep, Trajectory

MOVES = (
    ExpertStep("Open the door.", title="Door", observation="\nIt is open.\n"),
    ExpertStep("Go in.", title="Inside", heading="2. **Inside**: ", observation="x" * 300),
    ExpertStep("Take the lamp."),
)
MISSPELT = ("SWE", "", "Math", "maths", " math", "STEPS", "nonsense")


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(DOMAINS, "_entries", dict(DOMAINS))
    monkeypatch.setattr(domains, "_declared", set(domains._declared))


def walk(domain: str, **more: Any) -> Trajectory:
    return Trajectory("t", "Fetch the lamp.", MOVES, domain=domain, **more)


@pytest.mark.parametrize("settings", [{}, {"title_hint": False}, {"system_prompt": "Mine."}])
@pytest.mark.parametrize(
    ("name", "domain"), [("SRL-Math-v0", "math"), ("SRL-Steps-v0", "steps"), ("SRL-Steps-v0", "a")]
)
def test_training_asks_what_the_environment_asks(
    name: str, domain: str, settings: dict[str, Any]
) -> None:
    declare_domain(domain)
    trajectory = walk(domain)
    env = gym.make(name, trajectories=[trajectory], targets="all", **settings)
    _, info = env.reset()
    for index in range(3):
        instance = srl_envs.StepInstance(trajectory, index, PromptSettings(**settings))
        assert instance.messages == info["messages"]
        assert instance.expert_action == info["expert_action"]
        _, reward, _, _, info = env.step("<think></think>" + instance.expert_action)
        assert reward == 1.0
    own = MATH_SYSTEM_PROMPT if domain == "math" else STEPS_SYSTEM_PROMPT
    assert instance.messages[0]["content"] == settings.get("system_prompt", own)


def test_observations_are_shown_and_long_ones_cut() -> None:
    settings = PromptSettings(observation_characters=80)
    prompt = srl_envs.StepInstance(walk("steps"), 2, settings).messages[-1]["content"]
    assert (
        "Open the door.\nObservation:\nIt is open.\n2. **Inside**: Go in.\nObservation:\nx"
        in prompt
    )
    assert "characters left out" in prompt and "x" * 81 not in prompt
    bare = Trajectory("t", "?", (ExpertStep("a"), ExpertStep("b")))
    assert "Observation" not in srl_envs.StepInstance(bare, 1).messages[-1]["content"]


def test_a_registered_domain_is_trained_on_its_own_prompt() -> None:
    @register_domain("chess")
    class Chess(TextDomain):
        def messages(self, index: int, finished: bool) -> list[Message]:
            return [{"role": "user", "content": f"Move {index} of {self.prompt.title_hint}?"}]

        def read(self, action: str) -> Reading:
            return Reading(action.lower())

    game = walk("chess")
    env = gym.make("SRL-Steps-v0", trajectories=[game])
    _, info = env.reset()
    instance = srl_envs.StepInstance(game, 0)
    assert instance.messages == info["messages"]
    assert instance.messages == [{"role": "user", "content": "Move 0 of True?"}]
    assert instance.expert_action == info["expert_action"] == "Open the door."
    assert instance.scored("GO") == "go"


@pytest.mark.parametrize("domain", MISSPELT)
def test_a_misspelt_domain_is_an_error_wherever_it_enters(domain: str, tmp_path: Path) -> None:
    trajectory, file = walk(domain), tmp_path / "mine.jsonl"
    valid = "math, steps, swe"
    for name in ("SRL-Math-v0", "SRL-Steps-v0", "SRL-SWE-v0"):
        with pytest.raises(ConfigError, match=valid):
            gym.make(name, trajectories=[trajectory])
    with pytest.raises(ConfigError, match=valid):
        gym.make_vec("SRL-Steps-v0", num_envs=2, trajectories=[trajectory])
    with pytest.raises(ConfigError, match=valid):
        _ = srl_envs.StepInstance(trajectory, 0).messages
    save_trajectories([trajectory], file)
    with pytest.raises(DataError, match=valid):
        srl_envs.load_trajectories(str(file))


@pytest.mark.parametrize("domain", ["SWE", "", "Math", " math", "  "])
def test_a_known_domain_in_another_spelling_is_not_a_new_one(domain: str) -> None:
    with pytest.raises(ConfigError, match="math, steps, swe"):
        srl_envs.register_source(f"of {domain}", domain=domain)(lambda request: [])
    with pytest.raises(ConfigError):
        register_domain(domain)(TextDomain)


def test_commands_are_not_text() -> None:
    for name in ("SRL-Math-v0", "SRL-Steps-v0"):
        with pytest.raises(ConfigError, match="use SRL-SWE-v0"):
            gym.make(name, trajectories=[walk("swe")])


def test_a_source_declares_its_domain() -> None:
    @srl_envs.register_source("rooms", domain="rooms", takes_path=False)
    def rooms(request: Any) -> Iterator[Trajectory]:
        yield walk("rooms")

    try:
        (trajectory,) = srl_envs.load_trajectories("rooms")
        assert gym.make("SRL-Steps-v0", trajectories=[trajectory]).reset()
    finally:
        srl_envs.data.SOURCES._entries.pop("rooms")

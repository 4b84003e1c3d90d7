"""Episodes for the doors that have many turns: messages in, answers out, one verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gymnasium as gym

from srl_envs.adapters.rows import reward_settings
from srl_envs.data import load_trajectories
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import TrajectorySet
from srl_envs.prompts.step import Message, PromptSettings
from srl_envs.response import ModelAnswer
from srl_envs.reward import response_rewards
from srl_envs.trajectory import Trajectory

GO_ON = "Go on."
"""What the model is told where a turn shows it nothing."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One episode to play.

    Attributes:
        id: Of the trajectory, or of a step to start there.
        environment: Of :func:`gymnasium.make`: ``"SRL-SWE-v0"``.
        source: Arguments of :func:`~srl_envs.data.load_trajectories`.
        settings: Further arguments of the environment: ``follow``, ``sandbox``, ...;
            ``reward`` and ``prompt`` as objects of their fields.
        messages: The first prompt; empty where it is not known yet.
    """

    id: str
    environment: str = "SRL-SWE-v0"
    source: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> EpisodeRow:
        """What ``asdict`` gave.

        Raises:
            DataError: It is not such a row.
        """
        try:
            return cls(**row)
        except TypeError as error:
            raise DataError(
                f"This is not a row of an episode ({error}): export it again."
            ) from None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a turn led to.

    Attributes:
        messages: The prompt of the next turn, as the environment shows it.
        observation: What a conversation goes on with: the command's output, or the next
            prompt.
        reward: With ``follow="expert"`` the step reward; with ``"agent"`` the verdict,
            1 or 0, in the last turn, and 0 before.
        done: Whether the episode has ended.
        info: Of the environment.
    """

    messages: list[Message]
    observation: str
    reward: float
    done: bool
    info: Mapping[str, Any]


class Episode:
    """An environment of ours during one episode. It holds a sandbox: close it.

    Args:
        row: Which one.

    Attributes:
        messages: The first prompt.
        grammar: How its commands are written.

    Raises:
        ConfigError: The row does not fit the environment.
        SandboxError: The machinery failed.
    """

    def __init__(self, row: EpisodeRow) -> None:
        settings = dict(row.settings)
        if "reward" in settings:
            settings["reward"] = reward_settings(settings["reward"])
        if "prompt" in settings:
            settings["prompt"] = PromptSettings(**settings["prompt"])
        trajectory = _trajectory(row)
        self.grammar, trajectories = trajectory.grammar, TrajectorySet([trajectory])
        made = gym.make(
            row.environment, trajectories=trajectories, disable_env_checker=True, **settings
        )
        assert isinstance(made.unwrapped, ExpertStepEnv)
        self._env = made.unwrapped
        try:
            _, info = self._env.reset(options={"instance_id": row.id})
        except BaseException:
            self.close()
            raise
        self.messages: list[Message] = info["messages"]

    def step(self, answer: ModelAnswer, *, truncated: bool = False) -> Seen:
        """Score an answer and act on it.

        Raises:
            ConfigError: The end has no verdict.
            SandboxError: The machinery failed: never a reward.
        """
        env = self._env
        read = env.read(answer, truncated=truncated)
        (score,) = response_rewards(
            [read.response], [read.reading.scored], [read.expert], env.reward_settings
        )
        _, reward, terminated, out_of_turns, info = env.advance(read, score, verify=False)
        done = terminated or out_of_turns
        if env.follow == "agent":
            reward = self.finish() if done else 0.0
            observation = str(getattr(env.domain, "observation", "")) or GO_ON
        else:
            observation = info["messages"][-1]["content"]
        return Seen(info["messages"], observation, reward, done, info)

    def finish(self) -> float:
        """Verify the agent's episode as it stands, say because the tokens ran out.

        Returns:
            The verdict, 1 or 0. With ``follow="expert"`` always 0: each turn had its
            reward.

        Raises:
            ConfigError: The trajectory has no tests and no answer, so nobody can tell.
            SandboxError: The machinery failed: never a reward.
        """
        if self._env.follow != "agent":
            return 0.0
        correct = self._env.outcome().get("correct")
        if correct is None:
            raise ConfigError(
                "The episode has no verdict: its trajectory has neither tests nor an answer. Leave"
                " it out, or use follow='expert'."
            )
        return float(correct)

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""
        self._env.close()


def trajectory_ids(source: Mapping[str, Any]) -> list[str]:
    """The ids of a source's trajectories, in their order."""
    return list(_by_id(json.dumps(dict(source), sort_keys=True)))


def _trajectory(row: EpisodeRow) -> Trajectory:
    known = _by_id(json.dumps(dict(row.source), sort_keys=True))
    found = known.get(row.id) or known.get(row.id.rpartition("/")[0])
    if found is None:
        raise ConfigError(f"The source {dict(row.source)} has no trajectory {row.id!r}.")
    return found


@lru_cache(maxsize=4)
def _by_id(source: str) -> dict[str, Trajectory]:
    """A source is read once a process, not once an episode."""
    return {trajectory.id: trajectory for trajectory in load_trajectories(**json.loads(source))}

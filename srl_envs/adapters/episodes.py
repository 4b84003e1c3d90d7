"""Episodes for the doors that have many turns: messages in, answers out, one verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym

from srl_envs.adapters.rows import read_object, reward_settings
from srl_envs.data import load_trajectories
from srl_envs.data.jsonl import read_lines
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import StepInstance, TrajectorySet
from srl_envs.math import MATH_AGENT_SYSTEM_PROMPT
from srl_envs.prompts.step import Message, PromptSettings
from srl_envs.response import ModelAnswer
from srl_envs.trajectory import Trajectory

_ENVIRONMENTS = {"math": "SRL-Math-v0", "swe": "SRL-SWE-v0"}

GO_ON = "Go on."
"""The next message to the model where a turn printed nothing."""


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
    def of(
        cls,
        trajectory: Trajectory,
        source: Mapping[str, Any],
        prompt: PromptSettings = PromptSettings(),
        **settings: Any,
    ) -> EpisodeRow:
        """The row of an episode that the model acts through.

        Args:
            trajectory: Its task.
            source: Where the trajectory is found again.
            prompt: How it is asked; of text only ``title_hint`` counts.
            settings: Further ones of the environment; ``sandbox`` is not for text.
        """
        settings["follow"] = "agent"
        if trajectory.domain == "swe":
            settings["prompt"] = asdict(prompt)
        else:
            settings.pop("sandbox", None)
            settings["title_hint"] = prompt.title_hint
            own = MATH_AGENT_SYSTEM_PROMPT if trajectory.domain == "math" else None
            prompt = replace(prompt, system_prompt=own)
        environment = _ENVIRONMENTS.get(trajectory.domain, "SRL-Steps-v0")
        messages = StepInstance(trajectory, 0, prompt).messages
        return cls(trajectory.id, environment, source, settings, messages)

    @classmethod
    def read(cls, given: object, where: str = "a row") -> EpisodeRow:
        """The row that ``asdict`` gave, or its JSON text.

        Args:
            given: The object or the text.
            where: File and line, or column, for messages.

        Raises:
            DataError: It is not such a row.
        """
        try:
            row = cls(**read_object(given, where))
        except TypeError as error:
            said = str(error).removeprefix("EpisodeRow.__init__() ")
            raise DataError(
                f"{where} is not a row of an episode ({said}): export with --episodes true."
            ) from None
        texts, objects = (row.id, row.environment), (row.source, row.settings)
        if not all(isinstance(one, str) for one in texts) or not all(
            isinstance(one, Mapping) for one in objects
        ):
            raise DataError(f"{where} is not a row of an episode: export it again.")
        return row


def load_episodes(path: str | Path) -> Iterator[EpisodeRow]:
    """The rows of a file that ``python -m srl_envs.export --episodes true`` wrote.

    Raises:
        DataError: It cannot be read, or a line is not such a row.
    """
    for number, row in read_lines(Path(path)):
        yield EpisodeRow.read(row, f"{path}, line {number}")


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
        reward: The sum of the rewards so far.
        done: Whether it has ended.

    Raises:
        ConfigError: The row does not fit the environment.
        SandboxError: The machinery failed.
    """

    def __init__(self, row: EpisodeRow) -> None:
        trajectory = _trajectory(row)
        self.grammar, self.reward, self.done = trajectory.grammar, 0.0, False
        self._env = environment_of(row, TrajectorySet([trajectory]))
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
        _, reward, terminated, out_of_turns, info = env.advance(read, env.score(read), verify=False)
        done = terminated or out_of_turns
        if env.follow == "agent":
            reward = self._verdict() if done else 0.0
            observation = str(getattr(env.domain, "observation", "")) or GO_ON
        else:
            observation = info["messages"][-1]["content"]
        self.reward, self.done = self.reward + reward, done
        return Seen(info["messages"], observation, reward, done, info)

    def finish(self) -> float:
        """End the episode as it stands, say because the tokens ran out, and verify it.

        Returns:
            The sum of its rewards. A second call, or one after the end, verifies nothing.

        Raises:
            ConfigError: The trajectory has no tests and no answer, so nobody can tell.
            SandboxError: The machinery failed: never a reward.
        """
        if not self.done and self._env.follow == "agent":
            self.reward += self._verdict()
        self.done = True
        return self.reward

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""
        self._env.close()

    def _verdict(self) -> float:
        correct = self._env.outcome().get("correct")
        if correct is None:
            raise ConfigError(
                "The episode has no verdict: its trajectory has neither tests nor an answer. Leave"
                " it out, or use follow='expert'."
            )
        return float(correct)


@asynccontextmanager
async def opened(row: EpisodeRow) -> AsyncIterator[Episode]:
    """An episode for those who must not wait: it starts and is closed in a thread."""
    episode = await asyncio.to_thread(Episode, row)
    try:
        yield episode
    finally:
        await asyncio.to_thread(episode.close)


def environment_of(row: EpisodeRow, trajectories: TrajectorySet) -> ExpertStepEnv:
    """The environment that a row names, with these trajectories.

    Raises:
        ConfigError: The row does not fit it.
    """
    try:
        settings = dict(row.settings)
        if "reward" in settings:
            settings["reward"] = reward_settings(settings["reward"])
        if "prompt" in settings:
            settings["prompt"] = PromptSettings(**settings["prompt"])
        made = gym.make(
            row.environment, trajectories=trajectories, disable_env_checker=True, **settings
        )
    except (TypeError, gym.error.Error) as error:
        raise ConfigError(
            f"The settings of {row.id or 'this row'!r} do not fit {row.environment}: {error}"
        ) from error
    assert isinstance(made.unwrapped, ExpertStepEnv)
    return made.unwrapped


def trajectories_of(row: EpisodeRow) -> dict[str, Trajectory]:
    """All trajectories of a row's source by their ids, in their order.

    Raises:
        ConfigError, DataError: The source cannot be read.
    """
    return _by_id(json.dumps(dict(row.source), sort_keys=True))


def _trajectory(row: EpisodeRow) -> Trajectory:
    known = trajectories_of(row)
    found = known.get(row.id) or known.get(row.id.rpartition("/")[0])
    if found is None:
        raise ConfigError(f"The source {dict(row.source)} has no trajectory {row.id!r}.")
    return found


@lru_cache(maxsize=4)
def _by_id(source: str) -> dict[str, Trajectory]:
    """A source is read once a process, not once an episode."""
    try:
        return {one.id: one for one in load_trajectories(**json.loads(source))}
    except TypeError as error:
        raise ConfigError(f"The source {source} cannot be read: {error}") from error

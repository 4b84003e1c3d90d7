"""OpenEnv 0.10: a server of our environments.

    app = make_app(EpisodeRow("", "SRL-SWE-v0", {"source": "builtin_swe"}, {...}))

A client chooses the episode by ``reset(index=...)`` or ``reset(instance_id=...)``, sends
``{"answer": TEXT}`` (and ``thought`` where it came apart), and gets the messages to ask
next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field

from srl_envs.adapters.episodes import Episode, EpisodeRow, environment_of, trajectories_of
from srl_envs.errors import ConfigError
from srl_envs.instances import TrajectorySet
from srl_envs.prompts.step import Message
from srl_envs.response import SplitAnswer

SPLIT = "train"


class Answer(Action):
    """What the model wrote."""

    answer: str = Field(description="The answer, or its action where thought is given")
    thought: str | None = Field(default=None, description="The thought, if it came apart")
    truncated: bool = Field(default=False, description="It hit the token limit")


class Prompt(Observation):
    """What is asked next."""

    messages: list[dict[str, str]] = Field(default_factory=list, description="The prompt")
    observation: str = Field(default="", description="What a conversation goes on with")


class SRLEnvironment(Environment[Answer, Prompt, State]):
    """One session: an episode at a time.

    Args:
        row: The environment, its source and settings; the id is chosen at reset.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, row: EpisodeRow) -> None:
        super().__init__()
        self._row, self._state = row, State()
        self._episode: Episode | None = None

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        index: int | None = None,
        instance_id: str | None = None,
        split: str = SPLIT,
        **unknown: Any,
    ) -> Prompt:
        """Start an episode: the named one, that of an index, or of ``seed`` as an index.

        Raises:
            ConfigError: There is no such episode, split or option.
            IndexError: ``index`` is out of range.
        """
        if unknown:
            raise ConfigError(
                f"reset takes seed, index, instance_id and split, not {', '.join(sorted(unknown))}."
            )
        if index is not None and instance_id is not None:
            raise ConfigError("index and instance_id exclude each other: give one of them.")
        if instance_id is None:
            number = (seed or 0) % self.num_tasks(split) if index is None else index
            instance_id = self.get_task(split, number)["id"]
        self.close()
        self._episode = Episode(replace(self._row, id=instance_id))
        self._state = State(episode_id=episode_id, step_count=0, instance_id=instance_id)
        messages = self._episode.messages
        return Prompt(messages=_plain(messages), observation=messages[-1]["content"])

    def step(self, action: Answer, timeout_s: float | None = None, **_: Any) -> Prompt:
        """Act on an answer."""
        if self._episode is None:
            raise ConfigError("No episode is under way: call reset() first.")
        answer = SplitAnswer(action.thought, action.answer)
        seen = self._episode.step(answer, truncated=action.truncated)
        self._state.step_count += 1
        return Prompt(
            messages=_plain(seen.messages),
            observation=seen.observation,
            reward=seen.reward,
            done=seen.done,
            metadata={"malformed": seen.info["response"].error},
        )

    @property
    def state(self) -> State:
        """How many steps were taken, and in which episode."""
        return self._state

    def list_splits(self) -> list[str]:
        """OpenEnv's tasks: one split."""
        return [SPLIT]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """All episodes: what ``reset(index=...)`` or ``reset(instance_id=...)`` starts."""
        return [{"id": one, "index": n} for n, one in enumerate(self._ids(split))]

    def num_tasks(self, split: str) -> int:
        """How many episodes there are."""
        return len(self._ids(split))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One of them."""
        ids = self._ids(split)
        if index not in range(len(ids)):
            raise IndexError(f"index is {index}: use 0 to {len(ids) - 1}.")
        return {"id": ids[index], "index": index}

    def close(self) -> None:
        """Give back the sandbox; a second call does nothing."""
        if self._episode is not None:
            self._episode.close()

    def _ids(self, split: str) -> list[str]:
        if split != SPLIT:
            raise ConfigError(f"split is {split!r}: there is only {SPLIT!r}.")
        return list(trajectories_of(self._row))


def _plain(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": one["role"], "content": one["content"]} for one in messages]


def make_app(row: EpisodeRow, max_sessions: int = 8) -> Any:
    """The FastAPI application, for uvicorn.

    Args:
        row: The environment, its source and settings; its id plays no part.
        max_sessions: Most episodes at a time.

    Raises:
        ConfigError, DataError: The source cannot be read, or the row does not fit it.
    """
    trajectories = TrajectorySet(list(trajectories_of(row).values()))
    environment_of(row, trajectories).close()  # refused before the first client waits
    return create_app(
        lambda: SRLEnvironment(row),
        Answer,
        Prompt,
        env_name="srl",
        max_concurrent_envs=max_sessions,
    )

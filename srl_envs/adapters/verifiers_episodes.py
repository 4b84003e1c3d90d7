"""verifiers 0.4: a taskset of episodes, and the environment that plays them.

A module of one's own re-exports both, as ``srl_episode.py`` of the export does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from srl_envs.adapters.episodes import EpisodeRow, load_episodes, opened
from srl_envs.adapters.verifiers import answer_of

__all__ = ["EpisodeEnv", "EpisodeTaskset"]


class EpisodeTasksetConfig(vf.TasksetConfig):
    """Which rows are played: ``--env.taskset.rows FILE``."""

    rows: Path = Path("train.jsonl")
    """A file that the export wrote, with ``--episodes true``."""


class EpisodeData(vf.TaskData):
    """One row, as JSON."""

    row: str


class EpisodeTask(vf.Task[EpisodeData]):
    """One episode; :class:`EpisodeEnv` records its reward."""

    @property
    def key(self) -> str:
        """The trajectory's id."""
        return str(self.data.id)


class EpisodeTaskset(vf.Taskset[EpisodeTask, EpisodeTasksetConfig]):
    """The rows of a file."""

    def load(self) -> Iterator[EpisodeTask]:
        """A task a row; its first prompt is the task's."""
        for row in load_episodes(self.config.rows):
            text = json.dumps(asdict(row))
            data = EpisodeData(id=row.id, name=row.id, row=text, prompt=row.messages)
            yield EpisodeTask(data, self.config.task)


class EpisodeEnvConfig(vf.EnvConfig):
    """One agent: ``--env.player.*``."""

    player: vf.AgentConfig = vf.AgentConfig()


class EpisodeEnv(vf.Env[EpisodeEnvConfig]):
    """Our environment is the user: what it shows answers the model."""

    async def run(self, task: EpisodeTask, agents: Any) -> None:
        """One episode; an exchange that is cut short is verified as it stands."""
        async with (
            opened(EpisodeRow.read(task.data.row)) as episode,
            agents.player.interaction(task) as interaction,
        ):
            segment = await interaction.turn()
            while not segment.terminated:
                answer, cut = answer_of(segment.messages[-1]), _was_cut(interaction.trace)
                seen = await asyncio.to_thread(episode.step, answer, truncated=cut)
                if seen.done:
                    break
                segment = await interaction.turn(seen.observation)
            reward = await asyncio.to_thread(episode.finish)
        interaction.trace.record_reward("episode_reward", reward)


def _was_cut(trace: vf.Trace) -> bool:
    calls = [call for call in trace.calls if call.error is None]
    return bool(calls) and calls[-1].finish_reason == "length"

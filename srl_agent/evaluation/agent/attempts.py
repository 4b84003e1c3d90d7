"""The episodes of an evaluation on disk: ``episodes.jsonl``, one line each.

An episode is written as soon as it has its verdict, so a killed run asks for the others
only. One that the machinery failed is not written: the next run tries it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from srl_agent.evaluation.agent.config import AgentConfig
from srl_agent.evaluation.folder import evaluation_folder, model_identity, read_settings
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.rollouts.episode_records import LONGEST_TEXT, Episode, EpisodeRecord, record_of
from srl_agent.runs.files import drop_cut_line
from srl_agent.runs.ownership import CONFIG, check_same_settings, write_settings_file
from srl_envs.data.jsonl import read_lines
from srl_envs.errors import DataError, InfrastructureError

EPISODES = "episodes.jsonl"

Key = tuple[str, int]
"""A task's id and the number of the attempt."""


@contextmanager
def agent_folder(folder: Path, config: AgentConfig, model: GeneratorConfig) -> Iterator[None]:
    """Own the folder of an evaluation of agents, with ``config.yaml`` written.

    Raises:
        ConfigError: The folder is a file, holds something else, or episodes that were
            made with other settings; or it is in use by another process.
    """
    with evaluation_folder(folder, "agent"):
        fixed = config.identity() | model_identity(model)
        path = folder / EPISODES
        if path.is_file() and path.stat().st_size > 0:
            check_same_settings(folder, read_settings(folder)["identity"], fixed, "episodes")
        write_settings_file(
            folder / CONFIG,
            {
                "task": "agent",
                "evaluation": asdict(config),
                "model": asdict(model),
                "identity": fixed,
            },
        )
        yield


class AttemptStore:
    """A run's ``episodes.jsonl``, open for writing; a context manager.

    Opening it takes away a last line that a kill cut off.

    Args:
        path: The file; need not exist yet.
        longest: Texts with more characters are cut in the middle; None cuts none.

    Attributes:
        attempts: What the file holds.

    Raises:
        DataError: A line before the last is damaged, or two are of the same episode.
    """

    def __init__(self, path: Path, longest: int | None = LONGEST_TEXT) -> None:
        self._path, self._longest = path, longest
        self.attempts: dict[Key, EpisodeRecord] = {}
        if drop_cut_line(path):
            for number, row in read_lines(path):
                self._add(row, f"{path}, line {number}")
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def _add(self, row: dict[str, Any], where: str) -> None:
        record = EpisodeRecord.from_row(row, where)
        if (record.task, record.number) in self.attempts:
            raise DataError(
                f"{where}: a second episode {record.number} of {record.task}. Delete one of them."
            )
        self.attempts[record.task, record.number] = record

    def append(self, episode: Episode) -> None:
        """Write one episode through to the file system.

        Raises:
            InfrastructureError: It cannot be written (a full disk).
        """
        row = record_of(episode, self._longest)
        try:
            # ASCII, so that a lone surrogate of the model survives.
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise InfrastructureError(
                f"{self._path} cannot be written: {error.strerror}. Make room and give the same"
                " command again."
            ) from error
        self._add(row, str(self._path))

    def __enter__(self) -> AttemptStore:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()

"""The runs that are shown: found in folders, each with its index and its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from srl_agent.reports.viewer.curves import MetricsReader
from srl_agent.reports.viewer.run_index import RunIndex
from srl_agent.rollouts.rollout_log import FOLDER
from srl_envs.errors import DataError
from srl_envs.reward import RewardSettings

_SIGNS = ("metrics.jsonl", "episodes.jsonl", "samples", FOLDER)
"""A folder with one of these is a run's."""

_DEPTH = 3  # runs/curriculum/stage

_FACTS = {
    "method": "method",
    "task": "evaluation",
    "model_name_or_path": "model",
    "model": "model",
    "source": "source",
    "num_generations": "answers to a prompt",
    "learning_rate": "learning rate",
    "min_reward_std": "min_reward_std",
    "seed": "seed",
}
"""Settings under a run's heading."""


@dataclass(frozen=True)
class ShownRun:
    """A run that is shown.

    Attributes:
        name: Unique among the runs, and a part of addresses.
        folder: Where it is.
    """

    name: str
    folder: Path

    @cached_property
    def index(self) -> RunIndex:
        """Its groups and episodes."""
        return RunIndex(self.folder)

    @cached_property
    def metrics(self) -> MetricsReader:
        """Its logged figures."""
        return MetricsReader(self.folder / "metrics.jsonl")

    @property
    def is_finished(self) -> bool:
        """Whether it wrote its results."""
        return any((self.folder / name).is_file() for name in ("summary.json", "results.json"))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Of its ``config.yaml``; empty without one that can be read."""
        import yaml

        try:
            content = yaml.safe_load((self.folder / "config.yaml").read_bytes())
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    def facts(self) -> list[tuple[str, str]]:
        """The settings that tell runs apart, with their names."""
        found: dict[str, str] = {}
        for name, label in _FACTS.items():
            value = self.settings.get(name)
            if isinstance(value, Mapping):  # an evaluation's model
                value = value.get(name)
            if value not in (None, "") and label not in found:
                found[label] = str(value)
        return list(found.items())

    @cached_property
    def reward(self) -> RewardSettings:
        """How its answers were scored; the defaults where that is not recorded or not known."""
        given = self.settings
        try:
            return RewardSettings(
                autojunk=given.get("autojunk") is True,
                max_characters=int(given.get("max_reward_characters") or 16_000),
                name=str(given.get("reward") or "similarity"),
            )
        except (ValueError, TypeError):
            return RewardSettings()


def find_runs(places: Sequence[Path]) -> dict[str, ShownRun]:
    """The runs in some folders, by name.

    Args:
        places: Runs, or folders that hold runs.

    Raises:
        DataError: A folder is missing, or holds no run.
    """
    found: dict[str, ShownRun] = {}
    for place in places:
        if not place.is_dir():
            raise DataError(f"There is no folder {place}: give a run's folder, or one with runs.")
        folders = list(_runs_in(place, _DEPTH))
        if not folders:
            raise DataError(
                f"{place} holds no run: none of {', '.join(_SIGNS)} is in it or in its folders."
            )
        for folder in folders:
            if all(run.folder != folder.resolve() for run in found.values()):
                name = _name(folder, place, found)
                found[name] = ShownRun(name, folder.resolve())
    return found


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    if any((folder / sign).exists() for sign in _SIGNS):
        yield folder
    elif depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from _runs_in(inner, depth - 1)


def _name(folder: Path, place: Path, taken: Mapping[str, ShownRun]) -> str:
    parts = [place.resolve().name, *folder.relative_to(place).parts]
    name = "-".join(parts[1:] if len(parts) > 1 else parts)
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    number, plain = 2, name
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    return name

"""The runs that are shown: found in folders, each with its index and its settings."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from srl_agent.reports.viewer.curves import MetricsReader
from srl_agent.reports.viewer.kept_groups import results_in_words
from srl_agent.reports.viewer.kinds import KINDS, Kind, kind_of, report_kind
from srl_agent.reports.viewer.run_index import RunIndex
from srl_agent.runs.ownership import CONFIG, read_settings_file
from srl_envs.errors import DataError
from srl_envs.reward import RewardSettings

_logger = logging.getLogger(__name__)

_DEPTH = 3  # runs/curriculum/stage

_FACTS = {
    "method": "method",
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
        kind: What it is.
    """

    name: str
    folder: Path
    kind: Kind

    @cached_property
    def index(self) -> RunIndex:
        """Its groups and episodes."""
        return RunIndex(self.folder, self.kind)

    @cached_property
    def metrics(self) -> MetricsReader:
        """Its logged figures."""
        return MetricsReader(self.folder / "metrics.jsonl")

    @property
    def is_finished(self) -> bool | None:
        """Whether it wrote its results; None if such a run writes none."""
        if self.kind.name == "replays":
            return None
        return any((self.folder / name).is_file() for name in ("summary.json", "results.json"))

    def headline(self) -> list[tuple[str, str]]:
        """The main figures of its ``results.json``, with their names."""
        if self.is_finished is None:
            return []
        try:
            return results_in_words(json.loads((self.folder / "results.json").read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Of its ``config.yaml``; empty without one that can be read."""
        return _settings(self.folder)

    def facts(self) -> list[tuple[str, str]]:
        """The settings that tell runs apart, with their names."""
        found: dict[str, str] = {}
        for name, label in _FACTS.items():
            value = self.settings.get(name)
            for part in (self.settings.get("evaluation"), self.settings.get("settings"), value):
                if isinstance(part, Mapping):  # of an evaluation or a collection
                    value = part.get(name, value)
            if isinstance(value, Mapping):
                continue
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
        places: Runs, folders that hold runs, or reports of ``srl_envs.replay``.

    Raises:
        DataError: A folder is missing, holds no run, or one of a kind that is not known.
    """
    found: dict[str, ShownRun] = {}
    for place in places:
        for folder, kind in _runs_at(place):
            if all((run.folder, run.kind) != (folder.resolve(), kind) for run in found.values()):
                shown = place.with_suffix("") if place.is_file() else folder
                name = _name(shown, place if place.is_dir() else shown, found)
                found[name] = ShownRun(name, folder.resolve(), kind)
    return found


def _runs_at(place: Path) -> list[tuple[Path, Kind]]:
    if place.is_file():
        return [(place.parent, report_kind(place))]
    if not place.is_dir():
        raise DataError(f"There is no folder {place}: give a run's folder, or one with runs.")
    own = kind_of(place, _settings(place))
    if own is not None:
        return [(place, own)]
    found = list(_runs_in(place, _DEPTH))
    if not found:
        kinds = ", ".join(dict.fromkeys(kind.name for kind in KINDS.values()))
        raise DataError(
            f"{place} holds no run, nor do its folders: give the folder of one of these: {kinds}."
        )
    return found


def _runs_in(folder: Path, depth: int) -> Iterator[tuple[Path, Kind]]:
    for inner in sorted(folder.iterdir()):
        if not inner.is_dir() or inner.is_symlink() or inner.name.startswith("."):
            continue
        try:
            kind = kind_of(inner, _settings(inner))
        except DataError as error:
            _logger.warning("%s", error)
            continue
        if kind is not None:
            yield inner, kind
        elif depth > 1:
            yield from _runs_in(inner, depth - 1)


def _settings(folder: Path) -> Mapping[str, Any]:
    try:
        return read_settings_file(folder / CONFIG)
    except (OSError, ValueError):
        return {}


def _name(folder: Path, place: Path, taken: Mapping[str, ShownRun]) -> str:
    parts = [place.resolve().name, *folder.relative_to(place).parts]
    name = "-".join(parts[1:] if len(parts) > 1 else parts)
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    number, plain = 2, name
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    return name

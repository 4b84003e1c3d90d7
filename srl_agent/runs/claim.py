"""Whose run a folder holds: a new run takes a free folder, and the same command goes on with the run that it began."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from srl_agent.models.quickstart import QUICKSTART_NAMES
from srl_agent.runs.files import partial_name, replace_file
from srl_agent.runs.provenance import environment
from srl_envs.errors import ConfigError

_MAY_CHANGE = frozenset(
    {
        *(
            "max_steps",
            "num_train_epochs",
            "logging_steps",
            "eval_steps",
            "save_steps",
            "save_total_limit",
            "report_to",
            "disable_tqdm",
        ),
        *("config", "output_dir", "logging_dir", "run_name", "resume_from_checkpoint"),
    }
)
"""Settings that a resumed run may be given anew: they do not change what was learned so far."""

_PATHS = ("model_name_or_path", "source", "dataset_path")
"""Settings that may name a file or folder: its absolute path is recorded, and compared (see also :func:`_moved_along`)."""


def is_trained(folder: Path) -> bool:
    """Whether nothing but the report is missing."""
    return (folder / "summary.json").is_file()


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a run that came to its end: one that has written its report, after its summary."""
    return is_trained(folder) and (folder / "report.html").is_file()


def free_folder(folder: Path) -> Path:
    """The folder itself, or the first numbered one beside it that holds no finished run."""
    number, free = 1, folder
    while is_finished(free):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that a run with these settings may have the folder; changes nothing.

    Raises:
        ConfigError: The folder holds a finished run, a run with other settings, or
            something else.
    """
    path = folder / "config.yaml"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose another --output_dir.")
    if (
        folder / "metrics.jsonl"
    ).is_file():  # a start that failed at once leaves nothing worth keeping
        if is_finished(folder):
            raise ConfigError(f"{folder} holds a finished run: choose another --output_dir.")
        if path.is_file():
            _check_same(folder, _plain(_read(path)), _plain(settings))
    elif (
        "method" not in _read(path)
        and folder.is_dir()
        and any(entry.name != partial_name(path) for entry in folder.iterdir())
    ):
        raise ConfigError(f"{folder} is not empty and holds no run: choose another --output_dir.")


def check_finished(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that the finished run in a folder had these settings.

    Raises:
        ConfigError: It had others.
    """
    _check_same(folder, _plain(_read(folder / "config.yaml")), _plain(settings))


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a run's folder, and write down its settings and what it runs on."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "warmup.part", ignore_errors=True)
    replace_file(
        folder / "config.yaml",
        yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True).encode(),
    )
    replace_file(folder / "environment.json", json.dumps(environment(), indent=1).encode())


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if missing := [name for name in now if name not in before]:
        raise ConfigError(
            f"{folder / 'config.yaml'} is damaged or of another version (it lacks"
            f" {', '.join(missing[:3])}{', ...' if missing[3:] else ''}): delete it to go on with"
            " this command's settings, or choose another --output_dir."
        )
    different = (name for name in now if now[name] != before[name] and name not in _MAY_CHANGE)
    if changed := sorted(name for name in different if not _moved_along(name, before, now)):
        raise ConfigError(
            f"{folder} holds a run with other settings ({', '.join(changed)}): choose another"
            " --output_dir, or the same settings to go on."
        )


def _moved_along(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a path stands where it stood, seen from the run's folder: both were moved together, as stages of a curriculum are. Contents are not compared."""
    if name not in _PATHS:
        return False
    places = [(settings[name], settings.get("output_dir")) for settings in (before, now)]
    if not all(
        isinstance(path, str) and os.path.isabs(path) and isinstance(folder, str)
        for path, folder in places
    ):
        return False
    return len({os.path.relpath(path, folder) for path, folder in places}) == 1


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        settings = None
    return settings if isinstance(settings, dict) else {}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as YAML can hold them, with paths that do not depend on the working directory."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    if plain.get("output_dir"):
        plain["output_dir"] = str(Path(plain["output_dir"]).resolve())
    for name in _PATHS:
        if isinstance(value := plain.get(name), str) and _is_path(name, value):
            plain[name] = str(Path(value).expanduser().resolve())
    return plain


def _is_path(name: str, value: str) -> bool:
    if name == "source" and not value.endswith(".jsonl"):
        return False
    return value not in QUICKSTART_NAMES and Path(value).expanduser().exists()

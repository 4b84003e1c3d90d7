"""Who owns a folder: one process at a time, and one set of settings for as long as it is used.

Training and every evaluation use the same lock (:func:`lock_folder`) and the same
comparison of settings (:func:`check_same_settings`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from filelock import FileLock, Timeout

from srl_agent.models.quickstart import QUICKSTART_NAMES
from srl_agent.runs.files import partial_name, replace_file
from srl_agent.runs.processes import check_shared, together
from srl_agent.runs.provenance import environment
from srl_envs.errors import ConfigError

CONFIG, LOCK = "config.yaml", ".lock"

_MAY_CHANGE = frozenset(
    {
        *("max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps"),
        *("save_total_limit", "report_to", "disable_tqdm", "log_level"),
        *("log_rollouts", "rollout_log_mb"),
        *("config", "output_dir", "logging_dir", "run_name", "resume_from_checkpoint"),
    }
)
"""Settings that a resumed run may change: they do not affect what was learned so far."""

_PATHS = ("model_name_or_path", "source", "dataset_path")
"""Settings that may name a file or folder: recorded and compared as absolute paths.

See also :func:`_moved_along`.
"""


# ---------------------------------------------------------------- for every kind of folder


def check_not_a_file(folder: Path) -> None:
    """Check that a folder can be made or is there.

    Raises:
        ConfigError: A file has its name.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose another --output_dir.")


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing, and lock it for this process.

    The end of the process frees the lock too, however it ends.

    Raises:
        ConfigError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder} is in use by another process: wait for it, or choose another --output_dir."
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_same_settings(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], content: str = "a run"
) -> None:
    """Check that a folder's content was made with the settings of the present command.

    Args:
        folder: The folder.
        before: The settings it records.
        now: The settings of the command; a name that is missing on one side counts as
            None.
        content: What the folder holds, for the message.

    Raises:
        ConfigError: Some differ; the message names them with both values.
    """
    changed = {
        name: f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    }
    if changed:
        raise ConfigError(
            f"{folder} holds {content} with other settings ({'; '.join(changed.values())}): "
            "choose another --output_dir, or use the same settings to resume."
        )


def read_settings_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty if the file is missing or damaged."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def write_settings_file(path: Path, settings: Mapping[str, Any]) -> None:
    """Write settings as YAML, whole or not at all."""
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    replace_file(path, text.encode())


# ---------------------------------------------------------------- a training run's folder


def is_trained(folder: Path) -> bool:
    """Whether nothing but the report is missing."""
    return (folder / "summary.json").is_file()


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run: one with its summary and then its report."""
    return is_trained(folder) and (folder / "report.html").is_file()


def free_folder(folder: Path) -> Path:
    """The folder itself, or the first numbered one beside it without a finished run."""
    number, free = 1, folder
    while is_finished(free):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def check_run_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that a run with these settings may use the folder; changes nothing.

    Raises:
        ConfigError: The folder holds a finished run, a run with other settings, or
            something else.
    """
    path = folder / CONFIG
    check_not_a_file(folder)
    # A start that failed at once has no metrics and leaves nothing worth keeping.
    if (folder / "metrics.jsonl").is_file():
        if is_finished(folder):
            raise ConfigError(f"{folder} holds a finished run: choose another --output_dir.")
        if path.is_file():
            _check_same_run(folder, settings)
    elif "method" not in read_settings_file(path) and _holds_more_than(
        folder, {partial_name(path), LOCK}
    ):
        raise ConfigError(f"{folder} is not empty and holds no run: choose another --output_dir.")


def check_finished_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that the finished run in a folder had these settings.

    Raises:
        ConfigError: It had others.
    """
    _check_same_run(folder, settings)


@contextmanager
def run_folder(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Own a run's folder, with its settings and what it runs on written down.

    Every process of a distributed run calls this. Only the main process locks and
    writes. If one process cannot use the folder, all fail with the same message.

    Raises:
        ConfigError: As :func:`check_run_folder`; or another run is using the folder, or
            the processes are on machines that do not share it.
    """
    main = PartialState().is_main_process
    with ExitStack() as owned:
        # Every process has looked before one of them writes.
        together(lambda: check_run_folder(folder, settings))
        together(lambda: _take(folder, settings, owned) if main else None)
        check_shared(folder)
        yield


def _take(folder: Path, settings: Mapping[str, Any], owned: ExitStack) -> None:
    owned.enter_context(lock_folder(folder))
    check_run_folder(folder, settings)  # the run that had it may just have finished
    _prepare(folder, settings)


def _prepare(folder: Path, settings: Mapping[str, Any]) -> None:
    shutil.rmtree(folder / "warmup.part", ignore_errors=True)
    write_settings_file(folder / CONFIG, _plain(settings))
    replace_file(folder / "environment.json", json.dumps(environment(), indent=1).encode())


def _check_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    before, now = read_settings_file(folder / CONFIG), _plain(settings)
    if missing := [name for name in now if name not in before]:
        names = ", ".join(missing[:3]) + (", ..." if missing[3:] else "")
        raise ConfigError(
            f"{folder / CONFIG} is damaged or of another version (it lacks {names}): delete it "
            "to resume with this command's settings, or choose another --output_dir."
        )
    compared = [
        name for name in now if name not in _MAY_CHANGE and not _moved_along(name, before, now)
    ]
    check_same_settings(
        folder, {name: before[name] for name in compared}, {name: now[name] for name in compared}
    )


def _moved_along(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a path is the same as before, seen from the run's folder.

    Both were moved together then, as the stages of a curriculum are. Contents are not
    compared.
    """
    if name not in _PATHS:
        return False
    places = [(settings[name], settings.get("output_dir")) for settings in (before, now)]
    if not all(
        isinstance(path, str) and os.path.isabs(path) and isinstance(folder, str)
        for path, folder in places
    ):
        return False
    return len({os.path.relpath(path, folder) for path, folder in places}) == 1


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


def _holds_more_than(folder: Path, names: set[str]) -> bool:
    return folder.is_dir() and any(entry.name not in names for entry in folder.iterdir())

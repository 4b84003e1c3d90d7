"""The folder of any evaluation, and the settings that identify the model it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from srl_agent.inference.backends import GeneratorConfig, resolved
from srl_agent.runs.ownership import CONFIG, check_not_a_file, lock_folder, read_settings_file
from srl_envs.errors import ConfigError, DataError

RESULTS = "results.json"

_MODEL_FIXED = ("model", "backend", "system_role", "dtype", "model_revision")
"""Settings of the model on which its answers depend."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def model_label(model: GeneratorConfig) -> str:
    """The model's name for tables; of a folder its last two parts, as the last is often "final"."""
    folder = Path(model.model).expanduser()
    return "/".join(folder.resolve().parts[-2:]) if folder.is_dir() else model.model


@contextmanager
def evaluation_folder(folder: Path, task: str, noun: str = "evaluation") -> Iterator[None]:
    """Own the folder of an evaluation, or of other work that asks a model; made if missing.

    Args:
        folder: The folder; new, empty, or that of an evaluation whose ``config.yaml``
            names the same task.
        task: What is evaluated, such as ``"math"`` or ``"swebench"``.
        noun: What the work is, for messages.

    Raises:
        ConfigError: The folder is a file, holds something else (a training run, for
            example), or is in use by another process.
    """
    check_not_a_file(folder)
    if (folder / CONFIG).is_file():
        if (found := read_settings_file(folder / CONFIG).get("task")) != task:
            what = f"a {found} {noun}" if found else "something else, or its config.yaml is damaged"
            raise ConfigError(f"{folder} holds {what}: choose another --output_dir.")
    elif folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no {noun}: choose another --output_dir."
        )
    with lock_folder(folder):
        yield


def model_identity(model: GeneratorConfig) -> dict[str, Any]:
    """The settings that identify the model that answers.

    They say what ``auto`` means on this machine, and when the weights in a local folder
    were written.
    """
    fixed = {name: getattr(resolved(model), name) for name in _MODEL_FIXED}
    local = Path(model.model).expanduser()
    if local.is_dir():  # a checkpoint that was trained on has the same name and other weights
        newest = max(
            (file.stat().st_mtime for pattern in _WEIGHTS for file in local.glob(pattern)),
            default=0.0,
        )
        fixed["model"] = str(local.resolve())
        fixed["weights_written"] = datetime.fromtimestamp(newest, timezone.utc).isoformat(
            timespec="seconds"
        )
    return fixed


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of an evaluation's folder: ``evaluation``, ``model`` and ``identity``.

    Raises:
        DataError: The folder is not that of an evaluation.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} holds no evaluation: it has no {CONFIG}.")
    settings = read_settings_file(folder / CONFIG)
    if not all(
        isinstance(settings.get(part), dict) for part in ("evaluation", "model", "identity")
    ):
        raise DataError(f"{folder / CONFIG} is damaged, or is not that of an evaluation.")
    return settings

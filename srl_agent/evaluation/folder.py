"""The folder of an evaluation: one model and one way of asking it; more problems, benchmarks and samples may be added later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from srl_agent.evaluation.benchmarks import Problem
from srl_agent.evaluation.config import MathConfig
from srl_agent.files import replace_file
from srl_agent.inference.backends import GeneratorConfig
from srl_envs.errors import ConfigError, DataError

CONFIG, PROBLEMS, SAMPLES, RESULTS = "config.yaml", "problems.jsonl", "samples.jsonl", "results.json"

_ALWAYS_FIXED = ("max_new_tokens", "seed", "temperature", "top_p", "system_prompt", "stepwise")
_STEPWISE_FIXED = ("max_steps", "require_think")
_MODEL_FIXED = ("model", "backend", "system_role", "dtype", "model_revision")
"""Settings on which answers depend: all answers of a folder were asked for with the same."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def default_folder(config: MathConfig, model: GeneratorConfig) -> Path:
    """Where an evaluation goes that names no folder."""
    name = model_label(model).replace("/", "-") if Path(model.model).expanduser().is_dir() else Path(model.model).name
    return Path("runs") / (f"math-{name}-stepwise" if config.stepwise else f"math-{name}")


def model_label(model: GeneratorConfig) -> str:
    """The model's name for tables: of a folder the last two parts, because the last alone is often "final"."""
    folder = Path(model.model).expanduser()
    return "/".join(folder.resolve().parts[-2:]) if folder.is_dir() else model.model


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold an evaluation's folder for this process, made if need be.

    Raises:
        ConfigError: The folder is a file, holds something else, or another process holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose another --output_dir.")
    if folder.is_dir() and not (folder / CONFIG).is_file() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no evaluation: choose another --output_dir.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{folder} is in use by another process: wait for it, or choose another --output_dir.") from None
    with lock:
        yield


@contextmanager
def claimed(folder: Path, config: MathConfig, model: GeneratorConfig, problems: Sequence[Problem]) -> Iterator[None]:
    """Hold a run's folder for this process, made if need be, with ``config.yaml`` and ``problems.jsonl`` written.

    Raises:
        ConfigError: The folder is a file, holds something else, or answers that were asked for otherwise; or another process holds it.
        DataError: A problem that is already in it has another text or answer now.
    """
    with held(folder):
        settings = {"evaluation": asdict(config), "model": asdict(model), "identity": identity(config, model)}
        answered = (folder / SAMPLES).is_file() and (folder / SAMPLES).stat().st_size > 0  # a start that failed at once binds nobody
        if answered:
            _check_same(folder, settings["identity"])
        merged = _merged(folder, read_problems(folder) if answered else [], problems)
        replace_file(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode())
        replace_file(folder / PROBLEMS, "".join(json.dumps(asdict(problem)) + "\n" for problem in merged).encode())
        yield


def identity(config: MathConfig, model: GeneratorConfig) -> dict[str, Any]:
    """What must stay the same for as long as answers are added to a folder."""
    names = (*_ALWAYS_FIXED, *(_STEPWISE_FIXED if config.stepwise else ()))
    return {name: getattr(config, name) for name in names} | model_identity(model)


def model_identity(model: GeneratorConfig) -> dict[str, Any]:
    """The settings that tell which model answers, and when the weights in a local folder were written."""
    fixed = {name: getattr(model, name) for name in _MODEL_FIXED}
    local = Path(model.model).expanduser()
    if local.is_dir():  # a checkpoint that was trained on has the same name and other weights
        newest = max((file.stat().st_mtime for pattern in _WEIGHTS for file in local.glob(pattern)), default=0.0)
        fixed["model"] = str(local.resolve())
        fixed["weights_written"] = datetime.fromtimestamp(newest, timezone.utc).isoformat(timespec="seconds")
    return fixed


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of an evaluation's folder: ``evaluation``, ``model`` and ``identity``.

    Raises:
        DataError: The folder is no evaluation's.
    """
    try:
        settings = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"{folder} holds no evaluation: it has no {CONFIG}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(settings.get(part), dict) for part in ("evaluation", "model", "identity")):
        raise DataError(f"{folder / CONFIG} is damaged, or not of an evaluation.")
    return settings


def read_problems(folder: Path) -> list[Problem]:
    """The problems that an evaluation asked.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = folder / PROBLEMS
    try:
        return [Problem(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged: {error}") from None


def _check_same(folder: Path, now: dict[str, Any]) -> None:
    before = read_settings(folder)["identity"]
    changed = [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        raise ConfigError(f"{folder} holds answers that were asked for otherwise ({'; '.join(changed)}): choose another --output_dir, or the same settings.")


def _merged(folder: Path, known: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """The folder's problems and the new ones."""
    merged = {(problem.benchmark, problem.id): problem for problem in known}
    for problem in problems:
        if merged.setdefault((problem.benchmark, problem.id), problem) != problem:
            raise DataError(
                f"{folder} holds answers to another problem of {problem.benchmark} with the id {problem.id!r}: the data changed. Choose another --output_dir."
            )
    return list(merged.values())

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

from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.inference.backends import GeneratorConfig, resolved
from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError, DataError
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT

CONFIG, PROBLEMS, SAMPLES, RESULTS = (
    "config.yaml",
    "problems.jsonl",
    "samples.jsonl",
    "results.json",
)

_ALWAYS_FIXED = ("max_new_tokens", "seed", "temperature", "top_p", "system_prompt", "stepwise")
_STEPWISE_FIXED = ("max_steps", "require_think")
_MODEL_FIXED = ("model", "backend", "system_role", "dtype", "model_revision")
"""Settings on which answers depend: all answers of a folder were asked for with the same."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def default_folder(config: MathConfig, model: GeneratorConfig) -> Path:
    """Where an evaluation goes that names no folder."""
    name = (
        model_label(model).replace("/", "-")
        if Path(model.model).expanduser().is_dir()
        else Path(model.model).name
    )
    return Path("runs") / (f"math-{name}-stepwise" if config.stepwise else f"math-{name}")


def model_label(model: GeneratorConfig) -> str:
    """The model's name for tables: of a folder the last two parts, because the last alone is often "final"."""
    folder = Path(model.model).expanduser()
    return "/".join(folder.resolve().parts[-2:]) if folder.is_dir() else model.model


@contextmanager
def held(folder: Path, task: str) -> Iterator[None]:
    """Hold an evaluation's folder for this process, made if need be.

    Args:
        folder: The folder; new, empty, or that of an evaluation whose ``config.yaml``
            names the same task.
        task: What is evaluated: ``"math"`` or ``"swebench"``.

    Raises:
        ConfigError: The folder is a file, holds something else (a training run, for
            example), or another process holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose another --output_dir.")
    if (folder / CONFIG).is_file():
        if (found := _yaml(folder / CONFIG).get("task")) != task:
            what = (
                f"a {found} evaluation"
                if found
                else "something else, or its config.yaml is damaged"
            )
            raise ConfigError(f"{folder} holds {what}: choose another --output_dir.")
    elif folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no evaluation: choose another --output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder} is in use by another process: wait for it, or choose another --output_dir."
        ) from None
    with lock:
        yield


@contextmanager
def claimed(
    folder: Path, config: MathConfig, model: GeneratorConfig, problems: Sequence[Problem]
) -> Iterator[None]:
    """Hold a run's folder for this process, made if need be, with ``config.yaml`` and ``problems.jsonl`` written.

    Raises:
        ConfigError: The folder is a file, holds something else, or answers that were
            asked for otherwise; or another process holds it.
        DataError: A problem that is already in it has another text or answer now.
    """
    with held(folder, "math"):
        fixed = identity(config, model)
        settings = {
            "task": "math",
            "evaluation": asdict(config),
            "model": asdict(model),
            "identity": fixed,
        }
        answered = (folder / SAMPLES).is_file() and (
            folder / SAMPLES
        ).stat().st_size > 0  # a start that failed at once binds nobody
        if answered:
            _check_same(folder, fixed)
        merged = _merged(folder, read_problems(folder) if answered else [], problems)
        replace_file(
            folder / CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode()
        )
        replace_file(
            folder / PROBLEMS,
            "".join(json.dumps(asdict(problem)) + "\n" for problem in merged).encode(),
        )
        yield


def identity(config: MathConfig, model: GeneratorConfig) -> dict[str, Any]:
    """What must stay the same for as long as answers are added to a folder."""
    names = (*_ALWAYS_FIXED, *(_STEPWISE_FIXED if config.stepwise else ()))
    fixed = {name: getattr(config, name) for name in names} | model_identity(model)
    if config.system_prompt is None and not config.stepwise:
        fixed["system_prompt"] = EVALUATION_SYSTEM_PROMPT
    return fixed


def model_identity(model: GeneratorConfig) -> dict[str, Any]:
    """The settings that tell which model answers, what auto means here, and when the weights in a local folder were written."""
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
        DataError: The folder is no evaluation's.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} holds no evaluation: it has no {CONFIG}.")
    settings = _yaml(folder / CONFIG)
    if not all(
        isinstance(settings.get(part), dict) for part in ("evaluation", "model", "identity")
    ):
        raise DataError(f"{folder / CONFIG} is damaged, or not of an evaluation.")
    return settings


def read_problems(folder: Path) -> list[Problem]:
    """The problems that an evaluation asked.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = folder / PROBLEMS
    try:
        return [
            Problem(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()
        ]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged: {error}") from None


def _yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; empty if it is damaged."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_same(folder: Path, now: dict[str, Any]) -> None:
    before = read_settings(folder)["identity"]
    changed = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            f"{folder} holds answers that were asked for otherwise ({'; '.join(changed)}): choose another --output_dir, or the same settings."
        )


def _merged(folder: Path, known: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """The folder's problems and the new ones."""
    merged = {(problem.benchmark, problem.id): problem for problem in known}
    for problem in problems:
        if merged.setdefault((problem.benchmark, problem.id), problem) != problem:
            raise DataError(
                f"{folder} holds answers to another problem of {problem.benchmark} with the id {problem.id!r}: the data changed. Choose another --output_dir."
            )
    return list(merged.values())

"""The folder of a math evaluation: one model, asked in one way.

More problems, benchmarks and samples may be added later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srl_agent.evaluation.folder import (
    evaluation_folder,
    model_identity,
    model_label,
    read_settings,
)
from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.runs.files import replace_file
from srl_agent.runs.ownership import CONFIG, check_same_settings, write_settings_file
from srl_envs.errors import DataError
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT

PROBLEMS, SAMPLES = "problems.jsonl", "samples.jsonl"

_ALWAYS_FIXED = ("max_new_tokens", "seed", "temperature", "top_p", "system_prompt", "stepwise")
_STEPWISE_FIXED = ("max_steps", "require_think")
"""Settings on which answers depend: all answers of a folder were asked for with the same."""


def default_folder(config: MathConfig, model: GeneratorConfig) -> Path:
    """The folder of an evaluation that names none."""
    name = (
        model_label(model).replace("/", "-")
        if Path(model.model).expanduser().is_dir()
        else Path(model.model).name
    )
    return Path("runs") / (f"math-{name}-stepwise" if config.stepwise else f"math-{name}")


@contextmanager
def math_folder(
    folder: Path, config: MathConfig, model: GeneratorConfig, problems: Sequence[Problem]
) -> Iterator[None]:
    """Own the folder of a math evaluation, with ``config.yaml`` and ``problems.jsonl`` written.

    Raises:
        ConfigError: The folder is a file, holds something else, or answers that were
            generated with other settings; or it is in use by another process.
        DataError: A problem that is already in it has another text or answer now.
    """
    with evaluation_folder(folder, "math"):
        fixed = identity(config, model)
        settings = {
            "task": "math",
            "evaluation": asdict(config),
            "model": asdict(model),
            "identity": fixed,
        }
        samples = folder / SAMPLES
        # A start that failed at once has no answers, and its settings do not count.
        answered = samples.is_file() and samples.stat().st_size > 0
        if answered:
            check_same_settings(folder, read_settings(folder)["identity"], fixed, "answers")
        merged = _merged(folder, read_problems(folder) if answered else [], problems)
        write_settings_file(folder / CONFIG, settings)
        lines = (json.dumps(asdict(problem)) + "\n" for problem in merged)
        replace_file(folder / PROBLEMS, "".join(lines).encode())
        yield


def identity(config: MathConfig, model: GeneratorConfig) -> dict[str, Any]:
    """What must stay the same for as long as answers are added to a folder."""
    names = (*_ALWAYS_FIXED, *(_STEPWISE_FIXED if config.stepwise else ()))
    fixed = {name: getattr(config, name) for name in names} | model_identity(model)
    if config.think_prefilled:
        fixed["think_prefilled"] = True
    if config.system_prompt is None and not config.stepwise:
        fixed["system_prompt"] = EVALUATION_SYSTEM_PROMPT
    return fixed


def read_problems(folder: Path) -> list[Problem]:
    """The problems of an evaluation.

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


def _merged(folder: Path, known: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """The folder's problems and the new ones."""
    merged = {(problem.benchmark, problem.id): problem for problem in known}
    for problem in problems:
        if merged.setdefault((problem.benchmark, problem.id), problem) != problem:
            raise DataError(
                f"{folder} holds answers to another problem of {problem.benchmark} with the id "
                f"{problem.id!r}: the data changed. Choose another --output_dir."
            )
    return list(merged.values())

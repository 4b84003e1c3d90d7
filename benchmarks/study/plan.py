"""What the study trains: a size's settings, and each arm as stages of ``srl_agent.train``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from srl_envs.errors import ConfigError

SIZES = Path(__file__).parent

ARMS = {
    "base": "Base",
    "warmup": "Warm-up",
    "sft": "SFT",
    "rlvr": "RLVR",
    "srl": "SRL",
    "srl_then_rlvr": "SRL -> RLVR",
    "srl_no_dynamic_sampling": "SRL without dynamic sampling",
    "srl_one_step": "SRL one-step",
}
"""The rows of the table and their names. All arms start from the warm-up; base is untrained."""

TRAINED = tuple(name for name in ARMS if name not in ("base", "warmup"))

Settings = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large the study is; settings without a word here are those of ``srl_agent.train``.

    Attributes:
        model_name_or_path: The plain model.
        seeds: How often each arm is trained: seeds 0, 1, ...; at least 1.
        steps: Optimizer steps of an arm, even, so that a curriculum can halve them.
        training: Settings of every training.
        warmup_solutions, warmup_steps: Settings of the warm-up's two stages. srl, rlvr,
        sft, one_step: Settings of the methods. scores: What a model is scored on:
        questions, gsm8k (how many of each), step_tokens, answer_tokens (most tokens of
        an answer), dtype.
    """

    model_name_or_path: str
    seeds: int
    steps: int
    training: Settings
    warmup_solutions: Settings
    warmup_steps: Settings
    srl: Settings
    one_step: Settings
    rlvr: Settings
    sft: Settings
    scores: Settings

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}: it must be at least 1.")
        if self.steps < 2 or self.steps % 2:
            raise ConfigError(
                f"steps is {self.steps}: it must be even and at least 2, "
                "so that SRL -> RLVR can halve it."
            )

    def plain(self) -> Settings:
        """All of it, as JSON and YAML can hold it."""
        return asdict(self)


def read_size(name_or_path: str, changes: Mapping[str, Any]) -> Size:
    """A size by name (``gpu``) or by the path of a YAML file.

    Args:
        name_or_path: Which.
        changes: Settings that replace the file's, where they are not None.

    Raises:
        ConfigError: There is no such size, or its settings are not those of
            :class:`Size`.
    """
    path = (
        SIZES / f"{name_or_path}.yaml"
        if (SIZES / f"{name_or_path}.yaml").is_file()
        else Path(name_or_path)
    )
    if not path.is_file():
        raise ConfigError(
            f"--size {name_or_path}: use tiny, gpu, "
            f"or the path of a YAML file like those in {SIZES}."
        )
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = set(Size.__dataclass_fields__)
    if not isinstance(settings, dict) or set(settings) != names:
        wrong = sorted(set(settings) ^ names) if isinstance(settings, dict) else sorted(names)
        raise ConfigError(
            f"{path}: a size has exactly the settings {', '.join(sorted(names))}; "
            f"wrong or missing: {', '.join(wrong)}."
        )
    return Size(**settings | {name: value for name, value in changes.items() if value is not None})


def stages(size: Size, arm: str) -> list[Settings]:
    """The trainings of an arm, in order, as settings of ``srl_agent.train``.

    SRL -> RLVR has half of the steps for each.

    Nothing chooses a checkpoint: the last weights count, so that no arm gains by being
    validated more often.
    """
    common = {
        "eval_strategy": "no",
        "test_instances": 2,
        "save_strategy": "steps",
        "save_total_limit": 1,
        **size.training,
    }
    srl = {**common, "method": "srl", "max_steps": size.steps, **size.srl}
    rlvr = {**common, "method": "rlvr", "max_steps": size.steps, **size.rlvr}
    half = {"max_steps": size.steps // 2}
    plans = {
        "warmup": [
            {**common, "method": "sft", "sft_on": "solutions", **size.warmup_solutions},
            {**common, "method": "sft", "sft_on": "steps", **size.warmup_steps},
        ],
        "sft": [
            {**common, "method": "sft", "sft_on": "solutions", "max_steps": size.steps, **size.sft}
        ],
        "rlvr": [rlvr],
        "srl": [srl],
        "srl_then_rlvr": [{**srl, **half}, {**rlvr, **half}],
        "srl_no_dynamic_sampling": [{**srl, "dynamic_sampling": False}],
        "srl_one_step": [{**srl, "steps": "one", **size.one_step}],
    }
    return plans[arm]


def write_config(folder: Path, size: Size, arm: str) -> Path:
    """An arm's settings as a config of ``srl_agent.train``.

    One file, or for several stages one file each and a curriculum of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = stages(size, arm)
    if len(plan) == 1:
        return _written(folder / f"{arm}.yaml", plan[0])
    names = [
        f"{arm}_{settings['method']}" + (f"_{settings['sft_on']}" if "sft_on" in settings else "")
        for settings in plan
    ]
    parts = [
        _written(folder / f"{name}.yaml", settings)
        for name, settings in zip(names, plan, strict=True)
    ]
    return _written(folder / f"{arm}.yaml", {"stages": [str(part.resolve()) for part in parts]})


def stage_folders(folder: Path, size: Size, arm: str) -> list[Path]:
    """Where ``srl_agent.train`` puts the stages of an arm whose folder is given, in order."""
    plan = stages(size, arm)
    if len(plan) == 1:
        return [folder]
    names = [
        f"{arm}_{settings['method']}" + (f"_{settings['sft_on']}" if "sft_on" in settings else "")
        for settings in plan
    ]
    return [folder / f"{number}-{name}" for number, name in enumerate(names, start=1)]


def _written(path: Path, settings: Settings) -> Path:
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path

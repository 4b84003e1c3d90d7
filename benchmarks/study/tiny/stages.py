"""One stage of an arm: a training by the trainers of ``python -m srl_agent.train``."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import ModelConfig

from srl_agent.collection.profile import ProfileConfig, profile
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.rollouts.dynamic_sampling import NothingToLearnError
from srl_agent.rollouts.step_profiles import read_profile
from srl_agent.runs.ownership import is_finished
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.run import Run
from srl_envs.errors import ConfigError

from .plan import Settings, Tiny
from .rivals import distil, is_distilled

NO_DROPS = {"dynamic_sampling": False}

_PROFILE = "profile.jsonl"
_PIVOT_MEAN = 0.6
"""Steps that the start gets right more often are not pivots (PivotRL's bound)."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        method: As in ``srl_agent.train``.
        share: Of the study's steps.
        settings: Of the training, beyond the study's.
        one_step: Learn each solution as one step.
        with_working: Learn from the expert that shows its working.
        pivots: Learn only from the steps that teach, by a profile of the stage's start.
    """

    method: str
    share: float = 1.0
    settings: Settings = field(default_factory=dict)
    one_step: bool = False
    with_working: bool = False
    pivots: bool = False


@dataclass(frozen=True)
class Start:
    """Where an arm starts, and what it learns from.

    Attributes:
        model: The base.
        expert: File of the expert's solutions.
        expert_with_working: The same with the working.
        seed: Of all trainings.
        answer_tokens: Mean tokens of the base's sampled whole answers: what an RLVR
            batch that was never logged is counted with.
    """

    model: str
    expert: Path
    expert_with_working: Path
    seed: int
    answer_tokens: float


def run(
    tiny: Tiny, stage: Stage, start: Start, model: str, folder: Path, steps: int, seed: int
) -> bool:
    """One training by :class:`~srl_agent.training.run.Run`; its output goes to a log.

    Returns:
        Whether it stopped because all rewards of a whole batch were equal.
    """
    if _is_done(stage, folder):
        return False
    chosen: Settings = {}
    if stage.pivots:
        chosen = {"profile": str(folder.parent / _PROFILE), "profile_max_mean": _PIVOT_MEAN}
    data = DataConfig(
        **_data(stage, start),
        eval_instances=2,
        test_instances=2,
        steps="one" if stage.one_step else "each",
        **chosen,
    )
    args = SRLConfig(**_settings(tiny, stage), output_dir=str(folder), max_steps=steps, seed=seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_suffix(".log").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            if stage.method == "sdft":
                distil(data, args, model)
            else:
                Run("tiny", data, args, ModelConfig(model_name_or_path=model)).train()
        except NothingToLearnError as error:
            log.write(f"{error}\n")
            return True
    return False


def profiled(tiny: Tiny, stage: Stage, start: Start, place: Path) -> dict[str, Any]:
    """Profile every step under the start's model, once; what that took, as a stage.

    It counts as stopped if there are not enough pivots for a batch.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = place / _PROFILE
    config = ProfileConfig(
        **_data(stage, start),
        output=str(path),
        instances=tiny.train * tiny.length,
        num_generations=tiny.training["num_generations"],
        max_completion_length=tiny.step_tokens,
        seed=start.seed,
        max_mean=_PIVOT_MEAN,
        reward=stage.settings["reward"],
    )
    with (
        path.with_suffix(".log").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        if profile(config, GeneratorConfig(model=start.model, dtype="float32")):
            raise ConfigError(f"{path} lacks steps: {log.name} says why.")
    found = list(read_profile(path)[1].values())
    pivots = sum(one.teaches(config.min_std, config.max_mean) for one in found)
    return {
        "method": "profile",
        "steps": 0,
        "kept": 0,
        "drawn": len(found),
        "answers": sum(len(one.rewards) for one in found),
        "tokens": sum(one.tokens for one in found),
        "stopped": pivots < tiny.training["prompts_per_step"],
        "folder": str(place),
    }


def _data(stage: Stage, start: Start) -> Settings:
    """What a stage learns from."""
    return {
        "source": "jsonl",
        "dataset_path": str(start.expert_with_working if stage.with_working else start.expert),
        "held_out": 2,
        "targets": "all",
        "title_hint": False,
        "system_prompt": "",
    }


def _is_done(stage: Stage, folder: Path) -> bool:
    return is_distilled(folder) if stage.method == "sdft" else is_finished(folder)


def _settings(tiny: Tiny, stage: Stage) -> Settings:
    """The settings of a stage's training; what is not here is ``srl_agent.train``'s default."""
    whole = stage.one_step or stage.method not in ("srl", "sdft")
    settings = {
        "method": "srl" if stage.method == "sdft" else stage.method,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_total_limit": None,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "max_completion_length": tiny.whole_tokens if whole else tiny.step_tokens,
        **tiny.training,
        **stage.settings,
    }
    if stage.method == "sft":
        settings["per_device_train_batch_size"] = tiny.training["prompts_per_step"]
    if stage.method in ("rlvr", "prefix_rl", "mixed"):  # it may stop after any step
        settings["save_steps"] = 1
    return settings


def consumed(tiny: Tiny, stage: Stage, folder: Path, start: Start, stopped: bool) -> dict[str, Any]:
    """What a training took, from its metrics.

    The batch at which it stopped is not logged; it is counted with the mean length of
    the answers before it.
    """
    path, size = folder / "metrics.jsonl", tiny.training["num_generations"]
    lines = path.read_text().splitlines() if path.is_file() else []
    logged = [row for row in map(json.loads, lines) if row["kind"] == "train"]
    rows = {row["step"]: row for row in logged if "loss" in row}  # a resumed run logs a step again
    drawn = kept = tokens = 0.0
    for row in rows.values():
        mine = sum(row.get(f"groups_{fate}", 0) for fate in ("kept", "dropped", "surplus"))
        kept, drawn = kept + row.get("groups_kept", 0), drawn + mine
        tokens += mine * size * row.get("completions/mean_length", 0)
    if stopped:
        lost = tiny.training["prompts_per_step"] * tiny.training["max_sampling_rounds"]
        each = tokens / (drawn * size) if drawn else start.answer_tokens
        drawn, tokens = drawn + lost, tokens + lost * size * each
    return {
        "method": stage.method,
        "steps": len(rows),
        "kept": round(kept),
        "drawn": round(drawn),
        "answers": round(drawn) * size,
        "tokens": round(tokens),
        "stopped": stopped,
    }

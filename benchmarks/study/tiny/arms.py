"""The arms: what each trains, by the same trainers as ``python -m srl_agent.train``."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import ModelConfig

from srl_agent.rollouts.dynamic_sampling import NothingToLearnError
from srl_agent.runs.files import replace_file
from srl_agent.runs.ownership import is_finished
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.run import Run
from srl_envs.rewards import REWARDS, register_reward

from .plan import Settings, Tiny

_MOST_STAGES = 12
"""Of an arm with a budget of tokens: each stage that stops early is followed by another."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        method: As in ``srl_agent.train``.
        share: Of the study's steps.
        settings: Of the training, beyond the study's.
        one_step: Learn each solution as one step.
        with_working: Learn from the expert that shows its working.
    """

    method: str
    share: float = 1.0
    settings: Settings = field(default_factory=dict)
    one_step: bool = False
    with_working: bool = False


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        label: In the table.
        stages: In order; each starts from the model of the one before.
        tokens_of: Another arm: the only stage is given as many generated tokens as that
            one took, however many steps that makes.
    """

    label: str
    stages: tuple[Stage, ...] = ()
    tokens_of: str = ""


_SFT_STEPS = {"sft_on": "steps"}
_NO_DROPS = {"dynamic_sampling": False}

ARMS = {
    "base": Arm("Base"),
    "sft": Arm("SFT on solutions", (Stage("sft"),)),
    "sft_steps": Arm("SFT on steps", (Stage("sft", settings=_SFT_STEPS),)),
    "sft_working": Arm(
        "SFT on steps with the working shown",
        (Stage("sft", settings=_SFT_STEPS, with_working=True),),
    ),
    "srl": Arm("SRL", (Stage("srl"),)),
    "srl_then_rlvr": Arm("SRL -> RLVR", (Stage("srl", 2 / 3), Stage("rlvr", 1 / 3))),
    "rlvr": Arm("RLVR", (Stage("rlvr"),), tokens_of="srl"),
    "rlvr_all_tokens": Arm(
        "RLVR, tokens of SRL -> RLVR", (Stage("rlvr"),), tokens_of="srl_then_rlvr"
    ),
    "sft_then_rlvr": Arm(
        "SFT on steps -> RLVR", (Stage("sft", 2 / 3, _SFT_STEPS), Stage("rlvr", 1 / 3))
    ),
    "srl_no_dynamic_sampling": Arm(
        "SRL without dynamic sampling", (Stage("srl", settings=_NO_DROPS),)
    ),
    "srl_no_dynamic_sampling_tokens": Arm(
        "SRL without dynamic sampling, tokens of SRL",
        (Stage("srl", settings=_NO_DROPS),),
        tokens_of="srl",
    ),
    "srl_one_step": Arm("SRL one-step", (Stage("srl", one_step=True),)),
    "srl_exact": Arm(
        "SRL, reward 1 for the exact step, else 0", (Stage("srl", settings={"reward": "exact"}),)
    ),
    "sft_then_srl": Arm(
        "SFT on steps -> SRL", (Stage("sft", 1 / 3, _SFT_STEPS), Stage("srl", 2 / 3))
    ),
}
"""The rows of the table. An arm follows the one whose tokens it is given."""

if "exact" not in REWARDS.names():

    @register_reward("exact")
    def exact(model: str, expert: str) -> float:
        """1 for the expert's step, else 0."""
        return float(model == expert)


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


def train(
    tiny: Tiny, name: str, start: Start, place: Path, taken: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """Train an arm, or go on with it.

    Args:
        tiny: The settings.
        name: Of the arm.
        start: Where it starts.
        place: Gets ``<arm>/`` with a run folder for each stage, and ``<arm>.json``.
        taken: What another arm took.

    Returns:
        What it took, and the folder of the model that counts.
    """
    record = place / f"{name}.json"
    if record.is_file():
        return dict(json.loads(record.read_text()))
    arm, model, began = ARMS[name], start.model, time.monotonic()
    other = taken(arm.tokens_of) if arm.tokens_of else None
    stages: list[dict[str, Any]] = []
    for number in range(_MOST_STAGES if arm.tokens_of else len(arm.stages)):
        stage = arm.stages[min(number, len(arm.stages) - 1)]
        steps = round(stage.share * tiny.steps)
        if other:
            steps = _affordable(tiny, stage, stages, start, other)
        if steps < 1:
            break
        folder = place / name / f"{number + 1}-{stage.method}"
        stopped = _run(tiny, stage, start, model, folder, steps, start.seed + 1000 * number)
        model = _model_of(folder, model)
        stages.append(_consumed(tiny, stage, folder, start, stopped) | {"folder": str(folder)})
        if stopped and not arm.tokens_of:
            break
        gc.collect()  # a trainer holds itself in cycles, and with it the model
    found = {"model": model, "stages": stages, "seconds": round(time.monotonic() - began, 1)}
    for count in ("steps", "drawn", "kept", "tokens"):
        found[count] = sum(one[count] for one in stages)
    found["stopped"] = any(one["stopped"] for one in stages)
    replace_file(record, json.dumps(found, indent=1).encode())
    return found


def tidy(found: dict[str, Any], every: int) -> None:
    """Delete the checkpoints of an arm that are neither its model nor on its curve."""
    for stage in found["stages"]:
        for checkpoint in Path(stage["folder"]).glob("checkpoint-*"):
            on_curve = every and int(checkpoint.name.rpartition("-")[2]) % every == 0
            if not on_curve and str(checkpoint) != found["model"]:
                shutil.rmtree(checkpoint)


def _affordable(
    tiny: Tiny, stage: Stage, done: list[dict[str, Any]], start: Start, other: dict[str, Any]
) -> int:
    """Steps that the tokens left allow, if each step draws as many answers as it may."""
    left = other["tokens"] - sum(one["tokens"] for one in done)
    alike = [one for one in [*done, *other["stages"]] if one["method"] == stage.method]
    answers = sum(one["answers"] for one in alike)
    each = sum(one["tokens"] for one in alike) / answers if answers else start.answer_tokens
    rounds = 1 if stage.settings == _NO_DROPS else tiny.training["max_sampling_rounds"]
    batch = tiny.training["prompts_per_step"] * tiny.training["num_generations"] * rounds
    return round(left / (each * batch))


def _run(
    tiny: Tiny, stage: Stage, start: Start, model: str, folder: Path, steps: int, seed: int
) -> bool:
    """One training by :class:`~srl_agent.training.run.Run`; its output goes to a log.

    Returns:
        Whether it stopped because all rewards of a whole batch were equal.
    """
    if is_finished(folder):
        return False
    data = DataConfig(
        source="jsonl",
        dataset_path=str(start.expert_with_working if stage.with_working else start.expert),
        held_out=2,
        eval_instances=2,
        test_instances=2,
        targets="all",
        steps="one" if stage.one_step else "each",
        title_hint=False,
        system_prompt="",
    )
    args = SRLConfig(**_settings(tiny, stage), output_dir=str(folder), max_steps=steps, seed=seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A trainer that finds nothing to learn does not give its signal handlers back.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        folder.with_suffix(".log").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            Run("tiny", data, args, ModelConfig(model_name_or_path=model)).train()
        except NothingToLearnError as error:
            log.write(f"{error}\n")
            return True
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return False


def _settings(tiny: Tiny, stage: Stage) -> Settings:
    """The settings of a stage's training; what is not here is ``srl_agent.train``'s default."""
    whole = stage.one_step or stage.method == "rlvr" or stage.method == "sft"
    settings = {
        "method": stage.method,
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
    if stage.method == "rlvr":  # it may stop after any step
        settings["save_steps"] = 1
    return settings


def _model_of(folder: Path, start: str) -> str:
    """The model that a training ended with: ``final``, its latest checkpoint, or its start."""
    if is_finished(folder):
        return str(folder / "final")
    whole = [path for path in folder.glob("checkpoint-*") if (path / "manifest.json").is_file()]
    if not whole:
        return start
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2])))


def _consumed(
    tiny: Tiny, stage: Stage, folder: Path, start: Start, stopped: bool
) -> dict[str, Any]:
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

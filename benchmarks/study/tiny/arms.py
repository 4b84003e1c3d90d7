"""The arms: what each trains, and how much of it."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.runs.files import replace_file

from .plan import Tiny
from .stages import NO_DROPS, Stage, Start, consumed, profiled, run

_MOST_STAGES = 12
"""Of an arm with a budget of tokens: each stage that stops early is followed by another."""


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        label: In the table.
        stages: In order; each starts from the model of the one before.
        tokens_of: Another arm: the only stage is given as many generated tokens as that
            one took, however many steps that makes.
        rival: Whether it is a rival of SRL, which gets at most SRL's steps.
    """

    label: str
    stages: tuple[Stage, ...] = ()
    tokens_of: str = ""
    rival: bool = False


_SFT_STEPS = {"sft_on": "steps"}

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
        "SRL without dynamic sampling", (Stage("srl", settings=NO_DROPS),)
    ),
    "srl_no_dynamic_sampling_tokens": Arm(
        "SRL without dynamic sampling, tokens of SRL",
        (Stage("srl", settings=NO_DROPS),),
        tokens_of="srl",
    ),
    "srl_one_step": Arm("SRL one-step", (Stage("srl", one_step=True),)),
    "srl_exact": Arm(
        "SRL, reward 1 for the exact step, else 0", (Stage("srl", settings={"reward": "exact"}),)
    ),
    "sft_then_srl": Arm(
        "SFT on steps -> SRL", (Stage("sft", 1 / 3, _SFT_STEPS), Stage("srl", 2 / 3))
    ),
    "srl_then_mixed": Arm(
        "SRL -> RLVR with a half of SRL", (Stage("srl", 2 / 3), Stage("mixed", 1 / 3))
    ),
    "prefix_rl": Arm("PrefixRL", (Stage("prefix_rl"),), tokens_of="srl", rival=True),
    "pivots": Arm(
        "PivotRL",
        (Stage("srl", settings={"reward": "exact", **NO_DROPS}, pivots=True),),
        tokens_of="srl",
        rival=True,
    ),
    "self_distillation": Arm(
        "Self-distillation (SDFT)",
        (Stage("sdft", settings=NO_DROPS),),
        tokens_of="srl",
        rival=True,
    ),
}
"""The rows of the table. An arm follows the one whose tokens it is given."""


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
    if arm.stages[0].pivots:
        stages.append(profiled(tiny, arm.stages[0], start, place / name))
    for number in range(_MOST_STAGES if arm.tokens_of else len(arm.stages)):
        stage = arm.stages[min(number, len(arm.stages) - 1)]
        steps = round(stage.share * tiny.steps)
        if other:
            steps = _affordable(tiny, stage, stages, start, other)
        if arm.rival:
            steps = min(steps, tiny.steps - sum(one["steps"] for one in stages))
        if stages and stages[0]["method"] == "profile" and stages[0]["stopped"]:
            steps = 0
        if steps < 1:
            break
        folder = place / name / f"{number + 1}-{stage.method}"
        stopped = run(tiny, stage, start, model, folder, steps, start.seed + 1000 * number)
        model = str(folder / "final")  # a training that stopped leaves it, too
        stages.append(consumed(tiny, stage, folder, start, stopped) | {"folder": str(folder)})
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
    method = "srl" if stage.method == "sdft" else stage.method  # both write steps
    alike = [one for one in [*done, *other["stages"]] if one["method"] in (stage.method, method)]
    answers = sum(one["answers"] for one in alike)
    each = sum(one["tokens"] for one in alike) / answers if answers else start.answer_tokens
    drops = stage.settings.get("dynamic_sampling", True)
    rounds = tiny.training["max_sampling_rounds"] if drops else 1
    batch = tiny.training["prompts_per_step"] * tiny.training["num_generations"] * rounds
    return round(left / (each * batch))

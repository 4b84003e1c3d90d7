"""What the study measures of each arm, and which arms it compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .plan import TRAINED


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        name: In ``results.json``.
        label: In the table and the plot.
        part: Which part of the scores it reads.
        value: Of one answer; None where the answer has none.
        is_share: Whether it is shown in percent.
    """

    name: str
    label: str
    part: str
    value: Callable[[dict[str, Any]], float | None]
    is_share: bool = False


MEASURES = (
    Measure("step_reward", "held-out step reward", "steps", lambda row: row["reward"]),
    Measure(
        "format_rate",
        "well-formed steps",
        "steps",
        lambda row: float(row["error"] is None),
        is_share=True,
    ),
    Measure("similarity", "similarity of the well-formed", "steps", lambda row: row["similarity"]),
    Measure(
        "builtin_accuracy",
        "built-in held-out problems",
        "builtin",
        lambda row: float(row["correct"]),
        is_share=True,
    ),
    Measure(
        "gsm8k_accuracy", "GSM8K test", "gsm8k", lambda row: float(row["correct"]), is_share=True
    ),
)

COMPARED = (
    *((arm, "warmup") for arm in TRAINED),
    *(("srl", other) for other in ("sft", "rlvr", "srl_no_dynamic_sampling", "srl_one_step")),
    *(("srl_then_rlvr", other) for other in ("srl", "rlvr")),
)
"""Pairs of arms: the first is compared with the second."""

"""What the tiny study measures, and which arms it compares for which claim."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        name: In ``results.json``.
        label: In table and plot.
        part: Of the scores.
        key: Of a row of them.
    """

    name: str
    label: str
    part: str
    key: str


MEASURES = (
    Measure("whole", "whole solution", "whole", "correct"),
    Measure("stepwise", "step by step", "stepwise", "correct"),
    Measure("passk", "pass@8", "passk", "correct"),
    Measure("exact", "exact steps", "steps", "exact"),
    Measure("working", "steps with working", "steps", "working"),
)
"""All are shares."""

JUDGED = MEASURES[:2]
"""Claims are judged by these."""

CLAIMS = (
    ("srl", "base", "SRL improves the base"),
    ("srl", "sft", "SRL beats SFT on solutions"),
    ("srl", "sft_steps", "SRL beats SFT on steps"),
    ("srl", "rlvr", "SRL beats RLVR with as many generated tokens"),
    ("srl_then_rlvr", "srl", "RLVR after SRL adds to SRL"),
    ("srl_then_rlvr", "rlvr_all_tokens", "SRL before RLVR beats RLVR with as many tokens"),
    ("srl_then_rlvr", "sft_then_rlvr", "SRL before RLVR beats SFT before RLVR"),
    ("srl", "srl_no_dynamic_sampling", "dynamic sampling helps, at equal steps"),
    ("srl", "srl_no_dynamic_sampling_tokens", "dynamic sampling helps, at equal tokens"),
    ("srl", "srl_one_step", "single steps beat the whole solution as one step"),
)
"""What the paper found (arXiv 2510.25992, section 4): the first arm scores higher."""

QUESTIONS = (
    ("srl", "sft_working", "Is SRL better than SFT with the working shown?"),
    ("srl", "srl_exact", "Is similarity a better reward than 1 for the exact step?"),
    ("sft_then_srl", "srl", "Does SFT on steps before SRL help?"),
    ("srl_then_mixed", "srl_then_rlvr", "After SRL, is RLVR with a half of SRL better than RLVR?"),
    ("srl_then_mixed", "srl", "Does RLVR with a half of SRL add to SRL?"),
    ("srl", "prefix_rl", "Is SRL better than PrefixRL?"),
    ("srl", "pivots", "Is SRL better than PivotRL?"),
    ("srl", "self_distillation", "Is SRL better than self-distillation?"),
)
"""What a user would ask beside that."""

RIVALS = (
    "srl",
    "srl_then_rlvr",
    "rlvr",
    "srl_exact",
    "sft_then_srl",
    "srl_then_mixed",
    "prefix_rl",
    "pivots",
    "self_distillation",
)
"""SRL and what a user may choose instead, in one table."""

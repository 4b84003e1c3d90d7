"""How the format warm-up parts its batches, and what it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from srl_agent.inference.chat import ChatEncoder
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.format_warmup import rows_at_once, warm_up
from srl_agent.training.trl.sft import expert_example
from srl_envs.instances import StepInstance
from srl_envs.trajectory import ExpertStep, Trajectory


@pytest.mark.parametrize(
    ("rows", "longest", "tokens", "expected"),
    [
        (8, 100, 1024, 8),
        (8, 300, 1024, 2),
        (8, 256, 1024, 4),
        (10, 300, 1024, 2),
        (7, 300, 1024, 1),
        (4, 5000, 1024, 1),
        (1, 10, 1024, 1),
    ],
)
def test_micro_batches_hold_every_row_and_few_tokens(
    rows: int, longest: int, tokens: int, expected: int
) -> None:
    assert rows_at_once(rows, longest, tokens) == expected


def test_the_answers_alone_are_learned(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    args = SRLConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        format_warmup_steps=1,
        warmup_instances=1,
        disable_tqdm=True,
    )
    instance = StepInstance(
        Trajectory("sum", "What is 1 + 2 + 3?", (ExpertStep("1 + 2 = 3"), ExpertStep("3 + 3 = 6"))),
        1,
    )
    row = expert_example(ChatEncoder(tiny_tokenizer), instance, args)
    ids, mask = torch.tensor([row["input_ids"]]), torch.tensor([row["completion_mask"]])
    with torch.no_grad():
        expected = tiny_model(ids, labels=ids.masked_fill(mask == 0, -100)).loss.item()
    assert 0 < mask.sum() < mask.numel()
    told: list[float] = []

    class Losses(TrainerCallback):
        def on_log(
            self,
            args: Any,
            state: Any,
            control: Any,
            logs: dict[str, float] | None = None,
            **rest: Any,
        ) -> None:
            told.extend([logs["loss"]] if logs and "loss" in logs else [])

    warm_up(tiny_model, tiny_tokenizer, [instance], args, tmp_path, [Losses()])
    assert told == [pytest.approx(expected, abs=2e-4)]

"""The gradient of a batch that could not be filled is that of the smaller batch that it is,
whatever TRL's loss divides by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srl_agent.rollouts.dynamic_sampling import RolloutGroup
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.grpo import SRLTrainer
from srl_envs.data import load_trajectories
from srl_envs.response import Response
from srl_envs.reward import StepReward

GROUPS = [
    RolloutGroup(
        [61 + number, 62, 63],
        [[70 + length] * length + [0] for length in lengths],
        [StepReward(value, value, Response("", "a", None)) for value in (0.1, 0.2, 0.9)],
    )
    for number, lengths in enumerate(((1, 2, 9), (4, 4, 5)))
]
LOSS_TYPES = ("grpo", "dapo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo")


def trainer(model: Any, tokenizer: Any, folder: Path, groups: int, **settings: Any) -> SRLTrainer:
    args = SRLConfig(
        output_dir=str(folder),
        bf16=False,
        gradient_checkpointing=False,
        num_generations=3,
        prompts_per_step=groups,
        per_device_train_batch_size=3,
        max_completion_length=16,
        eval_strategy="no",
        **settings,
    )
    return SRLTrainer(
        model, args, load_trajectories("builtin", count=5).instances("all"), [], tokenizer
    )


def gradient(trainer: SRLTrainer) -> list[torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    for batch in trainer._micro_batches(GROUPS):
        trainer._compute_loss(trainer.model, batch).backward()
    return [
        parameter.grad.clone()
        for parameter in trainer.model.parameters()
        if parameter.grad is not None
    ]


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_an_unfilled_batch_has_the_gradient_of_its_real_rows(
    loss_type: str, tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    full = gradient(trainer(tiny_model, tiny_tokenizer, tmp_path, 2, loss_type=loss_type))
    unfilled = gradient(trainer(tiny_model, tiny_tokenizer, tmp_path, 5, loss_type=loss_type))
    assert max(float(one.abs().max()) for one in full) > 1e-4
    for one, other in zip(full, unfilled, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)


def test_truncated_completions_carry_no_loss_if_they_are_masked(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    group = RolloutGroup(
        GROUPS[0].prompt_ids, [[70, 71, 0], [72, 73, 74], [75, 0]], GROUPS[0].rewards
    )
    masks = {}
    for masked in (False, True):
        batches = trainer(
            tiny_model, tiny_tokenizer, tmp_path, 1, mask_truncated_completions=masked
        )._micro_batches([group])
        masks[masked] = (
            batches[0]["completion_mask"].sum(1).tolist(),
            int(batches[0]["num_items_in_batch"]),
        )
    assert masks == {False: ([3, 3, 2], 8), True: ([3, 0, 2], 5)}

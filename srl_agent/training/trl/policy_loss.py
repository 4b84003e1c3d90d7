"""From the groups of a batch to the rows of micro-batches, and the weight of their loss.

The objective itself is TRL's. A batch that could not be filled weighs what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from srl_agent.rollouts.dynamic_sampling import RolloutGroup
from srl_agent.training.config import SRLConfig


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout to train on.

    Attributes:
        prompt_ids: The prompt's tokens.
        completion_ids: The completion's tokens, at least one.
        advantage: Of all its tokens, or of each of them.
        sampling_logps: Log-probability of each token as the sampler had it, where it
            says; vLLM gives None for a single token whose probability is not a number.
        is_filler: It only fills the batch and carries no loss.
        mask: 1 for each token that the model wrote, 0 for what it read in between; None
            if it wrote all of them.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float | Sequence[float]
    sampling_logps: Sequence[float | None] | None
    is_filler: bool = False
    mask: Sequence[int] | None = None

    @property
    def tokens(self) -> int:
        """How many of its tokens carry loss."""
        return len(self.completion_ids) if self.mask is None else sum(self.mask)


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of one optimizer step, on all processes.

    Attributes:
        micro_batches: Of all processes; each takes its share.
        loss_weight: The factor of each micro-batch's loss.
    """

    micro_batches: list[list[Row]]
    loss_weight: float


def windows_of(
    groups: Sequence[RolloutGroup], args: SRLConfig, num_generations: int, pad_token_id: int
) -> Iterator[Window]:
    """Divide the groups of one generation among its optimizer steps.

    Missing groups are replaced with filler rows.

    Args:
        groups: At most as many as the generation has room for.
        args: The run's settings.
        num_generations: Completions of each group.
        pad_token_id: The token of filler rows.
    """
    slots = args.rows_per_step // num_generations
    size = args.per_device_train_batch_size
    filler = Row([pad_token_id] * 2, [pad_token_id], 0.0, None, is_filler=True)
    for window in range(args.windows):
        kept = groups[window :: args.windows][:slots]
        rows = [
            row for group in kept for row in _rows_of(group, scale=args.scale_rewards == "group")
        ]
        weight = loss_weight(args.loss_type, len(rows), args.rows_per_step, size)
        rows += [filler] * (args.rows_per_step - len(rows))
        yield Window([rows[start : start + size] for start in range(0, len(rows), size)], weight)


def advantages_of(rows: Sequence[Row], length: int) -> torch.Tensor:
    """Advantages for TRL's loss: ``[rows]``, or ``[rows, length]`` where tokens differ."""
    values = [row.advantage for row in rows]
    if all(isinstance(value, float) for value in values):
        return torch.tensor(values)
    advantages = torch.zeros(len(rows), length)
    for place, value in enumerate(values):
        if isinstance(value, float):
            advantages[place] = value
        else:
            advantages[place, : len(value)] = torch.tensor(value)
    return advantages


def _rows_of(group: RolloutGroup, scale: bool) -> Iterator[Row]:
    logps = group.sampling_logps
    for i, (ids, advantage) in enumerate(
        zip(group.completion_ids, group.advantages(scale), strict=True)
    ):
        yield Row(group.prompt_ids, ids, advantage, None if logps is None else logps[i])


def loss_weight(loss_type: str, real_rows: int, all_rows: int, micro_batch: int) -> float:
    """The factor of TRL's loss of each micro-batch.

    With it an optimizer step has the mean over its real rows.

    TRL 1.16 divides by one of three counts (``GRPOTrainer._compute_loss``): by the
    tokens of the whole step, where filler rows add none; by the tokens of each
    micro-batch, and then by the number of micro-batches, those of filler rows alone
    included; or by the number of rows, filler rows included.

    Args:
        loss_type: As in TRL.
        real_rows: Rollouts of the optimizer step; they come before the filler rows.
        all_rows: With the filler rows.
        micro_batch: Rows of a micro-batch.
    """
    if real_rows == 0 or loss_type in ("dapo", "cispo", "vespo"):
        return 1.0
    if loss_type == "bnpo":
        return -(-all_rows // micro_batch) / -(-real_rows // micro_batch)
    return all_rows / real_rows

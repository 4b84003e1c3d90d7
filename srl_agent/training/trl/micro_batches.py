"""Rows of a micro-batch, and the weight of each row's loss.

The weight matters when dynamic sampling could not fill the batch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout to train on.

    Attributes:
        prompt_ids: The prompt's tokens.
        completion_ids: The completion's tokens; empty in a row that only fills the
            batch.
        advantage: Of all its tokens.
        is_learned: Whether its tokens carry loss.
        sampling_logps: Log-probability of each token as the sampler had it, where it
            says.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float
    is_learned: bool
    sampling_logps: list[float] | None


def loss_weight(loss_type: str, real_rows: int, all_rows: int, micro_batch: int) -> float:
    """The factor of TRL's loss of each micro-batch.

    With it an optimizer step has the mean over its real rows.

    TRL 1.16 divides by one of three counts (``GRPOTrainer._compute_loss``): by the
    tokens of the whole step, where empty rows add none; by the tokens of each
    micro-batch, and then by the number of micro-batches, wholly empty ones included; or
    by the number of rows, empty ones included.

    Args:
        loss_type: As in TRL.
        real_rows: Rollouts of the optimizer step; they stand before the empty rows.
        all_rows: With the empty rows.
        micro_batch: Rows of a micro-batch.
    """
    if real_rows == 0 or loss_type in ("dapo", "cispo", "vespo"):
        return 1.0
    if loss_type == "bnpo":
        return -(-all_rows // micro_batch) / -(-real_rows // micro_batch)
    return all_rows / real_rows

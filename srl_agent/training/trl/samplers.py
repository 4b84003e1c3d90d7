"""Who writes the completions of a run: one rule, the same for training and validation."""

from __future__ import annotations

from enum import Enum
from typing import Any


class SampledBy(Enum):
    """Who writes completions."""

    OWN = "this project's sampler"
    TRL = "TRL's sampler"
    VLLM = "vLLM"


def sampled_by(args: Any, zero_stage: int, sharded: bool) -> tuple[SampledBy, str]:
    """Who writes completions, and why.

    Before training, base and warm-up models are always sampled by this project's sampler,
    and so are the models of supervised training.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        zero_stage: Of DeepSpeed; 0 without it.
        sharded: Whether training divides the weights among processes.
    """
    if args.use_vllm:
        return SampledBy.VLLM, f"use_vllm is set, in mode {args.vllm_mode}"
    if args.use_transformers_continuous_batching:
        return SampledBy.TRL, "use_transformers_continuous_batching is set"
    if zero_stage == 3 and not args.ds3_gather_for_generation:
        return SampledBy.TRL, "ds3_gather_for_generation is false: weights stay divided"
    if sharded:
        return SampledBy.OWN, "from a whole copy of the weights on each process"
    return SampledBy.OWN, "each process has the whole weights"

"""A short supervised stage that teaches a small model the answer's format.

One think block, then the step (SRL); a solution with its answer in a box (RLVR).

Models under about 1B close no think block on their own; all their rewards would be -1
and no group would have any spread. A few steps of supervised learning on expert
instances cure it. Models that know the format need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from srl_agent.inference.chat import ChatEncoder
from srl_agent.rollouts.instance_stream import InstanceStream
from srl_agent.rollouts.scorers import Instance
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl import ACTIVATION_CHECKPOINTING
from srl_agent.training.trl.sft import expert_example
from srl_agent.training.trl.terminal import short_progress

_CPU_TOKENS, _GPU_TOKENS = 1024, 16384
"""Tokens of a micro-batch.

More is not faster on a CPU, where a model of 135M parameters needs some 3 MB per token.
"""

_STREAM = 0x5EED
"""Keeps the warm-up's order of instances apart from the order of SRL that has the same seed."""


def warm_up(
    model: Any,
    tokenizer: Any,
    instances: Sequence[Instance],
    args: SRLConfig,
    output_dir: Path,
    callbacks: list[TrainerCallback],
) -> None:
    """Train ``model`` in place on some expert instances.

    There are ``args.format_warmup_steps * args.warmup_instances`` of them.

    Args:
        model: All of its weights are trained, at a learning rate that falls linearly to
            0.
        tokenizer: Of the model.
        instances: Whose expert answers are learned.
        args: The run's settings.
        output_dir: For the trainer's own files; no checkpoint is written.
        callbacks: Told of every step.
    """
    stream = InstanceStream(len(instances), args.seed + _STREAM)
    drawn = [instances[i] for i in stream.take(args.format_warmup_steps * args.warmup_instances)]
    chat = ChatEncoder(tokenizer)
    rows = [expert_example(chat, instance, args) for instance in drawn]
    share = -(-args.warmup_instances // args.world_size)
    at_once = rows_at_once(
        share,
        max(len(row["input_ids"]) for row in rows),
        _CPU_TOKENS if args.use_cpu else _GPU_TOKENS,
    )
    config = SFTConfig(
        output_dir=str(output_dir),
        max_steps=args.format_warmup_steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=share // at_once,
        learning_rate=args.warmup_learning_rate,
        lr_scheduler_type="linear",
        max_length=None,
        # Without it TRL overlooks the completion_mask of rows that are tokens already.
        completion_only_loss=True,
        bf16=args.bf16,
        deepspeed=args.deepspeed,
        fsdp=args.fsdp,
        fsdp_config=args.fsdp_config,
        use_cpu=args.use_cpu,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=args.seed,
        disable_tqdm=args.disable_tqdm,
        **{ACTIVATION_CHECKPOINTING: bool(args.gradient_checkpointing)},
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    with short_progress(trainer, bar=not args.disable_tqdm):
        trainer.train()


def rows_at_once(rows: int, longest: int, tokens: int) -> int:
    """The largest divisor of ``rows`` (a process's rows per step) that fits in ``tokens``.

    It is at least 1; the memory of activations grows with the tokens.
    """
    return max(
        size
        for size in range(1, rows + 1)
        if rows % size == 0 and (size == 1 or size * longest <= tokens)
    )

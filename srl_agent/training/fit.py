"""Whether a run fits on the GPUs that it sees, said before a model is loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from trl import get_peft_config

from srl_agent.models.loading import load_config
from srl_agent.training.memory import GIB, RESERVE, Load, Sampling, Shape, Sharding, plan
from srl_agent.training.methods import METHODS
from srl_envs.errors import ConfigError

_logger = logging.getLogger(__name__)

_SHARED: tuple[Sharding, ...] = ("fsdp2", "zero3")
_UNKNOWN_PROMPT = 1024
"""Tokens of the longest prompt, where neither the data nor ``max_prompt_length`` say."""
_GPUS = (2, 4, 8, 16, 32, 64)


def check_memory(args: Any, model: Any) -> None:
    """Refuse a run whose weights, gradients and optimizer cannot fit on its GPU.

    What may not fit, because rows can be as long as the settings allow, is a warning.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        model: TRL's ``ModelConfig``.

    Raises:
        ConfigError: The run cannot fit; the message names a set-up that does.
    """
    if args.device.type != "cuda":
        return
    config = load_config(model.model_name_or_path, model.model_revision, args.trust_remote_code)
    if config is None:
        return
    room = torch.cuda.get_device_properties(args.device).total_memory
    check_fits(Shape.of(config, get_peft_config(model)), load_of(args, model, room), room)


def check_fits(shape: Shape, load: Load, room: int) -> None:
    """As :func:`check_memory`, for a GPU with so many bytes.

    Raises:
        ConfigError: The run cannot fit.
    """
    least = plan(shape, replace(load, rows=1, group=1, prompt=1, completion=1, rollout_rows=1))
    if least.peak > room:
        raise ConfigError(
            f"This run cannot fit on a GPU of {room / GIB:.0f} GiB: with rows of a single token it"
            f" takes {least.explain()}. What fits: {'; or '.join(_what_fits(shape, load, room))}."
            " See docs/scale.md."
        )
    most = plan(shape, load)
    if most.peak + RESERVE > room:
        _logger.warning(
            f"rows of the greatest length may not fit on a GPU of {room / GIB:.0f} GiB:"
            f" {most.explain()}. If memory runs out, lower"
            f" {'rollout_rows' if most.phase == 'sampling' else 'per_device_train_batch_size'}."
        )


def load_of(
    args: Any,
    model: Any,
    room: int,
    *,
    sharding: Sharding | None = None,
    processes: int | None = None,
    sampling: Sampling | None = None,
    prompt: int | None = None,
) -> Load:
    """What a run's settings do to a GPU of so many bytes.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        model: TRL's ``ModelConfig``.
        room: Bytes of the GPU.
        sharding: None takes what this process was started with.
        processes: That train; None takes those that were started.
        sampling: None takes what the settings say.
        prompt: Tokens of the longest prompt, where that is known; ``max_prompt_length``
            bounds it.
    """
    sharding, processes = sharding or _sharding(args), processes or int(args.world_size)
    samples = METHODS.named(args.method).samples
    rows = int(args.per_device_train_batch_size)
    each = -(-int(args.rows_per_step) // processes)
    shares = (
        args.shared_prompt and samples and sharding == "ddp" and not args.gradient_checkpointing
    )
    known = [int(each) for each in (prompt, args.max_prompt_length) if each]
    if sampling is None:
        vllm = args.use_vllm and args.vllm_mode == "colocate"
        sampling = "vllm" if vllm else "server" if args.use_vllm else "own"
    return Load(
        sharding=sharding,
        processes=processes,
        rows=rows,
        prompt=min(known) if known else _UNKNOWN_PROMPT,
        completion=int(args.max_completion_length),
        group=min(rows, int(args.num_generations)) if shares else 1,
        bf16=bool(args.bf16),
        bf16_weights=model.dtype == "bfloat16" and not model.use_peft,
        checkpointing=bool(args.gradient_checkpointing),
        sampling=sampling,
        rollout_rows=min(int(args.rollout_rows), each),
        reference=bool(args.beta) and not model.use_peft,
        vllm=int(args.vllm_gpu_memory_utilization * room) if sampling == "vllm" else 0,
        vllm_sleeps=bool(args.vllm_enable_sleep_mode),
    )


def _sharding(args: Any) -> Sharding:
    if args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage >= 2:
        return "zero3" if args.deepspeed_plugin.zero_stage == 3 else "zero2"
    return "fsdp2" if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" else "ddp"


def _what_fits(shape: Shape, load: Load, room: int) -> Iterator[str]:
    """Set-ups in which the run fits, the nearest first."""

    def fits(shape: Shape, sharding: Sharding, processes: int, sampling: Sampling) -> bool:
        tried = replace(load, sharding=sharding, processes=processes, sampling=sampling, bf16=True)
        return plan(shape, tried).peak + RESERVE <= room

    if shape.adapted is None:
        adapter = replace(shape, trainable=shape.parameters // 100, adapted=4 * shape.hidden)
        if fits(adapter, "ddp", load.processes, load.sampling):
            yield "train an adapter, with --use_peft true --bf16 true"
    low = "" if load.bf16 else " --bf16 true"
    counts = [count for count in _GPUS if count >= load.processes]
    server = " --use_vllm true --vllm_mode server (it is on other GPUs; not with method agent)"
    ways: list[tuple[Sampling, str]] = [(load.sampling, ""), ("server", server)]
    for sampling, flags in ways:
        for sharding in _SHARED:
            enough = (count for count in counts if fits(shape, sharding, count, sampling))
            if count := next(enough, None):
                yield (
                    f"use {sharding} on {count} GPUs, with accelerate launch --config_file"
                    f" srl_agent/configs/accelerate/{sharding}.yaml --num_processes {count}{low}"
                    f"{flags}"
                )
                return
    yield "use a smaller model, or GPUs with more memory"

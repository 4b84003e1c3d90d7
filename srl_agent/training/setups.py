"""Which set-ups a run fits in: the memory formula for each, and the largest micro-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from transformers import Qwen2Config
from trl import get_peft_config

from srl_agent.training.fit import load_of
from srl_agent.training.memory import (
    GIB,
    RESERVE,
    Load,
    MemoryPlan,
    Sampling,
    Shape,
    Sharding,
    plan,
)
from srl_agent.training.methods import METHODS

_QWEN_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152_064,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": False,
}
KNOWN_SIZES = {
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_7B,
    "Qwen/Qwen2.5-Coder-7B-Instruct": _QWEN_7B,
}
"""The models of the named configs, for machines that reach no hub."""


def known_config(name: str) -> Any:
    """The configuration of a model of :data:`KNOWN_SIZES`; None of any other."""
    sizes = KNOWN_SIZES.get(name)
    return None if sizes is None else Qwen2Config(**sizes)


@dataclass(frozen=True, slots=True)
class SetUp:
    """One way to start a run on some GPUs.

    Attributes:
        name: As in docs/scale.md.
        sharding: Of the processes that train; each has a GPU.
        processes: How many train.
        sampling: Who samples.
        adapter: Whether an adapter is trained, not all weights.
    """

    name: str
    sharding: Sharding
    processes: int
    sampling: Sampling
    adapter: bool = False

    def flags(self, args: Any, model: Any) -> str:
        """How it is started, beyond what a run's settings say.

        Args:
            args: An :class:`~srl_agent.training.config.SRLConfig`.
            model: TRL's ``ModelConfig``.
        """
        parts = []
        if self.processes > 1:
            parts.append(
                f"accelerate launch --config_file srl_agent/configs/accelerate/{self.sharding}.yaml"
                f" --num_processes {self.processes}"
            )
        if self.adapter and not model.use_peft:
            parts.append("--use_peft true --lora_r 32 --lora_target_modules all-linear")
        beside = args.use_vllm and args.vllm_mode == "colocate"
        if self.sampling == "own" and args.use_vllm:
            parts.append("--use_vllm false")
        elif self.sampling == "vllm" and not (beside and args.vllm_enable_sleep_mode):
            parts.append("--use_vllm true --vllm_mode colocate --vllm_enable_sleep_mode true")
        elif self.sampling == "server" and (beside or not args.use_vllm):
            parts.append("--use_vllm true --vllm_mode server")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Fit:
    """A run in a set-up.

    Attributes:
        set_up: Which.
        memory: The plan of each GPU, at the greatest lengths that the settings allow.
        room: Bytes of each GPU.
        largest: The largest ``per_device_train_batch_size`` that fits and divides the
            rows of a step; 0 if none does.
        rows: Of an optimizer step, over all processes.
        shape: Of the model, with its adapter.
        load: Of each GPU.
    """

    set_up: SetUp
    memory: MemoryPlan
    room: int
    largest: int
    rows: int
    shape: Shape
    load: Load

    @property
    def fits(self) -> bool:
        """Whether the configured micro-batch fits."""
        return self.memory.peak + RESERVE <= self.room

    @property
    def works(self) -> bool:
        """Whether the run can be started so without another setting."""
        return self.fits and self.rows % self.set_up.processes == 0


def set_ups(gpus: int, method: str, adapter: bool) -> Iterator[SetUp]:
    """The shipped set-ups for so many GPUs of one machine.

    Args:
        gpus: At least 1.
        method: Those that vLLM does not serve have fewer.
        adapter: Whether the run trains an adapter anyway.
    """
    known = METHODS.named(method)
    vllm = known.samples and not known.only_own_sampler
    if not adapter:
        yield SetUp("our sampler" if gpus == 1 else "DDP, our sampler", "ddp", gpus, "own")
        if gpus > 1:
            yield SetUp("FSDP2, our sampler", "fsdp2", gpus, "own")
            if vllm:
                yield SetUp("FSDP2, vLLM beside it", "fsdp2", gpus, "vllm")
                servers = max(1, gpus // 4)
                name = f"FSDP2, a vLLM server on {servers} of them"
                yield SetUp(name, "fsdp2", gpus - servers, "server")
            yield SetUp("ZeRO-2, our sampler", "zero2", gpus, "own")
            yield SetUp("ZeRO-3, our sampler", "zero3", gpus, "own")
    yield SetUp("LoRA, our sampler", "ddp", gpus, "own", True)
    if vllm:
        yield SetUp("LoRA, vLLM beside it", "ddp", gpus, "vllm", True)


def fits(
    args: Any, model: Any, config: Any, gpus: int, room: int, prompt: int | None = None
) -> list[Fit]:
    """The memory of a run in every set-up.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        model: TRL's ``ModelConfig``.
        config: The model's, of transformers.
        gpus: How many.
        room: Bytes of each.
        prompt: Tokens of the longest prompt, where that is known.
    """
    adapter = model if model.use_peft else _with_adapter(model)
    shapes = {True: Shape.of(config, get_peft_config(adapter))}
    if not model.use_peft:
        shapes[False] = Shape.of(config)
    found = []
    for set_up in set_ups(gpus, args.method, bool(model.use_peft)):
        load = load_of(
            args,
            adapter if set_up.adapter else model,
            room,
            sharding=set_up.sharding,
            processes=set_up.processes,
            sampling=set_up.sampling,
            prompt=prompt,
        )
        load = replace(load, vllm_sleeps=True)
        shape = shapes[set_up.adapter]
        rows = int(args.rows_per_step)
        largest = largest_rows(shape, load, room, rows, args.num_generations)
        found.append(Fit(set_up, plan(shape, load), room, largest, rows, shape, load))
    return found


def largest_rows(shape: Shape, load: Load, room: int, total: int, group: int) -> int:
    """The largest micro-batch that fits, among those that divide a step's rows.

    Args:
        shape: Of the model.
        load: The run's; its ``rows`` are replaced.
        room: Bytes of the GPU.
        total: Rows of an optimizer step, over all processes.
        group: Rows that can share a prompt.
    """
    each = max(1, total // load.processes)
    for rows in (rows for rows in range(each, 0, -1) if each % rows == 0):
        shared = min(rows, group) if load.group > 1 else 1
        if plan(shape, replace(load, rows=rows, group=shared)).peak + RESERVE <= room:
            return rows
    return 0


def _with_adapter(model: Any) -> Any:
    """The same model with the adapter of the shipped LoRA configs."""
    return replace(
        model, use_peft=True, lora_r=32, lora_alpha=64, lora_target_modules=["all-linear"]
    )


# ---------------------------------------------------------------- shown

_COLUMNS = {
    "weights": ("weights", "gathered weights", "reference model", "bf16 copies of weights"),
    "gradients": ("gradients",),
    "optimizer": ("optimizer",),
    "rollout copy": ("rollout copy",),
    "cache": ("cache", "cache that grows", "reading prompts"),
    "logits": ("logits", "LM head"),
    "activations": ("activations", "one layer again", "gradients of activations"),
    "vLLM": ("vLLM",),
}


def memory_cells(found: list[Fit]) -> list[list[str]]:
    """A heading and a row for each set-up, in GiB a GPU.

    A part's figure is its largest of all phases, which do not come at once: the peak is
    less than their sum.
    """
    heading = ["GiB on each GPU", "GPUs that train", *_COLUMNS, "peak", "fits", "largest batch"]
    return [heading, *map(_cells, found)]


def _cells(one: Fit) -> list[str]:
    phases = one.memory.phases.values()
    sizes = [
        max(sum(parts.get(name, 0) for name in names) for parts in phases)
        for names in _COLUMNS.values()
    ]
    figures = [f"{size / GIB:.1f}" for size in (*sizes, one.memory.peak)]
    fits = "yes" if one.works else "rows do not divide" if one.fits else "no"
    return [one.set_up.name, str(one.set_up.processes), *figures, fits, str(one.largest or "none")]

"""Weights that are divided among processes by FSDP2 or ZeRO-3, and how to have them whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers.integrations import deepspeed

_LOADS_ON_ONE = "FSDP_CPU_RAM_EFFICIENT_LOADING"
"""What makes transformers load weights on each machine's first process alone."""


def is_sharded(model: Any) -> bool:
    """Whether this process holds only a part of some weights."""
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


def whole_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and whole value of each entry of a model's state dict, one after another.

    Every process must take all of them, since the processes exchange their parts. A value
    may be used only until the next one is taken.
    """
    for name, tensor in model.state_dict(keep_vars=True).items():
        if hasattr(tensor, "ds_id"):  # ZeRO-3
            from deepspeed.runtime.zero import GatheredParameters

            with GatheredParameters([tensor]):
                yield name, tensor.detach()
        elif isinstance(tensor, DTensor):
            part: Any = tensor.detach()
            yield name, part.full_tensor()
        else:
            yield name, tensor.detach()


def whole_state_dict(model: Any, keep: bool) -> dict[str, torch.Tensor]:
    """A model's state dict with whole weights, in the host's memory.

    Args:
        model: Of this process. Every process must call this.
        keep: Whether this process needs it; the others get an empty one.
    """
    kept: dict[str, torch.Tensor] = {}
    first: dict[int, str] = {}  # tied weights are kept once
    tensors = model.state_dict(keep_vars=True)
    for name, tensor in whole_weights(model):
        if keep:
            same = first.setdefault(id(tensors[name]), name)
            kept[name] = tensor.to("cpu", copy=True) if same == name else kept[same]
    return kept


@contextmanager
def as_whole_models() -> Iterator[None]:
    """Let transformers and TRL load and use models as whole ones on each process.

    Under ZeRO-3 they would load parts and take every model for a divided one, and under
    FSDP load empty weights on all processes but one. Models are sampled from, tried and
    merged before they are divided.
    """
    before = deepspeed._hf_deepspeed_config_weak_ref
    loads_on_one = os.environ.get(_LOADS_ON_ONE)
    deepspeed.unset_hf_deepspeed_config()
    os.environ[_LOADS_ON_ONE] = "false"
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = before
        if loads_on_one is None:
            del os.environ[_LOADS_ON_ONE]
        else:
            os.environ[_LOADS_ON_ONE] = loads_on_one

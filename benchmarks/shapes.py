"""Qwen2 models of random weights, in the shapes that benchmarks train and sample from."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

_NAMES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)
SHAPES = {
    "tiny": (32, 64, 2, 4, 2, True),
    "0.5b": (896, 4864, 24, 14, 2, True),
    "1.5b": (1536, 8960, 28, 12, 2, True),
    "7b": (3584, 18944, 28, 28, 4, False),
}
"""The first is for trying a script; the others are Qwen2.5's."""
VOCABULARY = 152_064
"""Qwen2.5's; tiny has its tokenizer's. A tokenizer of fewer tokens reads the first of them."""


def shape_config(size: str, tokenizer: Any) -> Qwen2Config:
    """The configuration of a shape, with a tokenizer's end token."""
    return Qwen2Config(
        **dict(zip(_NAMES, SHAPES[size], strict=True)),
        vocab_size=len(tokenizer) if size == "tiny" else VOCABULARY,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def random_model(size: str, tokenizer: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A model of this shape, the same at each call, made on the device."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return Qwen2ForCausalLM(shape_config(size, tokenizer)).eval()
    finally:
        torch.set_default_dtype(before)

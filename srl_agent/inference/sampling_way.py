"""Which way of writing a model allows, found out by trying the ways on a few tokens.

Padding, and keys and values shared among rows, are right for most models. State-space
layers read padding as text, some models number their positions from the left edge, and
some keep more than keys and values. Names of architectures would go out of date, so the
loaded model itself is asked: each way must give the log-probabilities of a plain forward
of the unpadded text.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import torch
from transformers import DynamicCache, cache_utils

from srl_agent.inference.batches import PlainBatch, SharedBatch, generate_alone
from srl_envs.errors import ConfigError

log = logging.getLogger(__name__)

_PLAIN_LAYERS = [
    cache_utils.DynamicLayer,
    cache_utils.DynamicSlidingWindowLayer,
    # Of layers that read another's keys and values; transformers before 5.20 has none.
    getattr(cache_utils, "DummyLayer", cache_utils.DynamicLayer),
]


class Way(Enum):
    """How completions are written with a model."""

    SHARED = "prompts computed once, rows of different prompts side by side"
    ALONE = "one prompt at a time, with the model's own cache and without padding"
    PLAIN = "one prompt at a time, without a cache (slow)"


_LENGTHS = (7, 3)
"""Tokens of the prompts that are tried: unequal, so that one is padded."""

_STEPS = 3

_EXACT, _ROUNDED = 1e-3, 0.3
"""The greatest error that counts as rounding, in float32 and in fewer bits.

In units of what another text changes, so that the scale of the logits does not matter. In
16 bits a model may round its way to other experts; padding that is read as text is
beyond that too, and what keeps more than keys and values is not shared in any precision.
"""

_ways: weakref.WeakKeyDictionary[Any, Way] = weakref.WeakKeyDictionary()


def way_of(model: Any, longest: int) -> Way:
    """The fastest way that gives this model's own distribution; tried once a model.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        longest: Tokens of the longest prompt and its completion. Rotary positions that
            are scaled by the length of the text are not shared beyond the length at
            which the scaling starts.

    Raises:
        ConfigError: The model is not causal: later tokens change what it says of
            earlier ones.
    """
    if model not in _ways:
        _ways[model] = _found(model)
        if _ways[model] is not Way.SHARED:
            log.warning(
                "%s does not allow padding or a shared cache. Its completions are written %s.",
                type(model).__name__,
                _ways[model].value,
            )
    if _ways[model] is Way.SHARED and longest > rescaled_beyond(model):
        return Way.ALONE
    return _ways[model]


def keeps_only_keys_and_values(model: Any) -> bool:
    """Whether the cache that transformers makes for this model holds nothing else."""
    try:
        layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    except Exception:  # a config of which transformers itself can make no cache
        return False
    return all(type(layer) in _PLAIN_LAYERS for layer in layers)


def trial_prompts(model: Any) -> list[list[int]]:
    """Two prompts of unequal lengths, each with a continuation of three tokens."""
    config = model.config.get_text_config(decoder=True)
    configs = [c.to_dict() for c in (model.config, config)]
    named = [v for c in configs for k, v in c.items() if k.endswith(("token_id", "token_index"))]
    special = {i for v in named for i in (v if isinstance(v, list) else [v])}  # several may end
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(config.vocab_size, generator=generator)[:200].tolist()
    usable = [i for i in ids if i not in special] * 2
    return [usable[: n + _STEPS] for n in _LENGTHS[:1]] + [
        usable[20 : 20 + n + _STEPS] for n in _LENGTHS[1:]
    ]


def is_rounding(error: torch.Tensor, expected: torch.Tensor, model: Any) -> bool:
    """Whether log-probabilities differ from the expected ones by rounding alone.

    Args:
        error: What was computed minus ``expected``, ``[contexts, vocabulary]``.
        expected: Log-probabilities in different contexts.
        model: Whose precision counts.
    """
    weight = next(model.parameters())
    exact = (
        weight.dtype == torch.float32
        and not torch.is_autocast_enabled(weight.device.type)
        and (weight.device.type == "cpu" or torch.get_float32_matmul_precision() == "highest")
    )
    scale = (expected - expected.roll(1, 0)).abs().mean()
    return bool(error.abs().mean() <= (_EXACT if exact else _ROUNDED) * scale)


def _found(model: Any) -> Way:
    texts = trial_prompts(model)
    expected = _expected(model, texts)
    ways: list[tuple[Way, Callable[[Any, Sequence[Sequence[int]]], torch.Tensor]]] = [
        (Way.SHARED, _shared),
        (Way.ALONE, _alone),
    ]
    for way, written in ways:
        if way is Way.SHARED and not keeps_only_keys_and_values(model):
            continue
        try:
            if is_rounding(written(model, texts) - expected, expected, model):
                return way
        except torch.OutOfMemoryError:
            raise
        except (
            Exception
        ) as error:  # whatever a model says of a cache or a mask that it does not take
            log.debug("%s cannot be written %s: %s", type(model).__name__, way.value, error)
    return Way.PLAIN


@torch.no_grad()
def _expected(model: Any, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probabilities by plain forwards of unpadded texts, ``[texts * steps, vocabulary]``."""
    rows = []
    for text in texts:
        ids = torch.tensor([list(text[:-1])], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, -_STEPS:]
        rows.append(logits.float().log_softmax(-1))
    expected = torch.cat(rows)
    if expected.isnan().any():
        raise ConfigError(
            f"{type(model).__name__} computes probabilities that are not numbers (NaN): its weights"
            f" are damaged, or too large for {model.dtype}. Check the checkpoint, or use another"
            " dtype (bfloat16 or float32)."
        )
    at_first = [
        PlainBatch(model, text[:-_STEPS], 1).logits()[0].float().log_softmax(-1) for text in texts
    ]
    error = torch.stack(at_first) - expected[::_STEPS]
    if not is_rounding(error, expected, model):
        raise ConfigError(
            f"{type(model).__name__} is not causal with this config: tokens change what it says of"
            " those before them. Use a model that writes from left to right; one of BERT's kind"
            ' needs "is_decoder": true in its config.json.'
        )
    return expected


def _shared(model: Any, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    owners = [owner for owner in range(len(texts)) for _ in range(2)]
    batch = SharedBatch(model, [text[:-_STEPS] for text in texts], owners, 0)
    steps = []
    for step in range(-_STEPS, 0):
        steps.append(batch.logits().float().log_softmax(-1))
        drawn = [[texts[owner][step]] for owner in owners]
        batch.append(torch.tensor(drawn, device=model.device), None)
    return torch.stack(steps, 1)[1::2].flatten(0, 1)


def _alone(model: Any, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    rows = []
    for text in texts:
        steps: list[torch.Tensor] = []

        def take(
            logits: torch.Tensor, text: Sequence[int] = text, steps: list[torch.Tensor] = steps
        ) -> torch.Tensor:
            steps.append(logits[-1].float().log_softmax(-1))
            return logits.new_full((2, 1), text[len(steps) - 1 - _STEPS], dtype=torch.long)

        generate_alone(model, text[:-_STEPS], 2, take, lambda: False, _STEPS)
        rows += steps
    return torch.stack(rows)


def rescaled_beyond(model: Any) -> float:
    """From how many tokens on a text's length changes its rotary positions; infinite if never."""
    config = model.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    borders = [
        kind.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(borders, default=float("inf"))

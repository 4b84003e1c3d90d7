"""A batch of completions on its way through a model: next logits out, drawn tokens in.

Three ways, from the fastest to the plainest. :class:`SharedBatch` computes every prompt
once and writes rows of different prompts side by side, in a cache of our own;
:func:`generate_alone` writes the samples of one prompt with the model's own ``generate``
and the cache that it makes itself; :class:`PlainBatch` keeps nothing and runs the whole
text at every token. Which of them a model allows is found out in
:mod:`srl_agent.inference.sampling_way`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer

_PREFILL_TOKENS = 8192
"""Tokens of prompts read at once; more are not faster and take memory in proportion."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer that grows by whole blocks.

    Appending a token writes it in place instead of copying everything before it.
    """

    _BLOCK = 64

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append along the sequence and return all keys and values so far.

        Each is ``[rows, heads, length, head size]``.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stores = (key_states[:, :, :0], value_states[:, :, :0])
            self.keys, self.values = self._stores
        length, needed = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if needed > self._stores[0].shape[-2]:
            self._stores = (
                self._with_room(self.keys, needed),
                self._with_room(self.values, needed),
            )
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, length:needed] = states
        self.keys, self.values = (store[:, :, :needed] for store in self._stores)
        return self.keys, self.values

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may be named several times."""
        length = self.keys.shape[-2]
        self._stores = (
            self._with_room(self.keys, length, rows),
            self._with_room(self.values, length, rows),
        )
        self.keys, self.values = (store[:, :, :length] for store in self._stores)

    def append_rows(self, other: RoomyLayer) -> None:
        """Put another cache's rows below these; both have the same length.

        The next :meth:`select_rows` makes room.
        """
        self.keys, self.values = (
            torch.cat([self.keys, other.keys]),
            torch.cat([self.values, other.values]),
        )
        self._stores = (self.keys, self.values)

    def _with_room(
        self, states: torch.Tensor, length: int, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        old = states if rows is None else states[rows]
        capacity = (length // self._BLOCK + 1) * self._BLOCK
        store = old.new_empty(old.shape[0], old.shape[1], capacity, old.shape[-1])
        store[:, :, : old.shape[-2]] = old
        return store


def left_pad(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both ``[len(sequences), longest]``, padded on the left."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, longest - len(sequence) :] = torch.tensor(list(sequence), dtype=torch.long)
        mask[row, longest - len(sequence) :] = 1
    return ids.to(device), mask.to(device)


def positions(mask: torch.Tensor) -> torch.Tensor:
    """The position of each token among its row's real tokens; 0 for padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


class SharedBatch:
    """The cache, the mask and the latest token of rows that are written side by side.

    Each prompt is computed once.
    """

    @torch.no_grad()
    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], owners: Sequence[int], pad_token_id: int
    ) -> None:
        self._model, self._cache = model, DynamicCache()
        self._cache.layer_class_to_replicate = RoomyLayer
        ids, mask = left_pad(prompts, pad_token_id, model.device)
        at_once = max(1, _PREFILL_TOKENS // ids.shape[1])
        for start in range(0, len(ids) if ids.shape[1] > 1 else 0, at_once):
            part = slice(start, start + at_once)
            cache = DynamicCache()
            cache.layer_class_to_replicate = RoomyLayer
            model(  # everything but the last prompt token, whose logits start the completions
                input_ids=ids[part, :-1],
                attention_mask=mask[part, :-1],
                position_ids=positions(mask[part])[:, :-1],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            if start == 0:
                self._cache = cache
            else:
                for layer, more in zip(self._cache.layers, cache.layers, strict=True):
                    layer.append_rows(more)
        self._mask, self._token = mask, ids[:, -1:]
        self._select(torch.tensor(list(owners), device=model.device))

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """Of the next token, ``[rows, vocabulary]``; appends the latest token to the cache."""
        output = self._model(
            input_ids=self._token,
            attention_mask=self._mask,
            position_ids=positions(self._mask)[:, -1:],
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def append(self, token: torch.Tensor, keep: Sequence[int] | None) -> None:
        """Take the tokens that were drawn, ``[rows, 1]``, then keep only some rows (None: all)."""
        self._token = token
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        if keep is not None:
            self._select(torch.tensor(list(keep), device=token.device))

    def _select(self, rows: torch.Tensor) -> None:
        for layer in self._cache.layers:
            layer.select_rows(rows)
        self._mask, self._token = self._mask[rows], self._token[rows]


class PlainBatch:
    """Rows of one prompt, computed from their first token at every step: no cache, no padding."""

    def __init__(self, model: Any, prompt: Sequence[int], rows: int) -> None:
        self._model = model
        self._ids = torch.tensor([list(prompt)] * rows, device=model.device)

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """Of the next token, ``[rows, vocabulary]``."""
        logits: torch.Tensor = self._model(input_ids=self._ids, use_cache=False).logits[:, -1]
        return logits

    def append(self, token: torch.Tensor, keep: Sequence[int] | None) -> None:
        """Take the tokens that were drawn, ``[rows, 1]``, then keep only some rows (None: all)."""
        self._ids = torch.cat([self._ids, token], dim=1)
        if keep is not None:
            self._ids = self._ids[list(keep)]


def generate_alone(
    model: Any,
    prompt: Sequence[int],
    rows: int,
    take: Callable[[torch.Tensor], torch.Tensor],
    is_done: Callable[[], bool],
    max_new_tokens: int,
) -> None:
    """Write several samples of one prompt with the model's own ``generate``.

    The model prepares its inputs and its cache itself; which token is drawn is ours.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompt: Token ids.
        rows: How many samples are written side by side.
        take: Gets the logits of the next token, ``[rows, vocabulary]``, and gives the
            drawn tokens, ``[rows, 1]``.
        is_done: Whether no row needs another token.
        max_new_tokens: The most that any row may write.
    """
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    ids = torch.tensor([list(prompt)] * rows, device=model.device)
    # generate fills what our settings leave open with the model's own (a repetition penalty, for
    # example): those are not asked for here.
    own, plain.generation_config = plain.generation_config, GenerationConfig()
    try:
        plain.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=max_new_tokens, use_cache=True, pad_token_id=0
            ),
            logits_processor=LogitsProcessorList([_Drawn(take)]),
            stopping_criteria=StoppingCriteriaList([_Done(is_done)]),
        )
    finally:
        plain.generation_config = own


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Leaves only the token that was drawn."""

    def __init__(self, take: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._take = take

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torch.full_like(scores, float("-inf")).scatter(1, self._take(scores), 0.0)


class _Done(StoppingCriteria):  # type: ignore[misc]
    """Ends when no row needs another token."""

    def __init__(self, is_done: Callable[[], bool]) -> None:
        self._is_done = is_done

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        return torch.full((len(input_ids),), self._is_done(), device=input_ids.device)

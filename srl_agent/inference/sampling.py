"""Samples completions with a transformers model, computing every prompt only once.

GRPO asks for G completions of one prompt. ``generate`` would run the prompt G times and
keep finished rows in the batch to its end; here the prompt's keys and values are
computed once and shared, the cache has room to grow (no copy of it at every token), and
finished rows leave the batch. The distribution that is sampled from is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

_PREFILL_TOKENS = 8192
"""Tokens of prompts read at once; more are not faster and take memory in proportion."""

_COMPACT_BELOW = 0.75
"""Finished rows leave the batch once fewer than this share of its rows is unfinished.

Dropping them copies the cache, so it is not done after every row.
"""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How completions are drawn.

    Attributes:
        max_new_tokens: At most this many tokens are written, the end token included.
        temperature: Of the softmax; 0 means greedy.
        top_p: Nucleus sampling; 1.0 keeps every token.
        top_k: Keeps the k most probable tokens; 0 keeps all.
        min_p: Keeps tokens at least this share as probable as the most probable one, in
            [0, 1]; 0 keeps all.
        max_rows: At most this many completions are written side by side.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_rows: int = 128
    min_p: float = 0.0


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


Uniforms = Callable[[Sequence[int]], torch.Tensor]
"""Gives these rows of a batch one number each in [0, 1), ``[rows, 1]``; called once per token."""


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    num_samples: int,
    settings: SamplingSettings,
    *,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Draw ``num_samples`` completions of each prompt.

    Args:
        model: A causal language model of transformers; its mode and its parameters stay
            as they are.
        prompts: Token ids, none of them empty.
        num_samples: Completions of each prompt.
        settings: How to draw.
        eos_token_ids: Any of these ends a completion.
        pad_token_id: Fills what is masked out.
        generator: Source of randomness, on the model's device; torch's global one if
            None.

    Returns:
        ``len(prompts) * num_samples`` lists of token ids: the completions of the first
        prompt, then of the second. The end token is included; a list that does not end
        with one was cut off.
    """

    def uniforms(rows: Sequence[int]) -> torch.Tensor:
        return torch.rand(len(rows), 1, device=model.device, generator=generator)

    at_once = max(1, settings.max_rows // num_samples)
    completions: list[list[int]] = []
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(prompts), at_once):
            batch = prompts[start : start + at_once]
            owners = [owner for owner in range(len(batch)) for _ in range(num_samples)]
            written = dict(
                write_rows(
                    model,
                    batch,
                    owners,
                    settings,
                    eos_token_ids=eos_token_ids,
                    pad_token_id=pad_token_id,
                    uniforms=uniforms,
                )
            )
            completions += [written[row] for row in range(len(owners))]
    finally:
        model.train(was_training)
    return completions


def write_rows(
    model: Any,
    prompts: Sequence[Sequence[int]],
    owners: Sequence[int],
    settings: SamplingSettings,
    *,
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    uniforms: Uniforms,
    limits: Sequence[int] | None = None,
    ends_at: Callable[[int, Sequence[int]], bool] | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Write one batch of completions and give each as soon as it is finished.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompts: Token ids, none of them empty.
        owners: For each row of the batch, the index of its prompt; rows of one prompt
            stand side by side or apart.
        settings: How to draw; ``max_rows`` is the caller's to keep.
        eos_token_ids: Any of these ends a completion.
        pad_token_id: Fills what is masked out.
        uniforms: Source of randomness.
        limits: Of each row, at most this many tokens, at least 1; None:
            ``settings.max_new_tokens`` for all.
        ends_at: Whether a row, with the tokens that it has by now, has written a stop
            string.

    Yields:
        Each row with its tokens, once. The end token is included.
    """
    limits = limits or [settings.max_new_tokens] * len(owners)
    ends = set(eos_token_ids)
    completions: list[list[int]] = [[] for _ in owners]
    rows = list(range(len(owners)))  # which completion each row of the batch writes
    alive = [True] * len(rows)
    batch = _SharedBatch(model, prompts, owners, pad_token_id)
    while True:
        drawn = _draw(batch.logits().float(), settings, rows, uniforms)
        finished = []
        for place, (row, token) in enumerate(zip(rows, drawn[:, 0].tolist(), strict=True)):
            if not alive[place]:
                continue
            tokens = completions[row]
            tokens.append(token)
            if (
                token in ends
                or len(tokens) >= limits[row]
                or (ends_at is not None and ends_at(row, tokens))
            ):
                alive[place] = False
                finished.append(row)
        for row in finished:
            yield row, completions[row]
        living = sum(alive)
        if living == 0:
            return
        keep = None
        if living < _COMPACT_BELOW * len(rows):
            keep = [place for place, lives in enumerate(alive) if lives]
            rows, alive = [rows[place] for place in keep], [True] * living
        batch.append(drawn, keep)


class _SharedBatch:
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


def _draw(
    logits: torch.Tensor, settings: SamplingSettings, rows: Sequence[int], uniforms: Uniforms
) -> torch.Tensor:
    """One token a row, ``[rows, 1]``, from logits ``[rows, vocabulary]``."""
    if settings.temperature == 0:
        return logits.argmax(-1, keepdim=True)
    if settings.temperature != 1:
        logits = logits / settings.temperature
    if settings.top_k > 0:
        logits = TopKLogitsWarper(settings.top_k)(None, logits)
    if settings.top_p < 1:
        logits = TopPLogitsWarper(settings.top_p)(None, logits)
    if settings.min_p > 0:
        logits = MinPLogitsWarper(settings.min_p)(None, logits)
    # Inverse transform sampling: the same distribution as torch.multinomial, which takes 25 times
    # longer on a CPU.
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    # Rounding can lift the product to the total itself, beyond every token: the last token of
    # positive probability is meant then.
    drawn = torch.minimum(uniforms(rows) * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, drawn, right=True)

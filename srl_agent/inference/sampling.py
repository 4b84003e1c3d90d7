"""Samples completions with a transformers model, computing every prompt only once.

GRPO asks for G completions of one prompt. ``generate`` would run the prompt G times and
keep finished rows in the batch to its end; here the prompt's keys and values are
computed once and shared, the cache has room to grow (no copy of it at every token), and
finished rows leave the batch. The distribution that is sampled from is the same; a model
that does not allow this is sampled from in its own way
(:mod:`srl_agent.inference.sampling_way`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from srl_agent.inference.batches import PlainBatch, SharedBatch, generate_alone
from srl_agent.inference.sampling_way import Way, way_of

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
            are side by side or apart.
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
    writing = _Writing(settings, uniforms, limits, set(eos_token_ids), ends_at)
    longest = max(len(prompts[owner]) + limit for owner, limit in zip(owners, limits, strict=True))
    way = way_of(model, longest)
    if way is Way.SHARED:
        writing.start(range(len(owners)))
        yield from writing.run(SharedBatch(model, prompts, owners, pad_token_id))
        return
    for owner, prompt in enumerate(prompts):
        rows = [row for row, of in enumerate(owners) if of == owner]
        writing.start(rows)
        if way is Way.PLAIN:
            yield from writing.run(PlainBatch(model, prompt, len(rows)))
        else:
            room = max(limits[row] for row in rows)
            generate_alone(model, prompt, len(rows), writing.take, writing.is_done, room)
            yield from writing.finished()


class _Writing:
    """What the rows of a batch have written, and which of them still write."""

    def __init__(
        self,
        settings: SamplingSettings,
        uniforms: Uniforms,
        limits: Sequence[int],
        ends: set[int],
        ends_at: Callable[[int, Sequence[int]], bool] | None,
    ) -> None:
        self._settings, self._uniforms = settings, uniforms
        self._limits, self._ends, self._ends_at = limits, ends, ends_at

    def start(self, rows: Sequence[int]) -> None:
        """Write these completions next."""
        self._rows = list(rows)  # which completion each row of the batch writes
        self._alive = [True] * len(self._rows)
        self._tokens: dict[int, list[int]] = {row: [] for row in rows}
        self._finished: list[int] = []

    def run(self, batch: SharedBatch | PlainBatch) -> Iterator[tuple[int, list[int]]]:
        """Write all rows of a batch; each is given when it is finished."""
        while True:
            drawn = self.take(batch.logits())
            yield from self.finished()
            if self.is_done():
                return
            batch.append(drawn, self._compact())

    def take(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw a token for each row of the batch, ``[rows, 1]``."""
        drawn = _draw(logits.float(), self._settings, self._rows, self._uniforms)
        for place, (row, token) in enumerate(zip(self._rows, drawn[:, 0].tolist(), strict=True)):
            if not self._alive[place]:
                continue
            tokens = self._tokens[row]
            tokens.append(token)
            if (
                token in self._ends
                or len(tokens) >= self._limits[row]
                or (self._ends_at is not None and self._ends_at(row, tokens))
            ):
                self._alive[place] = False
                self._finished.append(row)
        return drawn

    def finished(self) -> Iterator[tuple[int, list[int]]]:
        """The rows that were finished since the last call, with their tokens."""
        finished, self._finished = self._finished, []
        for row in finished:
            yield row, self._tokens[row]

    def is_done(self) -> bool:
        """Whether no row writes any more."""
        return not any(self._alive)

    def _compact(self) -> list[int] | None:
        """The places of the rows to keep; None: all."""
        living = sum(self._alive)
        if living >= _COMPACT_BELOW * len(self._rows):
            return None
        keep = [place for place, lives in enumerate(self._alive) if lives]
        self._rows, self._alive = [self._rows[place] for place in keep], [True] * living
        return keep


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

"""Where two texts match, for display: the blocks that the reward counts, found in bounded time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from typing import NamedTuple, overload

import cydifflib
import numpy as np

COMPARISONS = 300_000_000
"""How many pairs of equal characters are looked at, at most: less than a second.

It suffices for 16,000 ordinary characters several times over.
"""


class MatchingBlock(NamedTuple):
    """``model[a : a + size] == expert[b : b + size]``."""

    a: int
    b: int
    size: int


def matching_blocks(
    model: str, expert: str, *, autojunk: bool = False, comparisons: int = COMPARISONS
) -> list[MatchingBlock]:
    """Where the two strings match: the blocks whose sizes add up to M, in order.

    difflib's empty last block is left out.

    difflib looks for the longest block, then left and right of it, and so on;
    repetitive texts ("aaaa" beside "abab") take it time cubic in their length: minutes
    at 16,000 characters. So the larger pieces are searched first, each for as many
    comparisons as it has pairs of equal characters; a piece for which ``comparisons``
    no longer suffices is left unsearched, as if nothing matched in it. Rewards are not
    computed here: theirs are exact.

    Args:
        model: What the model wrote.
        expert: What the expert wrote.
        autojunk: See :mod:`srl_envs.reward`.
        comparisons: The bound; what is found then is the beginning of the whole.
    """
    matcher = cydifflib.SequenceMatcher(None, model, expert, autojunk=autojunk)
    counts = _EqualPairs(model, expert, matcher.bpopular)
    found: list[MatchingBlock] = []
    pieces: list[tuple[int, tuple[int, int, int, int]]] = []

    def add(piece: tuple[int, int, int, int]) -> None:
        model_start, model_end, expert_start, expert_end = piece
        if model_start < model_end and expert_start < expert_end:
            heappush(pieces, (-(model_end - model_start) * (expert_end - expert_start), piece))

    add((0, len(model), 0, len(expert)))
    while pieces:
        _, (model_start, model_end, expert_start, expert_end) = heappop(pieces)
        cost = counts.compared(model_start, model_end, expert_end)
        if cost > comparisons:
            continue
        comparisons -= cost
        block = MatchingBlock(
            *matcher.find_longest_match(model_start, model_end, expert_start, expert_end)
        )
        if block.size:
            found.append(block)
            add((model_start, block.a, expert_start, block.b))
            add((block.a + block.size, model_end, block.b + block.size, expert_end))
    return _joined(sorted(found))


@dataclass(frozen=True, repr=False)
class LazyBlocks(Sequence[MatchingBlock]):
    """The matching blocks of one answer, computed when first looked at; that takes milliseconds.

    Attributes:
        model: What the model wrote.
        expert: What the expert wrote.
        autojunk: See :mod:`srl_envs.reward`.
    """

    model: str
    expert: str
    autojunk: bool

    @cached_property
    def _blocks(self) -> list[MatchingBlock]:
        return matching_blocks(self.model, self.expert, autojunk=self.autojunk)

    def __len__(self) -> int:
        return len(self._blocks)

    @overload
    def __getitem__(self, index: int) -> MatchingBlock: ...
    @overload
    def __getitem__(self, index: slice) -> list[MatchingBlock]: ...
    def __getitem__(self, index: int | slice) -> MatchingBlock | list[MatchingBlock]:
        return self._blocks[index]

    def __iter__(self) -> Iterator[MatchingBlock]:
        return iter(self._blocks)

    def __repr__(self) -> str:
        return repr(self._blocks)


class _EqualPairs:
    """Counts the pairs of equal characters that ``find_longest_match`` goes through in a piece.

    It begins at the start of the expert's text.
    """

    def __init__(self, model: str, expert: str, popular: set[str]) -> None:
        codes = {character: code for code, character in enumerate(sorted(set(model) | set(expert)))}
        self._size = len(codes)
        self._model = np.fromiter((codes[character] for character in model), np.int64, len(model))
        self._expert = np.fromiter(
            (codes[character] for character in expert), np.int64, len(expert)
        )
        self._popular = [codes[character] for character in popular]

    def compared(self, model_start: int, model_end: int, expert_end: int) -> int:
        in_expert = np.bincount(self._expert[:expert_end], minlength=self._size)
        in_expert[self._popular] = 0
        # One more for each character, so that a piece in which nothing matches counts too.
        return (
            int(in_expert[self._model[model_start:model_end]].sum())
            + model_end
            - model_start
            + expert_end
        )


def _joined(blocks: list[MatchingBlock]) -> list[MatchingBlock]:
    """The blocks with those made one that touch in both texts."""
    joined: list[MatchingBlock] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if last and (last.a + last.size, last.b + last.size) == (block.a, block.b):
            joined[-1] = MatchingBlock(last.a, last.b, last.size + block.size)
        else:
            joined.append(block)
    return joined

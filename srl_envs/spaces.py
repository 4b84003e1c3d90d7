"""A space of Unicode texts whose observations stay right in every kind of vector environment.

``gymnasium.spaces.Text`` knows ASCII letters and digits only, a charset of all Unicode
costs seconds and megabytes, and with shared memory (the default of
``gymnasium.vector.AsyncVectorEnv``) its observations are never read again after the
first. Here the shared memory of a text is an unlinked temporary file per environment:
of any length, gone with its last process, and read when the observation is taken.
"""

from __future__ import annotations

import multiprocessing
import os
import string
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import DupFd
from typing import Any, overload

import numpy as np
from gymnasium.spaces import Text
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)

from srl_envs.errors import InfrastructureError
from srl_envs.response import whole_text

_HEADER_BYTES = 8
_LONGEST_SAMPLE = 80


class UnicodeText(Text):
    """All Python strings of at least ``min_length`` characters; samples are short, printable ASCII.

    Args:
        max_length: Most characters of a member; None sets no limit.
        min_length: Fewest characters of a member.
        seed: Seeds :meth:`sample`.
    """

    def __init__(
        self,
        max_length: int | None = None,
        *,
        min_length: int = 0,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        bound = np.iinfo(np.int32).max if max_length is None else max_length
        super().__init__(int(bound), min_length=min_length, charset=string.printable, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a string of a fitting length; its characters do not matter."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random printable text of at most 80 characters; more only if ``min_length`` says so."""
        if mask is None and probability is None:
            longest = min(self.max_length, max(self.min_length, _LONGEST_SAMPLE))
            mask = (int(self.np_random.integers(self.min_length, longest + 1)), None)
        return super().sample(mask, probability)

    @property
    def is_np_flattenable(self) -> bool:
        """False: a text of any length and alphabet has no array of fixed shape."""
        return False

    def __repr__(self) -> str:
        return f"UnicodeText({self.min_length}, {self.max_length})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.min_length, self.max_length) == (
            other.min_length,
            other.max_length,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable (its generator), as every gymnasium space


class AnswerSpace(UnicodeText):
    """What a model may answer: a text, or its thought and action apart.

    Samples are texts.
    """

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a text, or a :class:`~srl_envs.SplitAnswer` or another such pair."""
        try:
            return super().contains(whole_text(x))
        except TypeError:
            return False

    def __repr__(self) -> str:
        return "AnswerSpace()"


class _SharedText:
    """One text that several processes see, in a file without a name, however they are started."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the vector environment

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        record = len(data).to_bytes(_HEADER_BYTES, "little") + data
        if os.pwrite(self._file.fileno(), record, 0) != len(record):
            raise InfrastructureError(
                f"Only a part of an observation of {len(record)} bytes could be "
                f"written: free space in {tempfile.gettempdir()}."
            )

    def read(self) -> str:
        size = int.from_bytes(os.pread(self._file.fileno(), _HEADER_BYTES, 0), "little")
        return os.pread(self._file.fileno(), size, _HEADER_BYTES).decode("utf-8", "surrogatepass")

    def __getstate__(self) -> Any:
        return DupFd(self._file.fileno())

    def __setstate__(self, descriptor: Any) -> None:
        self._file = os.fdopen(descriptor.detach(), "r+b", buffering=0)


class _LiveTexts(Sequence[str]):
    """The current texts of all environments, read when looked at.

    A copy, which gymnasium makes by default, is a plain tuple.
    """

    def __init__(self, texts: Sequence[_SharedText]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(text.read() for text in self._texts[index])
        return self._texts[index].read()

    def __iter__(self) -> Iterator[str]:
        return (text.read() for text in self._texts)

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


@create_shared_memory.register(UnicodeText)
def _create(space: UnicodeText, n: int = 1, ctx: Any = multiprocessing) -> tuple[_SharedText, ...]:
    return tuple(_SharedText() for _ in range(n))


@read_from_shared_memory.register(UnicodeText)
def _read(space: UnicodeText, shared_memory: tuple[_SharedText, ...], n: int = 1) -> _LiveTexts:
    return _LiveTexts(shared_memory)


@write_to_shared_memory.register(UnicodeText)
def _write(
    space: UnicodeText, index: int, value: str, shared_memory: tuple[_SharedText, ...]
) -> None:
    shared_memory[index].write(value)

"""Sources by name: what is asked of a source, and ``register_source``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from srl_envs.domain import declare_domain
from srl_envs.errors import ConfigError
from srl_envs.registry import Registry
from srl_envs.trajectory import Trajectory

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What :func:`~srl_envs.data.load_trajectories` was asked for, as a source gets it.

    Splits by question, limits and what text a tokenizer takes are not a source's
    concern.

    Attributes:
        path: A local file or folder; None if none was given.
        split: ``"test"`` asks for the source's own test set; anything else for what it
            trains on.
        seed: Decides what a source generates.
        count: How many problems a source generates.
        hub_split: See :func:`~srl_envs.data.load_trajectories`.
        resolved_only: See :func:`~srl_envs.data.load_trajectories`.
        rejected: Count here each row that is left out, by reason.
        tasks: See :func:`~srl_envs.data.load_trajectories`.
        config: The configuration to read on the hub; None leaves it to the source.
        revision: The branch, tag or commit to read on the hub; None takes the newest.
        families: Which kinds of tasks to generate; None: all.
    """

    path: Path | None
    split: Split | None
    seed: int
    count: int
    hub_split: str
    resolved_only: bool
    rejected: Counter[str]
    tasks: str | None = None
    config: str | None = None
    revision: str | None = None
    families: Sequence[str] | None = None

    @property
    def file_split(self) -> str:
        """Which of a data set's files holds what is asked for: ``"test"`` or ``"train"``."""
        return "test" if self.split == "test" else "train"


Read = Callable[[SourceRequest], Iterable[Trajectory]]
"""Gives the trajectories of a source."""

ReadT = TypeVar("ReadT", bound=Read)


@dataclass(frozen=True, slots=True)
class Source:
    """A source of trajectories.

    Attributes:
        read: Gives its trajectories.
        domain: The domain of its trajectories.
        hub_name: A name on the hub that means this source; empty if it has none.
        takes_path: Whether it reads a file or folder that is given.
        has_test_split: Whether it has a test set.
    """

    read: Read
    domain: str = "math"
    hub_name: str = ""
    takes_path: bool = True
    has_test_split: bool = False


def _source(name: str, given: Any) -> Source:
    source = given if isinstance(given, Source) else Source(given)
    if not callable(source.read):
        raise ConfigError(f"The source {name!r} is {given!r}: give a function of a SourceRequest.")
    declare_domain(source.domain)
    return source


SOURCES: Registry[Source] = Registry("source", "srl_envs.sources", _source)
"""By name; a hub name of one of them, or the path of a ``.jsonl`` in our schema, serves as well."""


def register_source(
    name: str,
    *,
    domain: str = "math",
    hub_name: str = "",
    takes_path: bool = True,
    has_test_split: bool = False,
) -> Callable[[ReadT], ReadT]:
    """Register a source: a decorator. ``--source NAME`` then trains on it.

    >>> @register_source("sums", takes_path=False)
    ... def sums(request):
    ...     for i in range(request.count):
    ...         yield Trajectory(f"sums-{i}", f"What is {i} + 1?", (ExpertStep(f"{i + 1}"),))

    Args:
        name: A new name.
        domain: The domain of its trajectories. A new name is text with the neutral
            prompt of ``SRL-Steps-v0``, unless :func:`~srl_envs.register_domain` says
            what it is.
        hub_name: A name on the hub that means this source; empty if it has none.
        takes_path: Whether it reads a file or folder that is given; a path is refused
            otherwise.
        has_test_split: Whether it has a test set.

    Returns:
        A decorator of a function that takes a :class:`SourceRequest` and gives the
        trajectories.

    Raises:
        ConfigError: The name is taken, or the domain is a known one in another spelling.
    """

    def decorated(read: ReadT) -> ReadT:
        SOURCES.register(name, Source(read, domain, hub_name, takes_path, has_test_split))
        return read

    return decorated

"""Where a fleet's work runs: one Docker engine each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from srl_envs.sandbox.engine import engine_answers, engine_at
from srl_envs.sandbox.ownership import prune

T = TypeVar("T")


class Host(Protocol):
    """A process that works with one engine."""

    name: str
    """What messages call it."""

    def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do work whose sandboxes are on this engine, and return its result.

        Raises:
            InfrastructureError: The engine or the process failed.
        """
        ...

    def answers(self) -> bool:
        """Whether process and engine are well; soon, whatever happened."""
        ...

    def take_up(self) -> None:
        """Get ready for work, the first time or again; remove what dead owners left.

        Raises:
            InfrastructureError: The engine or the process is not well.
        """
        ...

    def close(self) -> None:
        """End it."""
        ...


class EngineHost:
    """An engine that this process asks itself.

    Args:
        address: See :func:`~srl_envs.sandbox.engine.engine_at`. None is the engine of
            ``DOCKER_HOST``, or none at all for sandboxes that need none: it counts as
            well, whatever happens.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.name = address or "the engine of DOCKER_HOST"

    def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """See :meth:`Host.call`."""
        with engine_at(self.address):
            return work(*arguments)

    def answers(self) -> bool:
        """See :meth:`Host.answers`."""
        return self.address is None or self.call(engine_answers)

    def take_up(self) -> None:
        """See :meth:`Host.take_up`."""
        if self.address is not None:
            self.call(prune)

    def close(self) -> None:
        """See :meth:`Host.close`: nothing to do."""

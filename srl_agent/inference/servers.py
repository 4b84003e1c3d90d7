"""Spreads requests over servers of the same model; those of a dead server go to the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from srl_agent.inference.chat_client import ChatClient, Endpoint, connected
from srl_envs.errors import ConfigError, InfrastructureError

_logger = logging.getLogger(__name__)

REST_SECONDS = 60.0
"""How long a dead server is left alone. Then one request tries it again."""

Result = TypeVar("Result")


def addresses(base_url: str) -> list[str]:
    """The addresses in ``base_url``: one, or several between commas.

    Raises:
        ConfigError: One of several is empty, or there twice.
    """
    parts = [
        part.strip().rstrip("/").removesuffix("/chat/completions") for part in base_url.split(",")
    ]
    if len(parts) > 1 and "" in parts:
        raise ConfigError(f"base_url is {base_url!r}: an address between its commas is empty.")
    for part in parts:
        if parts.count(part) > 1:
            raise ConfigError(f"base_url names {part} twice: name each server once.")
    return parts


@dataclass
class _Server:
    """One of the servers.

    Attributes:
        open: Requests under way there, of all threads.
        rests_until: On the clock of ``time.monotonic``; None while it answers.
        died_of: The last error that it rested for.
        has_failed: Whether a request was sent again.
    """

    endpoint: Endpoint
    open: int = 0
    rests_until: float | None = None
    died_of: str = ""
    has_failed: bool = False


class Servers:
    """Which server gets the next request. Threads share it.

    Args:
        endpoints: One a server.
        at_once: Requests of one :class:`Connections` under way at each server, at most.
    """

    def __init__(self, endpoints: Sequence[Endpoint], at_once: int) -> None:
        self._servers = [_Server(endpoint) for endpoint in endpoints]
        self._at_once, self._lock = at_once, threading.Lock()

    @property
    def endpoints(self) -> list[Endpoint]:
        """Of all servers, dead ones too."""
        return [server.endpoint for server in self._servers]

    def rests(self, index: int) -> bool:
        """Whether a server died and has not answered since, while others do answer."""
        well = [server.rests_until is None for server in self._servers]
        return any(well) and not well[index]

    def take(self, mine: Sequence[int], failed: Container[int] = ()) -> int | None:
        """The server with the fewest requests under way, which has one more then.

        A server that rests is taken when its rest is over, or when the request has no
        other.

        Args:
            mine: The caller's requests under way, by server.
            failed: Where the request failed already.

        Returns:
            Its number; None if no server has room.
        """
        with self._lock:
            left = [index for index in range(len(mine)) if index not in failed]
            well = any(self._servers[index].rests_until is None for index in left)
            free = [i for i in left if self._has_room(self._servers[i], mine[i], well)]
            if not free:
                return None
            taken = min(free, key=lambda i: self._servers[i].open)
            self._servers[taken].open += 1
            return taken

    def _has_room(self, server: _Server, mine: int, others_are_well: bool) -> bool:
        if server.rests_until is None or not others_are_well:
            return mine < self._at_once
        return server.open == 0 and time.monotonic() >= server.rests_until

    def give_back(self, index: int) -> None:
        """A request ended, whatever it brought."""
        with self._lock:
            self._servers[index].open -= 1

    def answered(self, index: int) -> None:
        """The server answers."""
        server = self._servers[index]
        with self._lock:
            came_back, server.rests_until = server.rests_until is not None, None
        if came_back:
            _logger.warning(f"{server.endpoint.url} answers again.")

    def asked_again(self, index: int, reason: str) -> None:
        """Note that a request is sent again; the first is logged if this is the only server."""
        server = self._servers[index]
        with self._lock:
            is_first, server.has_failed = not server.has_failed, True
        if is_first and len(self._servers) == 1:
            _logger.warning(
                f"{server.endpoint.url}: {reason}. Requests are sent again, up to"
                f" {server.endpoint.retries} times each."
            )

    def died(self, index: int, error: InfrastructureError) -> None:
        """Let the server rest."""
        server = self._servers[index]
        with self._lock:
            was_well = server.rests_until is None
            server.rests_until, server.died_of = time.monotonic() + REST_SECONDS, str(error)
            left = sum(each.rests_until is None for each in self._servers)
        if was_well and len(self._servers) > 1:
            _logger.warning(
                f"{error} Its requests go to the other servers ({left} of {len(self._servers)}"
                f" answer). It is tried again every {REST_SECONDS:.0f} s."
            )

    def none_answers(self) -> InfrastructureError:
        """The error of a request that failed at every server."""
        reasons = " ".join(server.died_of for server in self._servers)
        if len(self._servers) > 1:
            reasons = f"None of the {len(self._servers)} servers answers. {reasons}"
        return InfrastructureError(reasons)


class Connections:
    """Asks the servers, in one event loop. Made by :func:`connected_to`."""

    def __init__(self, servers: Servers, clients: Sequence[ChatClient]) -> None:
        import anyio

        self._servers, self._clients, self._mine = servers, clients, [0] * len(clients)
        self._changed, self._stopped = anyio.Condition(), False
        for index, client in enumerate(clients):
            if servers.rests(index):
                client.stop_retrying()

    def stop_retrying(self) -> None:
        """Let attempts that are under way finish, and ask nothing else."""
        self._stopped = True
        for client in self._clients:
            client.stop_retrying()

    async def ask(self, payload: dict[str, Any], usable: Callable[[Any], Result]) -> Result:
        """As :meth:`~srl_agent.inference.chat_client.ChatClient.ask`, at any of the servers.

        Raises:
            ContextFullError, ConfigError: As there.
            InfrastructureError: No server is left that answers.
        """
        failed: set[int] = set()
        while len(failed) < len(self._clients):
            index = await self._take(failed)
            client = self._clients[index]
            try:
                result = await client.ask(payload, usable)
            except InfrastructureError as error:
                if self._stopped:
                    raise
                client.stop_retrying()
                self._servers.died(index, error)
                failed.add(index)
            else:
                self._servers.answered(index)
                if client.is_stopped and not self._stopped:
                    client.retry_again()
                return result
            finally:
                self._mine[index] -= 1
                self._servers.give_back(index)
                async with self._changed:
                    # One for the place that is free now, one in case a rest is over.
                    self._changed.notify(2)
        raise self._servers.none_answers()

    async def _take(self, failed: set[int]) -> int:
        """The server to ask next, once one has room."""
        async with self._changed:
            while not self._stopped:
                if (index := self._servers.take(self._mine, failed)) is not None:
                    self._mine[index] += 1
                    return index
                await self._changed.wait()
            self._changed.notify_all()  # whoever else waits gives up too
        raise InfrastructureError("Another request failed before this one was sent.")


@asynccontextmanager
async def connected_to(servers: Servers) -> AsyncIterator[Connections]:
    """:class:`Connections` that end with the block.

    Raises:
        ConfigError, MissingDependencyError: As
            :func:`~srl_agent.inference.chat_client.connected` says.
    """
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(each, partial(servers.asked_again, index)))
            for index, each in enumerate(servers.endpoints)
        ]
        yield Connections(servers, clients)

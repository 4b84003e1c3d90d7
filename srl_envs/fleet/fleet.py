"""A fleet of hosts: each piece of work goes to the one with the most free places."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from srl_envs.errors import InfrastructureError, SRLError, require
from srl_envs.fleet.hosts import Host
from srl_envs.fleet.remote import RemoteSandbox, keep
from srl_envs.sandbox.protocol import Sandbox, SandboxError

T = TypeVar("T")
_logger = logging.getLogger(__name__)

PATIENCE_S = 120.0
"""How long work waits when no host is well."""

_PERIOD_S = 1.0  # between two looks at hosts that are not well
_ELSEWHERE_S = 10.0  # how long a place is awaited on another host than the one that failed
_ATTEMPTS = 3  # so that work survives two hosts that die under it


@dataclass(eq=False)
class _State:
    host: Host
    free: int
    is_well: bool = False
    why: str = ""


class Fleet:
    """Runs work on whichever host has a free place; thread-safe, a context manager.

    When a host fails, its work is tried once more on another one, and the host is left
    alone until it answers again. Then dead owners' containers are removed there, and it
    is taken up. A failure is logged, and is never a result.

    Args:
        hosts: At least one.
        places: How many pieces of work or sandboxes each has at a time, at least 1.
        on_close: Called at the end.

    Raises:
        InfrastructureError: Not one host is well; the message says why.
    """

    def __init__(
        self, hosts: Sequence[Host], places: int, on_close: Callable[[], object] = lambda: None
    ) -> None:
        require(places >= 1, "places of a fleet", places, "at least 1")
        self.places = places * len(hosts)
        self._states = [_State(host, places) for host in hosts]
        self._changed = threading.Condition()
        self._prepared: list[Callable[[Host], object]] = []
        self._forgotten: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._on_close = on_close
        try:
            self._all(self._take_up)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._look_after, name="fleet", daemon=True).start()

    def run(
        self, name: str, work: Callable[..., T], *arguments: Any, attempts: int = _ATTEMPTS
    ) -> T:
        """Do work on a host, once a place is free; on another one if that fails.

        Args:
            name: Which work, for the log.
            work: A function of a module: it may run in another process. What it asks of
                Docker, its host's engine does.
            arguments: Of the work.
            attempts: How often it is tried before a failure is final.

        Raises:
            InfrastructureError: The machinery failed each time, or no host is well.
        """
        state, result = self._on_a_place(name, work, arguments, attempts)
        self._free(state)
        return result

    def map(
        self, work: Callable[..., T], jobs: Mapping[str, Sequence[Any]], attempts: int = _ATTEMPTS
    ) -> Iterator[tuple[str, T | InfrastructureError]]:
        """Do the same work for many: names and results, or failures, as they are finished.

        What ends the iteration early begins no more.

        Args:
            work: See :meth:`run`.
            jobs: Arguments by name.
            attempts: See :meth:`run`.
        """
        threads = ThreadPoolExecutor(self.places, thread_name_prefix="fleet")
        try:
            futures = {
                threads.submit(partial(self.run, attempts=attempts), name, work, *arguments): name
                for name, arguments in jobs.items()
            }
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except InfrastructureError as error:
                    yield futures[future], error
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def open(self, name: str, make: Callable[..., Sandbox], *arguments: Any) -> RemoteSandbox:
        """A sandbox that takes a place until it is closed, once one is free.

        Whoever holds one and waits for a second may wait for ever.

        Args:
            name: Which sandbox, for the log.
            make: Makes it on the host: a function of a module.
            arguments: Of ``make``.

        Raises:
            InfrastructureError: See :meth:`run`.
        """
        key = secrets.token_hex(8)
        state, workdir = self._on_a_place(name, keep, (key, make, *arguments), _ATTEMPTS)
        return RemoteSandbox(
            state.host,
            key,
            workdir,
            failed=partial(self._look_at, state),
            closed=partial(self._free, state),
            forgotten=self._forgotten.put,
        )

    def prepare(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do work on every host now, and on those that are taken up later.

        A host on which it fails gets no other work.

        Raises:
            SRLError: It failed on all of them.
        """

        def prepared(host: Host) -> None:
            host.call(work, *arguments)

        self._prepared.append(prepared)
        self._all(lambda state: prepared(state.host))

    def each(self, work: Callable[..., T], *arguments: Any) -> list[T | None]:
        """Do work on every host, whatever its places do; None of those that failed."""

        def one(state: _State) -> T | None:
            try:
                return state.host.call(work, *arguments) if state.is_well else None
            except InfrastructureError as error:
                self._look_at(state, error)
                return None

        with ThreadPoolExecutor(len(self._states)) as threads:
            return list(threads.map(one, self._states))

    def close(self) -> None:
        """End the hosts; who waits for a place gets an error. A second call does nothing."""
        with self._changed:
            if self._closing.is_set():
                return
            self._closing.set()
            self._changed.notify_all()
        for state in self._states:
            state.host.close()
        self._on_close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> Fleet:
        """Itself: Gymnasium copies what environments are made with."""
        return self

    # -- places

    def _on_a_place(
        self, name: str, work: Callable[..., T], arguments: Sequence[Any], attempts: int
    ) -> tuple[_State, T]:
        """The result, and where it was made; the place there is still taken."""
        failed: _State | None = None
        for attempt in range(1, attempts + 1):
            state = self._take(failed)
            try:
                return state, state.host.call(work, *arguments)
            except InfrastructureError as error:
                self._look_at(state, error)
                self._free(state)
                if attempt == attempts or self._closing.is_set():
                    raise
                failed = state
                _logger.warning("%s failed on %s: %s Trying again.", name, state.host.name, error)
            except BaseException:
                self._free(state)
                raise
        raise AssertionError("attempts is at least 1")

    def _take(self, avoided: _State | None) -> _State:
        """Take a place on the freest host; for some seconds not on the one to avoid."""
        start = time.monotonic()
        with self._changed:
            while not self._closing.is_set():
                well = [state for state in self._states if state.is_well]
                free = [state for state in well if state.free > 0]
                best = max(free, key=lambda state: (state is not avoided, state.free), default=None)
                waited = time.monotonic() - start
                is_only = well == [best] or waited > _ELSEWHERE_S
                if best is not None and (best is not avoided or is_only):
                    best.free -= 1
                    return best
                if not well and waited > PATIENCE_S:
                    raise SandboxError(f"No engine is well: {self._reasons()}")
                self._changed.wait(1.0 if best else 5.0)
        raise SandboxError("This fleet is closed.")

    def _free(self, state: _State) -> None:
        with self._changed:
            state.free += 1
            self._changed.notify()

    # -- health

    def _look_at(self, state: _State, error: InfrastructureError) -> None:
        """Leave a host alone from now on if it does not answer."""
        if state.host.answers():
            return
        with self._changed:
            if state.is_well and not self._closing.is_set():
                state.is_well, state.why = False, str(error)
                _logger.warning(
                    "%s does not answer: its work goes to the others until it does. (%s)",
                    state.host.name,
                    error,
                )

    def _look_after(self) -> None:
        while not self._closing.wait(_PERIOD_S):
            while not self._forgotten.empty():
                try:
                    self._forgotten.get()()
                except SRLError as error:
                    _logger.warning("A sandbox that nobody holds is not closed: %s", error)
            for state in self._states:
                if not state.is_well and not self._closing.is_set():
                    try:
                        self._take_up(state)
                        _logger.warning("%s is well again, and taken up.", state.host.name)
                    except Exception as error:  # of whatever kind: it is tried again
                        state.why = str(error)

    def _take_up(self, state: _State) -> None:
        state.host.take_up()
        for prepare in self._prepared:
            prepare(state.host)
        with self._changed:
            state.is_well = True
            self._changed.notify_all()

    def _all(self, work: Callable[[_State], object]) -> None:
        """Do something to all hosts at once; those where it fails are not well.

        Raises:
            SRLError: It failed everywhere.
        """

        def one(state: _State) -> SRLError | None:
            try:
                work(state)
            except SRLError as error:
                state.is_well, state.why = False, str(error)
                return error
            return None

        with ThreadPoolExecutor(len(self._states)) as threads:
            errors = [error for error in threads.map(one, self._states) if error]
        if len(errors) == len(self._states):
            if len(errors) == 1:
                raise errors[0]
            raise SandboxError(f"None of {len(errors)} engines can be used: {self._reasons()}")
        for state in self._states:
            if not state.is_well:
                _logger.warning("%s gets no work until it is well: %s", state.host.name, state.why)

    def _reasons(self) -> str:
        return " ".join(f"{state.host.name}: {state.why}" for state in self._states)

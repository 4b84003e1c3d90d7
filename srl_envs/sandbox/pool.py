"""Clean sandboxes kept ready, so that an episode starts without waiting for a container."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from weakref import WeakSet

from srl_envs.errors import ConfigError
from srl_envs.sandbox.protocol import Sandbox, SandboxError


class SandboxPool:
    """Keeps ``size`` sandboxes ready; a used one is never given out again. Thread-safe.

    Whoever is done with a sandbox gives it back by :meth:`release`, or closes it.

    Args:
        make: Makes one sandbox: ``lambda: DockerSandbox(image)``. Called in threads of
            the pool.
        size: How many are kept ready, at least 1, besides those in use.
    """

    def __init__(self, make: Callable[[], Sandbox], size: int = 4) -> None:
        if size < 1:
            raise ConfigError(f"size of a sandbox pool is {size}: it must be at least 1.")
        self._make = make
        self._threads = ThreadPoolExecutor(
            max_workers=min(size, 8), thread_name_prefix="sandbox-pool"
        )
        self._lock = threading.Lock()
        self._ready: deque[Future[Sandbox]] = deque()
        self._in_use: WeakSet[Sandbox] = (
            WeakSet()
        )  # some are closed by whoever used them, and never released
        self._closed = False
        with self._lock:
            for _ in range(size):
                self._refill()

    def acquire(self) -> Sandbox:
        """A clean sandbox; the next one is then being made.

        Raises:
            SandboxError: It could not be made, or the pool is closed. A later call
                tries again.
        """
        with self._lock:
            if self._closed:
                raise SandboxError("This sandbox pool is closed.")
            # The first that is done, for one that hangs must not hold up the others.
            future = next((future for future in self._ready if future.done()), self._ready[0])
            self._ready.remove(future)
            self._refill()
        sandbox = future.result()
        with self._lock:
            if not self._closed:
                self._in_use.add(sandbox)
                return sandbox
        sandbox.close()  # the pool was closed meanwhile, and does not know this one any more
        raise SandboxError("This sandbox pool is closed.")

    def release(self, sandbox: Sandbox) -> None:
        """Give a sandbox back: it is closed, in the background."""
        with self._lock:
            self._in_use.discard(sandbox)
            if not self._closed:
                self._threads.submit(sandbox.close)
                return
        sandbox.close()

    def close(self) -> None:
        """Close every sandbox, those in use too. A second call does nothing.

        Raises:
            SandboxError: One could not be closed; the others were.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            in_use = list(self._in_use)
            self._in_use.clear()
        self._threads.shutdown(wait=True)
        made = [future.result() for future in self._ready if future.exception() is None]
        with ExitStack() as every:  # one that fails does not keep the rest open
            for sandbox in (*made, *in_use):
                every.callback(sandbox.close)

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refill(self) -> None:
        self._ready.append(self._threads.submit(self._make))

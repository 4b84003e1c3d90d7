"""A sandbox in another process, or on another engine, behind the same protocol."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from srl_envs.errors import InfrastructureError
from srl_envs.fleet.hosts import Host
from srl_envs.sandbox.protocol import ExecResult, Sandbox, SandboxError

_KEPT: dict[str, Sandbox] = {}
"""The sandboxes of this process that are used from elsewhere, by key."""


def keep(key: str, make: Callable[..., Sandbox], *arguments: Any) -> str:
    """On the host: make a sandbox, keep it under a key, and return its folder."""
    _KEPT[key] = made = make(*arguments)
    return made.workdir


def ask(key: str, method: str, *arguments: Any, **options: Any) -> Any:
    """On the host: call a method of a sandbox that is kept."""
    if key not in _KEPT:
        raise SandboxError("The process that held this sandbox ended, and the sandbox with it.")
    return getattr(_KEPT[key], method)(*arguments, **options)


def drop(key: str) -> None:
    """On the host: close a sandbox that is kept; nothing if it is gone."""
    kept = _KEPT.pop(key, None)
    if kept is not None:
        kept.close()


class RemoteSandbox:
    """A :class:`~srl_envs.sandbox.Sandbox` on a host of a fleet, made by ``Fleet.open``.

    Args:
        host: Where it is kept.
        key: Under which key, see :func:`keep`.
        workdir: Its folder.
        failed: Called with the error when the machinery failed.
        closed: Called once, when it is closed.
        forgotten: Called with what closes it, if nobody holds it any more and it was
            never closed. It may be called at any moment, so it must only make a note.
    """

    def __init__(
        self,
        host: Host,
        key: str,
        workdir: str,
        *,
        failed: Callable[[InfrastructureError], object],
        closed: Callable[[], object],
        forgotten: Callable[[Callable[[], object]], object],
    ) -> None:
        self.workdir = workdir
        self._host, self._key, self._failed = host, key, failed

        def end() -> None:
            try:
                host.call(drop, key)
            finally:
                closed()

        self._end = end
        self._finalizer = weakref.finalize(self, forgotten, end)
        self._finalizer.atexit = False  # the end of the process ends all sandboxes

    def run(self, command: str, *, timeout: float = 60.0) -> ExecResult:
        """See :class:`~srl_envs.sandbox.Sandbox`, like the other methods."""
        result: ExecResult = self._ask("run", command, timeout=timeout)
        return result

    def read_file(self, path: str) -> bytes:
        """A file's contents."""
        return bytes(self._ask("read_file", path))

    def write_file(self, path: str, content: str | bytes) -> None:
        """Create or replace a file."""
        self._ask("write_file", path, content)

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        """Absolute paths below a folder."""
        return list(self._ask("list_files", path, depth))

    def diff(self) -> str:
        """All changes since the start as a patch."""
        return str(self._ask("diff"))

    def reset(self) -> None:
        """Back to the state of the start, on the same engine."""
        self._ask("reset")

    def close(self) -> None:
        """End everything; its place is free again. A second call does nothing."""
        if self._finalizer.detach():
            self._end()

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        if not self._finalizer.alive:
            raise SandboxError("This sandbox is closed.")
        try:
            return self._host.call(_Ask(options), self._key, method, *arguments)
        except InfrastructureError as error:
            self._failed(error)
            raise


class _Ask:
    """:func:`ask` with options: hosts pass on arguments by position only."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def __call__(self, *arguments: Any) -> Any:
        return ask(*arguments, **self._options)

"""What sandboxes with one shell kept open share, whatever their programs run in."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import posixpath
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from srl_envs.errors import ConfigError
from srl_envs.sandbox import files, git_changes
from srl_envs.sandbox.box import SWARM, Box, BrokenBoxError
from srl_envs.sandbox.limits import MIB, SandboxLimits
from srl_envs.sandbox.protocol import ExecResult, SandboxError, SandboxFileError
from srl_envs.sandbox.shell import Shell, ShellResult

ENVIRONMENT: Mapping[str, str] = {
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
}
"""Variables of every shell: nothing waits for a key."""

SandboxT = TypeVar("SandboxT", bound="ShellSandbox")

_TOOLS = ("find", "grep", "head", "mkdir", "mktemp", "stat", "tar")
_LACKS = "srl-envs:"  # before a name: a DEBUG trap of the startup may write too
_MAX_TIMEOUT_S = 7 * 86_400.0
_WATCH_PERIOD_S = 1.0
_DESTROYED = "[A command destroyed what a shell needs: none can be started here any more.]"


class ShellSandbox(ABC):
    """A :class:`~srl_envs.sandbox.Sandbox` whose commands go to one shell in a :class:`Box`.

    Args:
        image: What messages call that of which it is made.
        workdir: Absolute path of the repository inside; where shells start.
        limits: What commands may use.
        startup: A command that every new shell runs first; empty runs none.
    """

    def __init__(self, image: str, workdir: str, limits: SandboxLimits, startup: str) -> None:
        self.image, self.workdir, self.limits = image, workdir, limits
        self._startup = startup
        self._owner = os.getpid()
        self._closed = False
        self._folder = workdir
        self._shell: Shell | None = None

    @abstractmethod
    def _new_box(self) -> Box:
        """Where programs run, in the state of the start; not started yet."""

    @abstractmethod
    def _start_key(self) -> Hashable:
        """What determines how the repository is at the start."""

    # -- Sandbox
    # ------------------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 60.0) -> ExecResult:
        """Run a command in the shell; see :class:`~srl_envs.sandbox.Sandbox`.

        In a sandbox in which no shell can be started any more (``rm -rf /``) every
        command has exit code 127 and says so.

        Raises:
            ConfigError: ``timeout`` is not above 0.
        """
        self._require_open()
        if not timeout > 0:
            raise ConfigError(f"timeout of a command is {timeout}: give seconds above 0.")
        start = time.monotonic()
        if self._disk_is_full_by_now():
            # Earlier commands' background processes write on; the command itself may make room.
            self._end_processes()
        try:
            result, is_new = self._run_in_a_shell(command, min(timeout, _MAX_TIMEOUT_S))
        except BrokenBoxError:
            return ExecResult(_DESTROYED, 127, time.monotonic() - start, restarted=True)
        full = result.end == "stopped" or self._disk_is_full_by_now()
        exit_code = 137 if full else self._exit_code(result)
        if full or result.end != "done" or self._box.is_crowded(result.processes):
            self._end_processes()
        else:
            self._folder = result.folder or self._folder
        return ExecResult(
            output=result.output,
            exit_code=exit_code,
            seconds=time.monotonic() - start,
            timed_out=result.end == "timed_out",
            truncated=result.truncated,
            restarted=is_new or self._shell is None,
            disk_full=full,
        )

    def read_file(self, path: str) -> bytes:
        """A file's contents; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return files.read(self._box, self._absolute(path), self.limits.read_mib * MIB)

    def write_file(self, path: str, content: str | bytes) -> None:
        """Create or replace a file; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        try:
            data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        except UnicodeEncodeError as error:
            raise SandboxFileError(f"{path!r} cannot be written: {error}.", errno.EINVAL) from None
        files.write(
            self._box,
            self._absolute(path),
            data,
            min(self.limits.read_mib, self.limits.file_mib) * MIB,
        )

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        """Files and folders below a folder; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return files.listing(self._box, self._absolute(path), depth)

    def diff(self) -> str:
        """All changes since the start as a patch; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return git_changes.diff(self._box, self.workdir, self._start_key(), self._fresh_box)

    def reset(self) -> None:
        """A fresh box in place of this one; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        self._release()
        self._open()

    def close(self) -> None:
        """End everything, and free what it held.

        A second call does nothing, and neither does one in a forked child: the sandbox
        is its parent's.
        """
        if not self._closed and os.getpid() == self._owner:
            self._closed = True
            self._release()

    def __enter__(self: SandboxT) -> SandboxT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- box and shell
    # ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = self.workdir
        self._measured_at = time.monotonic()
        self._box = self._new_box()
        try:
            self._box.start()
            self._shell = self._new_shell()
            self._require_tools(self._shell)
        except BrokenBoxError as error:
            self._release()
            raise SandboxError(
                f"No shell starts in a sandbox of the image {self.image}: {error}"
            ) from None
        except BaseException:
            self._release()
            raise

    def _require_tools(self, shell: Shell) -> None:
        """Run a first command, which says what the image lacks."""
        folder = shlex.quote(self.workdir)
        check = (
            f'for tool in {" ".join(_TOOLS)}; do type -P "$tool" >/dev/null || '
            f'echo "{_LACKS}$tool"; done; [ -d {folder} ] || echo {_LACKS}folder {folder}'
        )
        first = shell.run(f"{{ {check}; }} 2>/dev/null", 600.0, 4096, lambda: False)
        if first.end != "done":
            raise SandboxError(
                f"The shell of a sandbox of the image {self.image} ends by itself: "
                f"{first.output.strip()[-300:]!r}."
            )
        lines = first.output.splitlines()
        if missing := [line.removeprefix(_LACKS) for line in lines if line.startswith(_LACKS)]:
            raise SandboxError(
                f"The image {self.image} has no {', '.join(missing)}, which this sandbox needs: "
                "install it there, or give the workdir of its repository."
            )

    @contextmanager
    def _fresh_box(self) -> Iterator[Box]:
        """Another box in the state of the start, for a moment."""
        box = self._new_box()
        try:
            box.start()
            yield box
        finally:
            box.remove()

    def _new_shell(self) -> Shell:
        stream = self._box.open_shell()
        with self._talking():
            return Shell(
                stream,
                self._folder,
                self.workdir,
                self._startup,
                int(SWARM * self.limits.processes),
            )

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn a connection that breaks into a failure of the machinery."""
        try:
            yield
        except OSError as error:
            if isinstance(error, SandboxFileError):
                raise
            raise SandboxError(
                f"Could not talk to the shell in a sandbox of {self.image}: the engine, or "
                f"bubblewrap, did not answer ({error})."
            ) from error

    def _run_in_a_shell(self, command: str, timeout: float) -> tuple[ShellResult, bool]:
        """Run a command in the shell, or in a new one if that is gone; whether it is a new one."""
        for attempt in range(2):
            shell, self._shell = (
                self._shell or self._new_shell(),
                None,
            )  # an exception half-way (Ctrl-C) leaves no shell with a command still in it
            with self._talking():
                result = shell.run(
                    command,
                    timeout,
                    self.limits.output_kib * 1024,
                    self._watch(),
                    _WATCH_PERIOD_S,
                )
            if result.started or result.end != "shell_ended":
                self._shell = shell
                return result, attempt > 0
            shell.close()
            self._box.restart()
        raise BrokenBoxError("no shell lasts until it comes to a command")

    def _watch(self) -> Callable[[], bool]:
        """Whether a command must be ended, asked again and again while it runs.

        A shell that was stopped by a signal would wait for its time-out: it is killed.
        That is looked at at the 1st, 2nd, 4th, 8th ... time only.
        """
        looks = itertools.count(1)

        def must_end() -> bool:
            if next(looks).bit_count() == 1 and self._box.shell_is_stopped():
                self._box.kill()
            return self._disk_is_full()

        return must_end

    def _end_processes(self) -> None:
        """End the shell and everything else; files stay."""
        self._close_shell()
        with contextlib.suppress(BrokenBoxError):  # the next command tells
            self._box.restart()

    def _exit_code(self, result: ShellResult) -> int:
        if result.exit_code is not None:
            return result.exit_code
        return 124 if result.end == "timed_out" else self._box.shell_exit_code()

    def _disk_is_full(self) -> bool:
        self._measured_at = time.monotonic()
        return self._box.is_full()

    def _disk_is_full_by_now(self) -> bool:
        """Measured at most once a second, because measuring takes longer than most commands."""
        return time.monotonic() - self._measured_at >= _WATCH_PERIOD_S and self._disk_is_full()

    def _release(self) -> None:
        self._close_shell()
        self._box.remove()

    def _close_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _absolute(self, path: str) -> str:
        return posixpath.join(self.workdir, path)

    def _require_open(self) -> None:
        if self._closed:
            raise SandboxError("This sandbox is closed.")

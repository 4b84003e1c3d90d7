"""Programs started by bubblewrap, which end when this process does, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

from srl_envs.sandbox.protocol import SandboxError
from srl_envs.sandbox.streams import Pipes

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are, inside and outside."""

_TOOLS = ("bwrap", "nsenter", "prlimit", "mount", "sh")
_START_S, _END_S = 60.0, 10.0


@lru_cache(maxsize=1)
def tools() -> dict[str, str]:
    """Paths of the programs that a box is made with.

    Raises:
        SandboxError: One is missing.
    """
    found = {
        name: shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}") for name in _TOOLS
    }
    if missing := [name for name, path in found.items() if path is None]:
        raise SandboxError(
            f"The sandbox 'bubblewrap' needs {', '.join(missing)}, not found on this machine: "
            "install the packages bubblewrap and util-linux."
        )
    return {name: str(path) for name, path in found.items()}


def user() -> pwd.struct_passwd:
    """Who root's sandboxes run as: the kernel does not count root's processes."""
    return pwd.getpwnam("nobody")


class Program:
    """A running ``bwrap`` that ends when this process does.

    Args:
        command: It, or what becomes it; ``--info-fd`` is added.
        environment: All its variables.
        one_stream: Its errors go where its output does.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], one_stream: bool = False
    ) -> None:
        at = max(i for i, part in enumerate(command) if part.endswith("/bwrap")) + 1
        info, tells = os.pipe()
        own = dict.fromkeys(("user", "group"), None)
        if os.getuid() == 0:
            own = {"user": user().pw_uid, "group": user().pw_gid, "extra_groups": []}
        try:
            self._process = _spawner(os.getpid()).run(
                [*command[:at], "--info-fd", str(tells), *command[at:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if one_stream else subprocess.PIPE,
                env=dict(environment),
                pass_fds=[tells],
                start_new_session=True,  # Ctrl-C in the terminal must not end it
                umask=0o022,
                bufsize=0,
                **own,
            )
        except SandboxError:
            os.close(info)
            raise
        finally:
            os.close(tells)
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self.stream = Pipes(*(os.dup(pipe.fileno()) for pipe in pipes if pipe is not None))
        for pipe in pipes:
            if pipe is not None:
                pipe.close()
        with open(info, "rb") as told:
            found = told.read()
        self.inner: int = json.loads(found)["child-pid"] if found else 0
        """Process 1 inside, as this machine counts; 0 if it did not start."""
        self._end: int | None = None
        with contextlib.suppress(OSError):  # it has ended by now
            self._end = os.pidfd_open(self.inner) if self.inner else None

    def exit_code(self, timeout: float) -> int:
        """How it ended; 137 if it has not in time."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return 137
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End it and everything that it started, without waiting for that."""
        self._process.kill()
        if self._end is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._end, signal.SIGKILL)

    def end(self) -> None:
        """End it and everything that it started; a second call does nothing.

        Raises:
            SandboxError: The kernel does not end it.
        """
        self.kill()
        self.stream.close()
        ended = self._end is None or _has_ended(self._end)
        if self._end is not None:
            os.close(self._end)
            self._end = None
        self.exit_code(_END_S)
        if not ended:
            raise SandboxError(f"What ran in a sandbox did not end in {_END_S:g} s.")


def _has_ended(process: int) -> bool:
    """Whether a process (a descriptor of it) and its namespace end in time."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(_END_S * 1000))


class _Spawner:
    """A thread that lives as long as this process and starts its programs.

    They die with the *thread* that started them, and other threads may end any time.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Future[Any], list[str], dict[str, Any]]]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._work, name="bubblewrap", daemon=True).start()

    def run(self, command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        """Start a program."""
        future: Future[subprocess.Popen[bytes]] = Future()
        self._asked.put((future, command, settings))
        try:
            try:
                return future.result(_START_S)
            except futures.TimeoutError:  # Python 3.10 has its own
                # What waits in line holds numbers of descriptors that are closed by then.
                if future.cancel():
                    raise SandboxError(
                        f"{command[0]} was not started within {_START_S:g} s: this machine is"
                        " too busy."
                    ) from None
                return future.result()
        except OSError as error:
            raise SandboxError(f"{command[0]} cannot be started: {error}.") from error

    def _work(self) -> None:
        while True:
            future, command, settings = self._asked.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(subprocess.Popen(command, **settings))
            except BaseException as error:
                future.set_exception(error)


@lru_cache(maxsize=1)
def _spawner(pid: int) -> _Spawner:
    """This process's; a forked child has no threads of its parent's."""
    return _Spawner()

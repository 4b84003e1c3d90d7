r"""One bash kept open: commands go in over a socket, their output and exit codes come back.

A command is handed over as data, ended by a NUL byte that no command can hold, and then evaluated; so no quote, heredoc or brace of it can reach the
lines around it. They frame its output with a word that was made at random for it, and tell exit code and folder::

    IFS= read -r -d '' __srl_WORD                     reads the command, byte for byte
    printf '\0%s<' WORD >&62                          what came before belongs to no command
    eval "$__srl_WORD" </dev/null >&62 2>&62          runs it, in this very shell
    printf '\0%s>%d:%d:%s\0' WORD "$?" PROCESSES "$PWD" >&62

Standard output and error are one stream, so what was written first comes first. File descriptor 62 keeps the way out, whatever the command did to its
own output. If the shell ends (``exit``, ``exec``, a kill) the stream ends, and that is the sign.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from srl_envs.sandbox.output import CappedOutput

_START = """exec 62>&1
cd -- {folder} 2>/dev/null || cd -- {fallback}
{startup}
exec >/dev/null 2>&1
"""

# The shell's own output goes nowhere, so that set -x shows nothing of these lines. $? starts as the last command left it, as in any shell; under set -e
# it is 0 anyway, and saying otherwise would end the shell. All names are new for each command, so that none can be readonly from an earlier one.
_RUN = """IFS= builtin read -r -d '' __srl_{word}
{command}\0builtin printf '\\0%s<' {word} >&62
__srl_{word}() {{ builtin return {status}; }}
case $- in (*e*) ;; (*) __srl_{word};; esac
builtin eval "$__srl_{word}" </dev/null >&62 2>&62
__srl_{word}=$?
builtin read -r __srl_p{word} </sys/fs/cgroup/pids.current || builtin read -r __srl_p{word} </sys/fs/cgroup/pids/pids.current || __srl_p{word}=0
builtin printf '\\0%s>%d:%d:%s\\0' {word} "$__srl_{word}" "$__srl_p{word}" "$PWD" >&62
builtin unset -v __srl_{word} __srl_p{word}; builtin unset -f __srl_{word}
"""

End = Literal["done", "shell_ended", "timed_out", "stopped"]


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What a shell did with one command.

    Attributes:
        end: ``done``; ``shell_ended``: the shell is gone; ``timed_out`` and ``stopped``: it still runs, and the caller must end it.
        output: What it wrote.
        truncated: The middle of the output is missing.
        exit_code: 0 to 255 if done, else None.
        processes: How many processes and threads the container had at the end if done, else 0; 0 too where the kernel does not tell.
        folder: Where the shell stands if done, else None.
        started: False if the shell was gone before it came to the command.
    """

    end: End
    output: str
    truncated: bool
    exit_code: int | None = None
    processes: int = 0
    folder: str | None = None
    started: bool = True


class Shell:
    """A bash behind the attached socket of a Docker exec without a terminal.

    Args:
        connection: The socket; the shell owns it.
        folder: Where to start.
        fallback: Where to start if that folder is gone.
        startup: A command that each new shell runs first, for example to activate an environment; empty runs none.
    """

    def __init__(self, connection: socket.socket, folder: str, fallback: str, startup: str = "") -> None:
        self._connection = connection
        self._frames = _Frames(connection)
        self._status = 0
        self._send(_START.format(folder=shlex.quote(folder), fallback=shlex.quote(fallback), startup=startup))

    def run(self, command: str, timeout: float, output_limit: int, should_stop: Callable[[], bool], tick: float = 1.0) -> ShellResult:
        """Run one command and read to its end.

        Args:
            command: Any text; NUL characters are left out, as bash does.
            timeout: In seconds.
            output_limit: Bytes of output that are kept.
            should_stop: Asked about every ``tick`` seconds while the command runs; True gives it up.
            tick: In seconds.

        Raises:
            OSError: The connection broke in a way that is not the shell's end.
        """
        word = secrets.token_hex(16)
        output = CappedOutput(output_limit)
        framed = _Framed(output, word)
        start = time.monotonic()
        next_tick = start + tick
        try:
            self._send(_RUN.format(command=command.replace("\0", ""), word=word, status=self._status), timeout)
        except TimeoutError:
            return ShellResult("timed_out", "", False, started=False)
        except (BrokenPipeError, ConnectionResetError):
            return ShellResult("shell_ended", "", False, started=False)
        while True:
            now = time.monotonic()
            if now >= start + timeout:
                return framed.result("timed_out")
            if now >= next_tick:
                if should_stop():
                    return framed.result("stopped")
                next_tick = time.monotonic() + tick
            chunk = self._frames.read(max(0.001, min(start + timeout, next_tick) - now))
            if chunk == b"":
                return framed.result("shell_ended")
            if chunk and (found := framed.add(chunk)):
                code, processes, folder = found.split(":", 2)
                self._status = int(code)
                return ShellResult("done", output.text(), output.dropped > 0, self._status, int(processes), folder)

    def close(self) -> None:
        """Close the connection; the shell then reads its end. A second call does nothing."""
        with contextlib.suppress(OSError):  # the other end may be gone
            self._connection.shutdown(socket.SHUT_RDWR)  # close alone leaves it open while the engine's client holds it too
        self._connection.close()

    def _send(self, text: str, timeout: float = 30.0) -> None:
        self._connection.settimeout(timeout)
        self._connection.sendall(text.encode("utf-8", "replace"))


class _Framed:
    """Finds a command's output, and how it ended, in a stream that is cut into pieces anywhere."""

    def __init__(self, output: CappedOutput, word: str) -> None:
        self._output = output
        self._marks = [f"\0{word}<".encode(), f"\0{word}>".encode()]
        self._pending = b""

    def add(self, chunk: bytes) -> str | None:
        """What stands between the last mark and its closing NUL once both have come, else None."""
        data = self._pending + chunk
        while self._marks:
            before, mark, after = data.partition(self._marks[0])
            if not mark:
                keep = len(self._marks[0]) - 1  # the mark may have come in part
                self._pass_on(data[:-keep])
                self._pending = data[-keep:]
                return None
            self._pass_on(before)
            self._marks.pop(0)
            data = after
        self._pending = data
        found, closed, _ = data.partition(b"\0")
        return found.decode("utf-8", "replace") if closed else None

    def result(self, end: End) -> ShellResult:
        """What came until now, for a command that did not come to its end."""
        self._pass_on(self._pending)
        self._pending = b""
        return ShellResult(end, self._output.text(), self._output.dropped > 0, started=len(self._marks) < 2)

    def _pass_on(self, data: bytes) -> None:
        if len(self._marks) == 1:
            self._output.add(data)


class _Frames:
    """Docker's stream of frames: 8 bytes of header (stream, three zeros, big-endian length), then that many bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._header = b""
        self._left = 0

    def read(self, timeout: float) -> bytes | None:
        """Some bytes of output; ``b""`` at the end of the stream, None if nothing came in time."""
        self._connection.settimeout(timeout)
        try:
            while not self._left:
                piece = self._connection.recv(8 - len(self._header))
                if not piece:
                    return b""
                self._header += piece
                if len(self._header) == 8:
                    self._left = struct.unpack(">I", self._header[4:])[0]
                    self._header = b""
            data = self._connection.recv(min(self._left, 65536))
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b""
        self._left -= len(data)
        return data

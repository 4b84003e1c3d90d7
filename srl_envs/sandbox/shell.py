r"""One bash kept open: commands go in over a stream, their output and exit codes come back.

A command is handed over as data, ended by a NUL byte that no command can hold, and then
evaluated; so no quote, heredoc or brace of it can reach the lines around it. They frame
its output with a word that was made at random for it, and tell how it ended::

    IFS= read -r -d '' NAME                          reads ")", then the command, byte for byte
    printf '\0%s<' WORD >&62 || exit                 what came before belongs to no command
    eval NAMEs </dev/null >/dev/null 2>/dev/null     tells whether the shell still works
    eval "${NAME:2}" </dev/null >&62 2>&62           runs the command, in this very shell
    printf '\0%s>%d:%d:%d:%s\0' WORD OK "$?" PROCESSES "$PWD" >&62 || exit "$?"
    read NAME                                        another ")"

Standard output and error are one stream, so what was written first comes first. File
descriptor 62 keeps the way out, whatever the command did to its own output. If the
shell ends (``exit``, ``exec``, a kill) the stream ends, and that is the sign. A shell
in which nothing can be evaluated any more (``ulimit -n 3``, no ``/dev/null``), or that
has no process left to start, says so and does not try. One that has lost its way out (62
is closed, or leads to a file or a device) ends with the command's exit code. One that
does not execute these lines as they are (``set -n``, a function ``builtin``) comes upon
the ")" as code, and a syntax error ends it: no command waits for its time-out because of
that.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from srl_envs.sandbox.output import CappedOutput
from srl_envs.sandbox.streams import Stream

_START = """exec 62>&1
\\builtin cd -- {folder} 2>/dev/null || \\builtin cd -- {fallback}
{startup}
exec >/dev/null 2>&1
"""

# The shell's own output goes nowhere, so that set -x shows nothing of these lines. $? starts as the
# last command left it, as in any shell; under set -e it is 0 anyway, and saying otherwise would end
# the shell. All names are new for each command, so that none can be readonly from an earlier one,
# and none of them tells the word. No alias and no function but one named builtin can take a word's
# place. A line with ")" alone is input for the read before it: if that did not run (set -n, a
# changed builtin), it is a syntax error, which ends the shell at once.
_RUN = """IFS= \\builtin read -r -d '' {name}
)
{command}\0{name}p() {{ {{ \\builtin read -r {name}n </sys/fs/cgroup/pids.current || \\builtin read -r {name}n </sys/fs/cgroup/pids/pids.current || {name}n=0; }} 2>/dev/null; }}
{name}s() {{ {name}ok=1; \\builtin test "${{-/e}}" != "$-" || \\builtin return {status}; }}
{name}w() {{ \\builtin test ! -f /proc/self/fd/62 && \\builtin test ! -c /proc/self/fd/62; }}
{name}e() {{ {name}p; {{ {name}w && \\builtin printf '\\0%s>%d:%d:%d:%s\\0' {word} "${{{name}ok:-0}}" "$1" "${name}n" "$PWD" >&62; }} || \\builtin exit "$1"; }}
{name}p; (( {name}n > {swarm} )) && \\builtin exit
\\builtin printf '\\0%s<' {word} >&62 || \\builtin exit
\\builtin eval {name}s </dev/null >/dev/null 2>/dev/null
\\builtin eval "${{{name}:2}}" </dev/null >&62 2>&62; {name}e "$?" && \\builtin read -r {name}n
)
\\builtin unset -v {name} {name}n {name}ok; \\builtin unset -f {name}p {name}s {name}w {name}e
"""

End = Literal["done", "shell_ended", "timed_out", "stopped"]


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What a shell did with one command.

    Attributes:
        end: ``done``; ``shell_ended``: the shell is gone; ``timed_out`` and
            ``stopped``: it still runs, and the caller must end it.
        output: What it wrote.
        truncated: The middle of the output is missing.
        exit_code: 0 to 255 if done, else None.
        processes: How many processes and threads the container had at the end if done,
            else 0; 0 too where the kernel does not tell.
        folder: The shell's folder if done, else None; bytes that are not UTF-8 are
            surrogate escapes.
        started: False if the shell was gone, or of no use any more, before it came to
            the command.
    """

    end: End
    output: str
    truncated: bool
    exit_code: int | None = None
    processes: int = 0
    folder: str | None = None
    started: bool = True


class Shell:
    """A bash whose input and output are a stream, without a terminal.

    Args:
        stream: The stream; the shell owns it.
        folder: Where to start.
        fallback: Where to start if that folder is gone.
        startup: A command that each new shell runs first, for example to activate an
            environment; empty runs none.
        max_processes: With more processes and threads than this in the container, the
            shell ends instead of running a command.
    """

    def __init__(
        self,
        stream: Stream,
        folder: str,
        fallback: str,
        startup: str = "",
        max_processes: int = 1 << 30,
    ) -> None:
        self._stream = stream
        self._max_processes = max_processes
        self._status = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the first run tells
            self._send(
                _START.format(
                    folder=shlex.quote(folder), fallback=shlex.quote(fallback), startup=startup
                ).encode(errors="surrogateescape")  # a folder's name may be any bytes
            )

    def run(
        self,
        command: str,
        timeout: float,
        output_limit: int,
        should_stop: Callable[[], bool],
        tick: float = 1.0,
    ) -> ShellResult:
        """Run one command and read to its end.

        Args:
            command: Any text; NUL characters are left out, as bash does.
            timeout: In seconds, above 0.
            output_limit: Bytes of output that are kept.
            should_stop: Asked about every ``tick`` seconds while the command runs; True
                gives it up.
            tick: In seconds.

        Raises:
            OSError: The connection broke in a way that is not the shell's end.
        """
        word, name = secrets.token_hex(16), f"__srl_{secrets.token_hex(4)}"
        output = CappedOutput(output_limit)
        framed = _Framed(output, word)
        start = time.monotonic()
        next_tick = start + tick
        script = _RUN.format(
            command=command.replace("\0", ""),
            word=word,
            name=name,
            status=self._status,
            swarm=self._max_processes,
        )
        try:
            self._send(script.encode(errors="replace"), timeout)
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
            piece = self._stream.read(max(0.001, min(start + timeout, next_tick) - now))
            if piece is None:
                continue
            if not piece.data:
                return framed.result("shell_ended")
            if found := framed.add(piece.data):
                return self._ended(found, framed, output)

    def close(self) -> None:
        """Close the connection; the shell then reads its end. A second call does nothing."""
        self._stream.close()

    def _ended(self, found: str, framed: _Framed, output: CappedOutput) -> ShellResult:
        try:
            ok, code, processes, folder = found.split(":", 3)
            self._status, left = int(code), int(processes)
        except ValueError:  # the command found out the word and forged its end
            return framed.result("shell_ended")
        if ok != "1":
            return ShellResult("shell_ended", "", False, started=False)
        return ShellResult("done", output.text(), output.dropped > 0, self._status, left, folder)

    def _send(self, data: bytes, timeout: float = 30.0) -> None:
        self._stream.write(data, timeout)


class _Framed:
    """Finds a command's output, and how it ended, in a stream that is cut into pieces anywhere."""

    def __init__(self, output: CappedOutput, word: str) -> None:
        self._output = output
        self._marks = [f"\0{word}<".encode(), f"\0{word}>".encode()]
        self._pending = b""

    def add(self, chunk: bytes) -> str | None:
        """What is between the last mark and its closing NUL once both have come, else None."""
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
        return found.decode(errors="surrogateescape") if closed else None

    def result(self, end: End) -> ShellResult:
        """What came until now, for a command that did not come to its end."""
        self._pass_on(self._pending)
        self._pending = b""
        return ShellResult(
            end, self._output.text(), self._output.dropped > 0, started=len(self._marks) < 2
        )

    def _pass_on(self, data: bytes) -> None:
        if len(self._marks) == 1:
            self._output.add(data)

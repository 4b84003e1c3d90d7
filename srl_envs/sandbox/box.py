"""What a sandbox needs of the place where its programs run: a container, or namespaces."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from srl_envs.errors import SRLError
from srl_envs.sandbox.streams import Stream

SWARM = 0.9
"""Share of the allowed processes above which a fork bomb is at work, and is ended."""

MAX_OUTPUT = 96 * 1024 * 1024
"""Bytes of what one program may write: beyond the largest patch; held in memory twice."""

# What bash and git say when no process is left. Paths in their messages are absolute: a file of
# such a name is none of this.
_CANNOT_FORK = re.compile(
    r"^[^/\n]*(?:Cannot fork|fork: retry|fork: Resource temporarily unavailable"
    r"|unable to create threads)",
    re.MULTILINE | re.IGNORECASE,
)


class BrokenBoxError(SRLError):
    """Commands left the place unable to run a program to its end.

    It is the commands' doing, not a failure of the machinery.
    """


class CannotStartError(BrokenBoxError):
    """A program cannot be started."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What a program wrote, and how it ended.

    Attributes:
        output: Its standard output.
        error: Its standard error as text without white space around it; bytes that are
            not UTF-8 are replaced.
        exit_code: 0 to 255.
    """

    output: bytes
    error: str
    exit_code: int


class Box(Protocol):
    """Files and processes, closed off; it is removed with its owner, however that ends.

    Every method raises :class:`~srl_envs.sandbox.SandboxError` if the machinery fails.
    """

    image: str
    """What messages call that of which it was made."""

    def start(self) -> None:
        """Start it; nothing runs in it before."""
        ...

    def restart(self) -> None:
        """End every process in it, whatever they do; files stay.

        Raises:
            BrokenBoxError: Commands removed what it needs.
        """
        ...

    def open_shell(self) -> Stream:
        """Start a bash that reads commands; output and error are one stream.

        Raises:
            BrokenBoxError: It cannot be started, because of what commands did.
        """
        ...

    def shell_exit_code(self) -> int:
        """How the last shell ended, once its stream has; 137 if it was killed."""
        ...

    def execute(
        self,
        program: Sequence[str],
        timeout: float = 60.0,
        stdin: bytes = b"",
        max_output: int = MAX_OUTPUT,
    ) -> Executed:
        """Run a program to its end, with the rights of the shell's user.

        If none can be started, every process is ended, and it is tried once more.

        Args:
            program: Its name and arguments.
            timeout: In seconds.
            stdin: Its standard input, which may stay open: the program must know how
                much to read.
            max_output: Bytes that it may write.

        Raises:
            BrokenBoxError: It cannot be started even then, or did not end in time, or
                wrote more than that.
        """
        ...

    def kill(self) -> None:
        """End every process in it, the shell too."""
        ...

    def shell_is_stopped(self) -> bool:
        """Whether a signal stopped the shell, which waits for another one; False if unknown."""
        ...

    def is_crowded(self, counted: int) -> bool:
        """Whether so many processes run that no more can be expected to start.

        Args:
            counted: How many the shell saw; 0 if it cannot tell.
        """
        ...

    def is_full(self) -> bool:
        """Whether more was written than may be, or more memory is used than may be."""
        ...

    def remove(self) -> None:
        """End everything and free what it held. A second call does nothing."""
        ...


def read_to_end(
    stream: Stream,
    name: str,
    timeout: float,
    stdin: bytes,
    max_output: int,
    exit_code: Callable[[], int],
) -> Executed:
    """Give a program its input and read what it writes; the stream is closed then.

    Args:
        stream: Of the program.
        name: Of the program, for messages.
        timeout: In seconds.
        stdin: Its input.
        max_output: Bytes that it may write.
        exit_code: Tells how it ended; raises if the machinery is what does not answer.

    Raises:
        CannotStartError: No process was left.
        BrokenBoxError: It did not end in time, or wrote too much.
    """
    written: dict[bool, list[bytes]] = {False: [], True: []}  # by whether it is an error
    size = 0
    end = time.monotonic() + timeout
    problem = ""
    with closing(stream):
        try:
            stream.write(stdin, timeout)
        except TimeoutError:
            problem = f"did not read its input in {timeout:g} s"
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended: what it wrote says why
        while not problem:
            piece = stream.read(max(0.001, end - time.monotonic()))
            if piece is None:
                problem = f"did not end in {timeout:g} s"
            elif not piece.data:
                break
            else:
                written[piece.is_error].append(piece.data)
                size += len(piece.data)
                problem = "wrote too much" if size > max_output else ""
        code = exit_code()
        if problem:
            raise BrokenBoxError(f"{name} {problem}")
    output = b"".join(written[False])
    error = b"".join(written[True]).decode("utf-8", "replace").strip()
    if code and _CANNOT_FORK.search(error[-4096:]):
        raise CannotStartError(f"no program can be started any more: {error[:200]}")
    return Executed(output, error, code)

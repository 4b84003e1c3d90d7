"""What goes into a program in a sandbox, and what comes out, each step with a deadline."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Piece(NamedTuple):
    """Some bytes of output; no bytes at the end of the stream."""

    data: bytes
    is_error: bool


class Stream(Protocol):
    """Input and output of one program."""

    def read(self, timeout: float) -> Piece | None:
        """The next bytes; None if nothing came in time.

        Args:
            timeout: In seconds, above 0.

        Raises:
            OSError: The connection broke in a way that is not the stream's end.
        """
        ...

    def write(self, data: bytes, timeout: float) -> None:
        """Write to the program's standard input.

        Args:
            data: Any number of bytes.
            timeout: In seconds, above 0.

        Raises:
            TimeoutError: The program did not take them in time.
            BrokenPipeError: The program takes nothing any more.
            ConnectionResetError: The same.
        """
        ...

    def close(self) -> None:
        """Close both directions. A second call does nothing."""
        ...


class Frames:
    """The stream of a Docker exec without a terminal.

    It consists of frames: 8 bytes of header (stream, three zeros, big-endian length),
    then that many bytes.

    Args:
        connection: The attached socket, which this owns.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._header = b""
        self._left = 0
        self._is_error = False

    def read(self, timeout: float) -> Piece | None:
        """See :class:`Stream`."""
        self.connection.settimeout(timeout)
        try:
            while not self._left:
                piece = self.connection.recv(8 - len(self._header))
                if not piece:
                    return Piece(b"", False)
                self._header += piece
                if len(self._header) == 8:
                    self._is_error, self._left = (
                        self._header[0] == 2,
                        struct.unpack(">I", self._header[4:])[0],
                    )
                    self._header = b""
            data = self.connection.recv(min(self._left, 65536))
        except TimeoutError:
            return None
        except ConnectionResetError:
            return Piece(b"", False)
        self._left -= len(data)
        return Piece(data, self._is_error)

    def write(self, data: bytes, timeout: float) -> None:
        """See :class:`Stream`."""
        self.connection.settimeout(timeout)
        self.connection.sendall(data)

    def close(self) -> None:
        """See :class:`Stream`."""
        with contextlib.suppress(OSError):  # the other end may be gone
            self.connection.shutdown(
                socket.SHUT_RDWR
            )  # close alone leaves it open while the engine's client holds it too
        self.connection.close()


class Pipes:
    """The stream of a process of this machine.

    Args:
        to_program: Descriptor of the pipe to its standard input; this owns all three.
        from_program: Descriptor of the pipe that its output comes from.
        errors: Descriptor of the pipe that its errors come from; None if they share the
            output's.
    """

    def __init__(self, to_program: int, from_program: int, errors: int | None = None) -> None:
        self._in, self._out = to_program, from_program
        self._open = {to_program, from_program} | (set() if errors is None else {errors})
        self._readable = self._open - {to_program}
        os.set_blocking(to_program, False)

    def read(self, timeout: float) -> Piece | None:
        """See :class:`Stream`."""
        end = time.monotonic() + timeout
        while self._readable:
            ready = _ready(self._readable, select.POLLIN, end - time.monotonic())
            if not ready:
                return None
            if data := os.read(ready[0], 65536):
                return Piece(data, ready[0] != self._out)
            self._readable = self._readable - {ready[0]}
        return Piece(b"", False)

    def write(self, data: bytes, timeout: float) -> None:
        """See :class:`Stream`."""
        end = time.monotonic() + timeout
        left = memoryview(data)
        while left:
            if not _ready({self._in}, select.POLLOUT, end - time.monotonic()):
                raise TimeoutError(f"the program did not read its input in {timeout:g} s")
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._in, left) :]

    def close(self) -> None:
        """See :class:`Stream`."""
        opened, self._open, self._readable = self._open, set(), set()
        for descriptor in opened:
            os.close(descriptor)


def _ready(descriptors: Iterable[int], event: int, timeout: float) -> list[int]:
    """Those of the descriptors that are ready, or at their end, in time."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, event)
    return [descriptor for descriptor, _ in waiting.poll(max(0.0, timeout) * 1000)]

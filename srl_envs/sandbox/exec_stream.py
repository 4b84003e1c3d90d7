"""The stream of a Docker exec without a terminal.

It consists of frames: 8 bytes of header (stream, three zeros, big-endian length), then
that many bytes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import NamedTuple


class Piece(NamedTuple):
    """Some bytes of output; no bytes at the end of the stream."""

    data: bytes
    is_error: bool


class Frames:
    """Reads frames from an attached socket, which it owns.

    Args:
        connection: The socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._header = b""
        self._left = 0
        self._is_error = False

    def read(self, timeout: float) -> Piece | None:
        """The next bytes; None if nothing came in time.

        Args:
            timeout: In seconds, above 0.

        Raises:
            OSError: The connection broke in a way that is not the stream's end.
        """
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

    def send(self, data: bytes, timeout: float) -> bool:
        """Send bytes to the program's standard input; False if it did not take them in time.

        A program that has ended takes nothing more, which is not an error here: what it
        wrote says why.

        Args:
            data: Any number of bytes.
            timeout: In seconds, above 0.
        """
        self.connection.settimeout(timeout)
        try:
            self.connection.sendall(data)
        except TimeoutError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass
        return True

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        with contextlib.suppress(OSError):  # the other end may be gone
            self.connection.shutdown(
                socket.SHUT_RDWR
            )  # close alone leaves it open while the engine's client holds it too
        self.connection.close()

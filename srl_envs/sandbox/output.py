"""Text that leaves a sandbox: in bounded memory, and valid Unicode."""

from __future__ import annotations

from collections import deque


def valid_unicode(text: str) -> str:
    r"""A text with its lone surrogates replaced, which no tokenizer takes.

    A model's JSON may hold them (``"\ud800"``), and messages repeat what it wrote.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class CappedOutput:
    """Bytes of a command's output, of which head and tail are kept while it streams.

    At most ``limit`` are kept, the first half and the last half of them.

    Args:
        limit: In bytes; at least 2.
    """

    def __init__(self, limit: int) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._tail_size = 0
        self.dropped = 0
        """Bytes of the middle that were not kept."""

    def add(self, chunk: bytes) -> None:
        """Append a piece of output, of any size."""
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if len(chunk) > self._tail_limit:
            self.dropped += len(chunk) - self._tail_limit
            chunk = chunk[-self._tail_limit :]
        if not chunk:
            return
        self._tail.append(chunk)
        self._tail_size += len(chunk)
        while self._tail_size > self._tail_limit:
            excess = self._tail_size - self._tail_limit
            oldest = self._tail.popleft()
            if len(oldest) > excess:
                self._tail.appendleft(oldest[excess:])
            gone = min(excess, len(oldest))
            self._tail_size -= gone
            self.dropped += gone

    def text(self) -> str:
        """What was kept, with a line that says how much is missing; invalid UTF-8 is replaced."""
        head, tail = bytes(self._head), b"".join(self._tail)
        if not self.dropped:
            return (head + tail).decode("utf-8", "replace")
        # A character that the cut went through is left out rather than shown as a replacement.
        note = f"\n[... {self.dropped} bytes left out ...]\n"
        return (
            head.decode("utf-8", "replace").rstrip("\ufffd")
            + note
            + tail.decode("utf-8", "replace").lstrip("\ufffd")
        )

"""A file's text, edited by lines without a change to other bytes (line ends, encoding)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(r"(\r\n|\r|\n)")


@dataclass(frozen=True, slots=True)
class FileText:
    """A decoded file, line by line.

    Attributes:
        lines: Without their ends. The last one is empty if the file ends with a line
            end, or is empty.
        ends: What ends each line: line feed, carriage return, or both; the last one's
            is empty.
        encoding: UTF-8, or Latin-1 for a file that is not; Latin-1 reads any bytes and
            gives the same bytes back.
    """

    lines: tuple[str, ...]
    ends: tuple[str, ...]
    encoding: str = "utf-8"

    @classmethod
    def of(cls, content: bytes) -> FileText:
        """Decode and split a file's contents."""
        try:
            text, encoding = content.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = content.decode("latin-1"), "latin-1"
        parts = _LINE_END.split(text)
        return cls(tuple(parts[::2]), (*parts[1::2], ""), encoding)

    @property
    def text(self) -> str:
        """The file as it is."""
        return "".join(line + end for line, end in zip(self.lines, self.ends, strict=True))

    @property
    def shown(self) -> str:
        """The file with every line ended by a line feed."""
        return "\n".join(self.lines)

    @property
    def line_count(self) -> int:
        """How many lines the file has; text after the last line end counts if it is not empty."""
        return len(self.lines) - (self.lines[-1] == "")

    def with_lines(self, first: int, last: int, lines: list[str]) -> FileText:
        """The text with its lines ``first`` to ``last``, from 0, replaced by at least one other.

        New line ends are those of line ``first``.
        """
        ends = [self._end_like(first)] * (len(lines) - 1) + [self.ends[last]]
        return FileText(
            (*self.lines[:first], *lines, *self.lines[last + 1 :]),
            (*self.ends[:first], *ends, *self.ends[last + 1 :]),
            self.encoding,
        )

    def with_inserted(self, row: int, lines: list[str]) -> FileText:
        """The text with lines added after its first ``row``, with line ends of the line above."""
        above = min(row, len(self.lines) - 1)  # after the last line, the new end is that line's
        ends = [self._end_like(max(0, row - 1))] * len(lines)
        return FileText(
            (*self.lines[:row], *lines, *self.lines[row:]),
            (*self.ends[:above], *ends, *self.ends[above:]),
            self.encoding,
        )

    def _end_like(self, row: int) -> str:
        return self.ends[row] or self.ends[0] or "\n"

"""What a patch says: its files and their changed lines, with or without git's headers.

``unidiff`` does not do: a name with " b/" in it or a hunk that is too short is an error
there, quoted names stay quoted, and binary data is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_UNESCAPED = {"a": b"\a", "b": b"\b", "t": b"\t", "n": b"\n", "v": b"\v", "f": b"\f", "r": b"\r"}
_NOWHERE = "/dev/null"


@dataclass(frozen=True, slots=True)
class PatchedFile:
    """What a patch says of one file.

    Attributes:
        old_path: None if the patch makes the file.
        new_path: None if the patch removes it.
        removed: The lines that go, without their mark.
        added: The lines that come, without their mark; of a binary patch, the lines of
            its data.
    """

    old_path: str | None
    new_path: str | None
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A file whose lines are being read."""

    old: str = ""
    new: str = ""
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    is_named: bool = False
    is_binary: bool = False

    def finished(self) -> PatchedFile:
        old, new = (None if name == _NOWHERE else name for name in (self.old, self.new))
        return PatchedFile(old, new, tuple(self.removed), tuple(self.added))


def patched_files(patch: str) -> list[PatchedFile]:
    """The files of a patch, in its order. Text that belongs to no file's changes is skipped."""
    return [draft.finished() for draft in _drafts(patch.split("\n"))]


def _drafts(lines: list[str]) -> Iterator[_Draft]:
    draft: _Draft | None = None
    old_left = new_left = 0
    for line in lines:
        if draft and (old_left > 0 or new_left > 0) and line[:1] in ("-", "+", " ", "", "\\"):
            # Inside a hunk the counts decide: a removed line "-- a/x" looks like a header.
            old_left -= line[:1] in ("-", " ", "")
            new_left -= line[:1] in ("+", " ", "")
            if line[:1] == "-":
                draft.removed.append(line[1:])
            elif line[:1] == "+":
                draft.added.append(line[1:])
            continue
        old_left = new_left = 0
        if line.startswith("diff --git "):
            if draft:
                yield draft
            draft = _Draft(*_git_names(line.removeprefix("diff --git ")))
        elif line.startswith("--- "):
            if draft is None or draft.is_named:  # no git header in front of it
                if draft:
                    yield draft
                draft = _Draft()
            draft.old, draft.is_named = _name(line[4:]), True
        elif draft and line.startswith("+++ "):
            draft.new = _name(line[4:])
        elif draft and (hunk := _HUNK.match(line)):
            old_left, new_left = int(hunk[1] or 1), int(hunk[2] or 1)
        elif draft and line == "GIT binary patch":
            draft.is_binary = True
        elif draft and draft.is_binary:
            draft.added += [line] if line else []
        elif draft:
            _read_header(draft, line)
    if draft:
        yield draft


def _read_header(draft: _Draft, line: str) -> None:
    if line.startswith("new file mode "):
        draft.old = _NOWHERE
    elif line.startswith("deleted file mode "):
        draft.new = _NOWHERE
    elif line.startswith(("rename from ", "copy from ")):
        draft.old = _unquoted(line.partition(" from ")[2])
    elif line.startswith(("rename to ", "copy to ")):
        draft.new = _unquoted(line.partition(" to ")[2])


def _git_names(names: str) -> tuple[str, str]:
    """Both names of a ``diff --git`` line; where they differ, later headers name them as well."""
    if names.startswith('"'):
        end = re.match(r'"(?:[^"\\]|\\.)*"', names)
        first, second = (names[: end.end()], names[end.end() + 1 :]) if end else (names, names)
    else:
        half = len(names) // 2  # "a/NAME b/NAME", and NAME may hold spaces
        first, second = names[:half], names[half + 1 :]
    return _name(first), _name(second)


def _name(written: str) -> str:
    """A name after ``---`` or ``+++``, cleaned.

    Without time stamp, quotes, and the folder ``a/`` or ``b/`` in front.
    """
    name = _unquoted(
        written.rstrip("\r").partition("\t")[0] if not written.startswith('"') else written.rstrip()
    )
    return (
        name
        if name == _NOWHERE
        else name.partition("/")[2]
        if name.startswith(("a/", "b/"))
        else name
    )


def _unquoted(written: str) -> str:
    if not (len(written) > 1 and written.startswith('"') and written.endswith('"')):
        return written
    plain, at = b"", 1
    for escape in _ESCAPE.finditer(written, 1, len(written) - 1):
        code = escape[1]
        plain += written[at : escape.start()].encode()
        plain += (
            bytes([int(code, 8) & 0xFF])
            if code.isdecimal() and len(code) == 3
            else _UNESCAPED.get(code, code.encode())
        )
        at = escape.end()
    return (plain + written[at:-1].encode()).decode("utf-8", "replace")

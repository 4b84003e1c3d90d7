"""Changes of files -> a patch that ``git apply`` takes; checks of it; when two patches are equal.

The diff is written here, since the files are objects of git's database and in no folder
that ``git diff`` could compare, and ``difflib`` writes neither git's headers nor binary files.
"""

from __future__ import annotations

import ast
import base64
import difflib
import hashlib
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from srl_agent.evaluation.swebench.read_patch import patched_files

_CONTEXT = 3
_NO_FILE = "0" * 40
_QUOTED = {
    "\a": r"\a",
    "\b": r"\b",
    "\t": r"\t",
    "\n": r"\n",
    "\v": r"\v",
    "\f": r"\f",
    "\r": r"\r",
    '"': r"\"",
    "\\": r"\\",
}
_BINARY_LINE = 52  # bytes


@dataclass(frozen=True, slots=True)
class FileChange:
    """What becomes of one file.

    Attributes:
        path: Relative to the repository.
        old: Contents before; None if the file is new.
        new: Contents after; None if it is removed.
        mode: ``"100644"``, or ``"100755"`` for a file that can be executed.
    """

    path: str
    old: bytes | None
    new: bytes | None
    mode: str = "100644"


@dataclass(frozen=True, slots=True)
class PatchProblem:
    """Why a patch is kept out.

    Attributes:
        path: The file.
        reason: What is wrong with it, and where.
    """

    path: str
    reason: str


def make_patch(changes: Sequence[FileChange]) -> str:
    """A patch in git's format, sorted by path; empty if nothing changes.

    It can always be written as UTF-8: where changed lines or the lines around them are
    none, the file's change is a binary patch.
    """
    return "".join(
        _file_patch(change)
        for change in sorted(changes, key=lambda one: one.path)
        if change.old != change.new
    )


def python_problems(changes: Sequence[FileChange]) -> tuple[PatchProblem, ...]:
    """The Python files that do not parse any more: those that did before, and new ones.

    Files that this Python could not parse before either (they may be written for
    another version) are not judged.
    """
    found = []
    for change in changes:
        if (
            change.path.endswith(".py")
            and change.new is not None
            and change.old != change.new
            and (change.old is None or not _why_no_python(change.old))
        ):
            reason = _why_no_python(change.new)
            if reason:
                found.append(PatchProblem(change.path, reason))
    return tuple(found)


def normalized_patch(patch: str) -> str:
    """A form in which two patches are equal if they make the same changes.

    It is empty for a patch without changes.

    Files are sorted. Line numbers, lines of context, hashes, modes and blank lines are
    left out. In a line, white space counts only where it indents and where it parts two
    words (``f( x )`` is ``f(x)``); a tab indents to the next multiple of 8.
    """
    forms = []
    for file in patched_files(patch):
        lines = [f"-{form}" for line in file.removed if (form := _line_form(line))] + [
            f"+{form}" for line in file.added if (form := _line_form(line))
        ]
        if lines or file.old_path != file.new_path:
            forms.append("\n".join([f"{file.old_path or ''}>{file.new_path or ''}", *lines]))
    return "\n".join(sorted(forms))


def _file_patch(change: FileChange) -> str:
    old, new = change.old or b"", change.new or b""
    a, b = _quoted(f"a/{change.path}"), _quoted(f"b/{change.path}")
    head = [f"diff --git {a} {b}\n"]
    hashes = [
        _NO_FILE if content is None else _blob_hash(content) for content in (change.old, change.new)
    ]
    if change.old is None:
        head.append(f"new file mode {change.mode}\n")
    if change.new is None:
        head.append(f"deleted file mode {change.mode}\n")
    is_changed = change.old is not None and change.new is not None
    head.append(f"index {hashes[0]}..{hashes[1]}" + (f" {change.mode}\n" if is_changed else "\n"))
    try:
        if b"\0" not in old + new:
            return "".join(head) + _text_hunks(change, old, new).decode("utf-8")
    except UnicodeDecodeError:
        pass
    return "".join(head) + "GIT binary patch\n" + _literal(new) + _literal(old)


def _text_hunks(change: FileChange, old: bytes, new: bytes) -> bytes:
    """File names and hunks; nothing for an empty file that comes or goes."""
    if old == new:
        return b""
    a, b = (
        "/dev/null" if content is None else _named(f"{side}/{change.path}")
        for side, content in (("a", change.old), ("b", change.new))
    )
    parts = [f"--- {a}\n+++ {b}\n".encode()]
    old_lines, new_lines = _lines(old), _lines(new)
    for group in difflib.SequenceMatcher(None, old_lines, new_lines).get_grouped_opcodes(_CONTEXT):
        (_, old_first, _, new_first, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        parts.append(
            f"@@ -{_range(old_first, old_end)} +{_range(new_first, new_end)} @@\n".encode()
        )
        for tag, old_start, old_stop, new_start, new_stop in group:
            if tag == "equal":
                parts += [_marked(b" ", line) for line in old_lines[old_start:old_stop]]
            else:
                parts += [_marked(b"-", line) for line in old_lines[old_start:old_stop]]
                parts += [_marked(b"+", line) for line in new_lines[new_start:new_stop]]
    return b"".join(parts)


def _lines(content: bytes) -> list[bytes]:
    """Lines with their ends, split at line feeds only, as git does."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    return [*lines[:-1], lines[-1][:-1]] if lines[-1] != b"\n" else lines[:-1]


def _marked(mark: bytes, line: bytes) -> bytes:
    return (
        mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"
    )


def _range(first: int, end: int) -> str:
    """A hunk's lines, counted from 1; of none, the line before them."""
    return f"{first + (end > first)},{end - first}"


def _literal(content: bytes) -> str:
    """Contents as in git's binary patches: deflated, in base 85.

    The letter before each line says how many bytes it encodes.
    """
    packed = zlib.compress(content, 9)
    lines = [f"literal {len(content)}\n"]
    for start in range(0, len(packed), _BINARY_LINE):
        piece = packed[start : start + _BINARY_LINE]
        length = (
            chr(ord("A") + len(piece) - 1) if len(piece) <= 26 else chr(ord("a") + len(piece) - 27)
        )
        lines.append(f"{length}{base64.b85encode(piece, pad=True).decode()}\n")
    return "".join(lines) + "\n"


def _blob_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _quoted(name: str) -> str:
    """A name as git writes it.

    It is quoted if it has a quote, a backslash or a control character.
    """
    escaped = "".join(
        _QUOTED.get(one) or (one if one >= " " and one != "\x7f" else f"\\{ord(one):03o}")
        for one in name
    )
    return name if escaped == name else f'"{escaped}"'


def _named(name: str) -> str:
    """A name in front of the hunks.

    A tab ends a name with a space in it, for readers that look for a time stamp behind
    it.
    """
    return _quoted(name) + "\t" * (" " in name)


def _why_no_python(source: bytes) -> str:
    """Why Python cannot parse a file; empty if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # NUL characters; nesting that is too deep
        return str(error) or type(error).__name__
    return ""


def _line_form(line: str) -> str:
    """A line with white space only where it indents and between words.

    It is empty for a blank line.
    """
    expanded = line.expandtabs(8).rstrip()
    body = re.sub(r"\s+", " ", expanded.lstrip(" "))
    return " " * (len(expanded) - len(expanded.lstrip(" "))) + re.sub(r"(?<!\w) | (?!\w)", "", body)

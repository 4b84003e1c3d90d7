r"""Edits applied to the files of a commit, line by line.

Every edit is reported, and no byte changes that no edit names.

* All search texts are compared with the files as the model was shown them: no edit sees
  what another one made. Of two that touch the same lines the first counts.
* A search text matches whole lines, exactly, at one place only; line ends are not
  compared. What replaces them takes over the line ends of the file (``\r\n`` stays
  ``\r\n``), and a file without a line end at its end stays so. A byte order mark
  belongs to no line.
* A file that is not UTF-8 is read as Latin-1, which keeps any byte as it is.
* An edit that cannot be applied is left out; the others count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from srl_agent.evaluation.swebench.parse_edits import Edit, Reading
from srl_agent.evaluation.swebench.repositories import why_not_text
from srl_envs.sandbox.editor.file_text import FileText

EditStatus = Literal[
    "applied",
    "unclosed",
    "unread",
    "no_path",
    "bad_path",
    "not_a_file",
    "no_such_file",
    "file_exists",
    "not_text",
    "search_not_found",
    "search_not_unique",
    "identical",
    "overlapping",
    "not_encodable",
    "no_change",
]
"""The outcome of an edit; all but the first mean that it was skipped.

:class:`EditReport` says more in its ``detail``.
"""

_MAX_NAME, _MAX_PATH = 255, 4095  # bytes, of Linux
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class EditReport:
    """What became of one edit.

    Attributes:
        path: The file, as far as the answer names one.
        kind: See :data:`~srl_agent.evaluation.swebench.parse_edits.EditKind`.
        status: See :data:`EditStatus`.
        detail: For a reader: where it matched, or why it did not.
    """

    path: str
    kind: str
    status: EditStatus
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AppliedEdits:
    """The outcome of all edits of an answer.

    Attributes:
        contents: Path -> new contents of each file that changes; None where it is
            removed.
        reports: One for each edit, in order.
    """

    contents: Mapping[str, bytes | None]
    reports: tuple[EditReport, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """Lines of a file and what replaces them.

    The range is ``first`` up to but not including ``end``, from 0; None removes the
    whole file.
    """

    first: int
    end: int
    lines: tuple[str, ...] | None


class _RefusedError(Exception):
    """Why an edit cannot be applied."""

    def __init__(self, status: EditStatus, detail: str) -> None:
        super().__init__(detail)
        self.status: EditStatus = status
        self.detail = detail


def apply_edits(
    edits: Sequence[Edit], files: Mapping[str, bytes], special: Collection[str] = ()
) -> AppliedEdits:
    """Apply the edits of an answer.

    Args:
        edits: In the answer's order.
        files: All regular files of the repository.
        special: Paths of links and submodules, at and below which nothing can be
            edited.
    """
    reports: list[EditReport] = []
    changes: dict[str, dict[int, _Change]] = {}
    for number, edit in enumerate(edits):
        path = edit.path
        try:
            path = _checked_path(edit, special)
            of_file = changes.setdefault(path, {})
            made = [other for other in changes if changes[other] and other not in files]
            change = _located(edit, path, files, [*made, *special])
            _refuse_overlap(change, of_file, edits, path in files)
            of_file[number] = change
            reports.append(EditReport(path, edit.kind, "applied", _place(change, path in files)))
        except _RefusedError as refusal:
            reports.append(EditReport(path, edit.kind, refusal.status, refusal.detail))
    contents: dict[str, bytes | None] = {}
    for path, of_file in changes.items():
        if of_file:
            _apply_to_file(path, of_file, files, contents, reports)
    return AppliedEdits(contents, tuple(reports))


def shown_text(content: bytes) -> str:
    """A file as prompts show it and search texts are compared with it.

    It has only line feeds and no byte order mark.
    """
    return FileText.of(content.removeprefix(_BOM)).shown


def _checked_path(edit: Edit, special: Collection[str]) -> str:
    """The edit's path in its plain form."""
    if edit.kind == "unclosed":
        raise _RefusedError(
            "unclosed", "the block is not closed as it was opened, or has no divider"
        )
    if edit.kind == "unread":
        raise _RefusedError(
            "unread", "only search/replace blocks are read whose markers start their lines"
        )
    if not edit.path:
        raise _RefusedError(
            "no_path", "no line above the block names its file, or another file is named in between"
        )
    path = edit.path
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "" in parts or "." in parts:
        raise _RefusedError(
            "bad_path", "a path must be relative to the repository and lead to a file in it"
        )
    if any(part.lower() == ".git" for part in parts):
        raise _RefusedError("bad_path", "git's own folder is not part of the repository")
    if (
        not path.isprintable()
        or "\\" in path
        or len(path.encode()) > _MAX_PATH
        or any(len(part.encode()) > _MAX_NAME for part in parts)
    ):
        raise _RefusedError(
            "bad_path", "the path is too long, or holds a character that paths here cannot have"
        )
    for place in (path, *map(str, PurePosixPath(path).parents)):
        if place in special:
            raise _RefusedError("not_a_file", f"{place} is a link or a submodule")
    return path


def _located(edit: Edit, path: str, files: Mapping[str, bytes], others: Collection[str]) -> _Change:
    """Where an edit belongs in its file.

    ``others`` are the repository's other paths beside ``files``, and what earlier edits
    create.
    """
    content = files.get(path)
    if content is None:
        if any(
            parent in files or parent in others for parent in map(str, PurePosixPath(path).parents)
        ):
            raise _RefusedError("not_a_file", "there is a file where the path needs a folder")
        if any(known.startswith(f"{path}/") for names in (files, others) for known in names):
            raise _RefusedError("not_a_file", "the path is a folder")
        side = path.partition("/")[0]
        if side in ("a", "b") and not any(known.startswith(f"{side}/") for known in files):
            raise _RefusedError(
                "bad_path", f"there is no folder {side}: leave out a diff's {side}/"
            )
    if edit.kind == "delete":
        if content is None:
            raise _RefusedError("no_such_file", "the repository has no such file to remove")
        return _Change(0, 0, None)
    blank = [reading for reading in edit.readings if not any(line.strip() for line in reading[0])]
    empty = [reading for reading in blank if not reading[0]] if content else blank
    if empty and not content:
        replacement = empty[0][1]
        _refuse_unwritable(replacement, "utf-8")
        if content == b"" and not replacement:
            raise _RefusedError("identical", "the file is empty already")
        return _Change(0, 0, replacement)
    if content is None:
        raise _RefusedError(
            "no_such_file", "the repository has no such file; an empty search text would make it"
        )
    if len(empty) == len(edit.readings):
        raise _RefusedError(
            "file_exists", "an empty search text is for a file that is not there, or is empty"
        )
    if reason := why_not_text(content):
        raise _RefusedError("not_text", f"{reason}: it cannot be edited")
    return _matched([reading for reading in edit.readings if reading not in empty], content)


def _matched(readings: Sequence[Reading], content: bytes) -> _Change:
    text = FileText.of(content.removeprefix(_BOM))
    lines = text.lines[: text.line_count]
    for search, replacement in reversed(
        readings
    ):  # the longest first: a shorter one is the beginning of it, and would match as well
        places = _places(search, lines)
        if not places:
            continue
        if len(places) > 1:
            raise _RefusedError(
                "search_not_unique",
                "the search text begins at lines"
                f" {', '.join(str(place + 1) for place in places[:5])}",
            )
        if search == replacement:
            raise _RefusedError("identical", "search text and replacement are the same")
        _refuse_unwritable(replacement, text.encoding)
        return _Change(places[0], places[0] + len(search), replacement)
    raise _RefusedError("search_not_found", "the file does not hold the search text as whole lines")


def _refuse_unwritable(lines: Sequence[str], encoding: str) -> None:
    text = "\n".join(lines)
    if "\0" in text:
        raise _RefusedError("not_encodable", "a text file holds no NUL character")
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        raise _RefusedError(
            "not_encodable", f"{text[error.start]!r} has no form in the file's encoding, {encoding}"
        ) from None


def _places(search: tuple[str, ...], lines: tuple[str, ...]) -> list[int]:
    """Where the search lines are, places that overlap included."""
    first, count = search[0], len(search)
    return [
        at
        for at in range(len(lines) - count + 1)
        if lines[at] == first and lines[at : at + count] == search
    ]


def _refuse_overlap(
    change: _Change, others: Mapping[int, _Change], edits: Sequence[Edit], exists: bool
) -> None:
    for number, other in others.items():
        whole = (
            change.lines is None
            or other.lines is None
            or not exists
            or change.end == 0
            or other.end == 0
        )
        if whole or (change.first < other.end and other.first < change.end):
            raise _RefusedError(
                "overlapping",
                f"block {number + 1} of {len(edits)} in the answer changes the same lines",
            )


def _place(change: _Change, exists: bool) -> str:
    if change.lines is None:
        return "removed"
    return (
        f"lines {change.first + 1} to {change.end}"
        if change.end
        else "filled"
        if exists
        else "new file"
    )


def _apply_to_file(
    path: str,
    of_file: Mapping[int, _Change],
    files: Mapping[str, bytes],
    contents: dict[str, bytes | None],
    reports: list[EditReport],
) -> None:
    old = files.get(path)
    new = _changed(old or b"", list(of_file.values()))
    if new != old:
        contents[path] = new
        return
    for number in of_file:  # together they only moved lines to where they were
        reports[number] = EditReport(
            path,
            reports[number].kind,
            "no_change",
            "the edits of this file together leave it as it was",
        )


def _changed(content: bytes, changes: list[_Change]) -> bytes | None:
    """A file's new contents."""
    mark = _BOM if content.startswith(_BOM) else b""
    text = FileText.of(content.removeprefix(_BOM))
    for change in sorted(
        changes, key=lambda one: one.first, reverse=True
    ):  # from the end, so that places stay right
        if change.lines is None:
            return None
        if not change.end:
            return mark + "".join(f"{line}\n" for line in change.lines).encode()
        text = _replaced(text, change.first, change.end, change.lines)
    return mark + text.text.encode(text.encoding)


def _replaced(text: FileText, first: int, end: int, new: tuple[str, ...]) -> FileText:
    """The text with some of its lines replaced.

    Unchanged lines at the beginning and the end keep their line ends.
    """
    old, ends = text.lines[first:end], text.ends[first:end]
    same = next(
        (at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    rest = min(len(old), len(new)) - same
    same_at_end = next(
        (
            at
            for at, (a, b) in enumerate(zip(old[::-1], new[::-1], strict=False))
            if at == rest or a != b
        ),
        rest,
    )
    usual = ends[0] or text.ends[0] or "\n"
    new_ends = [
        *ends[:same],
        *[usual] * (len(new) - same - same_at_end),
        *ends[len(ends) - same_at_end :],
    ]
    if new:
        new_ends = [one or usual for one in new_ends[:-1]] + [
            ends[-1]
        ]  # only the last line of a file may have no end
    return FileText(
        (*text.lines[:first], *new, *text.lines[end:]),
        (*text.ends[:first], *new_ends, *text.ends[end:]),
        text.encoding,
    )

"""SWE-agent's file tool, ``str_replace_editor``: its calls and their observations.

Nothing runs inside: the tool needs only the sandbox's file calls, so that an image may
have an old Python or none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from srl_envs.sandbox.editor.file_text import FileText
from srl_envs.sandbox.editor.outline import outline
from srl_envs.sandbox.output import valid_unicode
from srl_envs.sandbox.protocol import Sandbox, SandboxFileError

MAX_SHOWN_CHARS = 16_000
"""Of a file or snippet, without line numbers; longer Python files are abbreviated."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""A larger file is not opened: in memory, empty lines take thirty times their size."""

SNIPPET_LINES = 4
"""Lines of context that an insertion shows above and below.

A replacement shows one more above and one fewer below, as in the recordings."""

COMMANDS = ("view", "create", "str_replace", "insert", "undo_edit")

_CLIPPED = (
    "<response clipped><NOTE>To save on context only part of this file has been shown to you. You "
    "should retry this tool after you have searched "
    "inside the file with `grep -n` in order to find the line numbers of what you are looking "
    "for.</NOTE>"
)
_ABBREVIATED_HEAD = (
    "<NOTE>This file is too large to display entirely. Showing abbreviated version. "
    "Please use `str_replace_editor view` with the `view_range` parameter to show selected lines "
    "next.</NOTE>"
)
_ABBREVIATED_TAIL = (
    "<IMPORTANT><NOTE>The above file has been abbreviated. "
    "Please use `str_replace editor view` with `view_range` to look at relevant files in "
    "detail.</NOTE></IMPORTANT>"
)
_INTEGER = r"\s*(-?[0-9]{1,18})\s*"


class EditTool:
    """Runs calls of ``str_replace_editor`` on one sandbox's files; keeps what ``undo_edit`` needs.

    Observations are the recorded ones, but for the terminal's carriage returns and the
    white space at the end. What differs from the recorded tool:

    * Line ends, tabs and bytes outside an edit stay as they are; that tool rewrites the
      whole file with line feeds and without tabs. Text shown with its tabs expanded
      still matches; then the lines that it touches lose their tabs.
    * A folder is listed in sorted order; the recorded order is that of the file system.
    * A file larger than :data:`MAX_FILE_BYTES` is refused.
    * A failure's message, which repeats what was asked for, is clipped as files are.
    * Of several occurrences of an ``old_str`` of many lines the first lines are named;
      that tool names none.
    * An undo history is really kept. Undoing a ``create`` leaves the file as created.
    * A Python file that cannot be split into tokens is shown from its start and
      clipped, as a long file of another kind is. (One of the six recordings shows a
      long Python file so, whatever kept that tool from an outline there.)

    The recordings hold no failed call, no ``insert`` and no ``undo_edit``: these are
    worded as in SWE-agent 1.0. Arguments that are missing or no numbers, which there
    may end in a usage text, are told in the tool's own words for wrong values.

    Args:
        sandbox: Whose files are shown and edited. After its ``reset`` take a new tool:
            the history is of the files before.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._history: defaultdict[str, list[bytes]] = defaultdict(list)

    def run(self, arguments: Mapping[str, str]) -> str:
        """Do one call and return the observation; a wrong call changes nothing, and it says so.

        The observation is always valid Unicode.

        Args:
            arguments: ``command`` and ``path``, and what the command needs:
                ``view_range`` as ``"[1, 40]"``, ``file_text``, ``old_str``,
                ``new_str``, ``insert_line`` as ``"12"``.

        Raises:
            SandboxError: The machinery failed.
        """
        try:
            observation = self._run(arguments).rstrip()
        except _WrongCallError as error:
            observation = _clipped(str(error))
        return valid_unicode(observation)

    def _run(self, arguments: Mapping[str, str]) -> str:
        command = arguments.get("command")
        if command not in COMMANDS:
            wrong = (
                "Parameter `command` is required"
                if command is None
                else f"Unrecognized command {command}"
            )
            allowed = ", ".join(f'"{name}"' for name in COMMANDS)
            raise _WrongCallError(
                f"{wrong}. The allowed commands for the str_replace_editor tool are: {allowed}"
            )
        path = self._absolute(_required(arguments, "path"))
        match command:
            case "view":
                return self._view(path, arguments.get("view_range", ""))
            case "create":
                return self._create(path, _required(arguments, "file_text"))
            case "str_replace":
                return self._str_replace(
                    path, _required(arguments, "old_str"), arguments.get("new_str", "")
                )
            case "insert":
                return self._insert(
                    path, _required(arguments, "insert_line"), _required(arguments, "new_str")
                )
            case _:
                return self._undo_edit(path)

    def _view(self, path: PurePosixPath, view_range: str) -> str:
        text = self._read_unless_folder(path)
        if text is None:
            if view_range:
                raise _WrongCallError(
                    "The `view_range` parameter is not allowed when `path` points to a directory."
                )
            return self._view_folder(path)
        if view_range:
            first, last = _checked_range(view_range, len(text.lines))
            return _numbered("\n".join(text.lines[first - 1 : last]), str(path), first)
        if path.suffix == ".py" and len(text.shown) > MAX_SHOWN_CHARS:
            abbreviated = outline(text.shown)
            if abbreviated is not None:
                return "\n".join(
                    [_ABBREVIATED_HEAD, _clipped(abbreviated.expandtabs()), _ABBREVIATED_TAIL]
                )
        return _numbered(text.shown, str(path))

    def _view_folder(self, path: PurePosixPath) -> str:
        try:
            folder, *entries = self._sandbox.list_files(str(path), depth=2)
        except SandboxFileError as error:
            raise _WrongCallError(
                f"Ran into {_reason(error)} while trying to read {path}"
            ) from error
        below = (entry.removeprefix(folder).rstrip("/") for entry in entries)
        shown = [
            str(path / name)
            for name in below
            if not any(part.startswith(".") for part in name.split("/"))
        ]
        return "\n".join(
            [
                f"Here's the files and directories up to 2 levels deep in {path}, excluding hidden "
                "items:",
                str(path),
                *shown,
            ]
        )

    def _create(self, path: PurePosixPath, file_text: str) -> str:
        if self._kind(path) is not None:
            raise _WrongCallError(
                f"File already exists at: {path}. Cannot overwrite files using command `create`."
            )
        if self._kind(path.parent) is None:
            raise _WrongCallError(
                f"The parent directory {path.parent} does not exist. Please create it first."
            )
        content = _encoded(file_text, "utf-8", path)
        self._write(path, content)
        self._history[str(path)].append(content)
        return f"File created successfully at: {path}"

    def _str_replace(self, path: PurePosixPath, old: str, new: str) -> str:
        text = self._read(path)
        old, new = _line_feeds(old), _line_feeds(new)
        shown = text.shown
        if old not in shown:  # the model copied what it was shown, where tabs are spaces
            shown, old, new = shown.expandtabs(), old.expandtabs(), new.expandtabs()
        occurrences = shown.count(old)
        if not occurrences:
            raise _WrongCallError(
                f"No replacement was performed, old_str `{old}` did not appear verbatim in {path}."
            )
        if occurrences > 1:
            numbers = _lines_with(old, shown)
            raise _WrongCallError(
                f"No replacement was performed. Multiple occurrences of old_str `{old}` in lines "
                f"{numbers}. Please ensure it is unique"
            )
        if new == old:
            raise _WrongCallError(
                f"No replacement was performed, old_str `{old}` is the same as new_str `{new}`."
            )

        start = shown.index(old)
        stop = start + len(old)
        row = shown.count("\n", 0, start)
        line_start, line_stop = shown.rfind("\n", 0, start) + 1, shown.find("\n", stop)
        rest = shown[stop:] if line_stop < 0 else shown[stop:line_stop]
        edited = text.with_lines(
            row, row + old.count("\n"), (shown[line_start:start] + new + rest).split("\n")
        )
        self._edit(path, text, edited)

        first = max(1, row - SNIPPET_LINES)
        last = min(row + SNIPPET_LINES + new.count("\n"), edited.line_count)
        snippet = _numbered(
            "\n".join(edited.lines[first - 1 : last]), f"a snippet of {path}", first
        )
        return (
            f"The file {path} has been edited. {snippet}Review the changes and make sure they are "
            "as expected. Edit the file again if necessary."
        )

    def _insert(self, path: PurePosixPath, insert_line: str, new: str) -> str:
        text = self._read(path)
        number = re.fullmatch(_INTEGER, insert_line)
        row = int(number[1]) if number else -1
        if not 0 <= row <= len(text.lines):
            raise _WrongCallError(
                f"Invalid `insert_line` parameter: {insert_line}. It should be within the range of "
                f"lines of the file: {[0, len(text.lines)]}"
            )
        new_lines = _line_feeds(new).split("\n")
        edited = text.with_inserted(row, new_lines)
        self._edit(path, text, edited)

        first = max(0, row - SNIPPET_LINES)
        snippet = _numbered(
            "\n".join(edited.lines[first : row + len(new_lines) + SNIPPET_LINES]),
            "a snippet of the edited file",
            first + 1,
        )
        return (
            f"The file {path} has been edited. {snippet}Review the changes and make sure they are "
            "as expected "
            "(correct indentation, no duplicate lines, etc). Edit the file again if necessary."
        )

    def _undo_edit(self, path: PurePosixPath) -> str:
        self._read(path)  # the file must be there
        edits = self._history[str(path)]
        if not edits:
            raise _WrongCallError(f"No edit history found for {path}.")
        before = edits[-1]
        self._write(path, before)
        edits.pop()
        shown = _numbered(FileText.of(before).shown, str(path))
        return f"Last edit to {path} undone successfully. {shown}"

    def _absolute(self, path: str) -> PurePosixPath:
        absolute = PurePosixPath(re.sub("^/+", "/", path))
        if not absolute.is_absolute():
            suggestion = PurePosixPath(self._sandbox.workdir) / absolute
            raise _WrongCallError(
                f"The path {absolute} is not an absolute path, it should start with `/`. Maybe you "
                f"meant {suggestion}?"
            )
        if "\0" in path or any(
            "\ud800" <= character <= "\udfff" for character in path
        ):  # no file system has such names
            raise _WrongCallError(f"The path {path!a} does not exist. Please provide a valid path.")
        return absolute

    def _kind(self, path: PurePosixPath) -> Literal["file", "folder"] | None:
        """What is at a path; None if nothing is."""
        try:
            entries = self._sandbox.list_files(str(path), depth=0)
        except SandboxFileError:
            return None
        return "folder" if entries[0].endswith("/") else "file"

    def _read_unless_folder(self, path: PurePosixPath) -> FileText | None:
        try:
            content = self._sandbox.read_file(str(path))
        except SandboxFileError as error:
            kind = self._kind(path)
            if kind == "folder":
                return None
            reason = (
                f"Ran into {_reason(error)} while trying to read {path}"
                if kind
                else f"The path {path} does not exist. Please provide a valid path."
            )
            raise _WrongCallError(reason) from error
        if len(content) > MAX_FILE_BYTES:
            raise _WrongCallError(
                f"Ran into a file of {len(content)} bytes, more than {MAX_FILE_BYTES}, while "
                f"trying to read {path}"
            )
        return FileText.of(content)

    def _read(self, path: PurePosixPath) -> FileText:
        text = self._read_unless_folder(path)
        if text is None:
            raise _WrongCallError(
                f"The path {path} is a directory and only the `view` command can be used on "
                "directories"
            )
        return text

    def _edit(self, path: PurePosixPath, before: FileText, after: FileText) -> None:
        self._write(path, _encoded(after.text, after.encoding, path))
        self._history[str(path)].append(before.text.encode(before.encoding))

    def _write(self, path: PurePosixPath, content: bytes) -> None:
        try:
            self._sandbox.write_file(str(path), content)
        except SandboxFileError as error:
            raise _WrongCallError(
                f"Ran into {_reason(error)} while trying to write to {path}"
            ) from error


class _WrongCallError(Exception):
    """A call that cannot be done; the message is the observation."""


def _reason(error: SandboxFileError) -> str:
    """What the sandbox said, as a part of the tool's sentence."""
    return str(error).strip().removesuffix(".")


def _required(arguments: Mapping[str, str], name: str) -> str:
    if name not in arguments:
        raise _WrongCallError(f"Parameter `{name}` is required for command: {arguments['command']}")
    return arguments[name]


def _checked_range(view_range: str, line_count: int) -> tuple[int, int]:
    """First and last line to show, counted from 1."""
    numbers = re.fullmatch(rf"\s*\[{_INTEGER},{_INTEGER}\]\s*", view_range)
    if numbers is None:
        raise _WrongCallError("Invalid `view_range`. It should be a list of two integers.")
    first, last = int(numbers[1]), int(numbers[2])
    wrong = f"Invalid `view_range`: {[first, last]}. "
    if not 1 <= first <= line_count:
        raise _WrongCallError(
            f"{wrong}Its first element `{first}` should be within the range of lines of the file: "
            f"{[1, line_count]}"
        )
    if last > line_count:
        raise _WrongCallError(
            f"{wrong}Its second element `{last}` should be smaller than the number of lines in the "
            f"file: `{line_count}`"
        )
    if last == -1:
        return first, line_count
    if last < first:
        raise _WrongCallError(
            f"{wrong}Its second element `{last}` should be larger or equal than its first `{first}`"
        )
    return first, last


def _numbered(content: str, what: str, first: int = 1) -> str:
    lines = _clipped(content).expandtabs().split("\n")
    return f"Here's the result of running `cat -n` on {what}:\n" + "".join(
        f"{number:6}\t{line}\n" for number, line in enumerate(lines, first)
    )


def _clipped(content: str) -> str:
    return content if len(content) <= MAX_SHOWN_CHARS else content[:MAX_SHOWN_CHARS] + _CLIPPED


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines_with(wanted: str, text: str) -> list[int]:
    """The numbers of the lines in which an occurrence begins."""
    numbers, number, position = [], 1, 0
    start = text.find(wanted)
    while start >= 0:
        number += text.count("\n", position, start)
        numbers.append(number)
        position, line_end = start, text.find("\n", start)
        start = text.find(wanted, line_end + 1) if line_end >= 0 else -1
    return numbers


def _encoded(text: str, encoding: str, path: PurePosixPath) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise _WrongCallError(f"Ran into {error} while trying to write to {path}") from error

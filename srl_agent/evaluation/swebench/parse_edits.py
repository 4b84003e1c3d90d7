"""The search/replace blocks of an answer: their grammar, and the parser.

An answer is lines of prose and of edits. In EBNF, with ``NL`` for the end of a line::

    answer  = { outside | thought } ;
    thought = "<think>", text, "</think>" ;                     never read, see below
    outside = { block | path line | other line } ;
    block   = search | delete ;
    search  = "<<<<<<< SEARCH", [ note ], NL, { line }, "=======", NL, { line },
              ">>>>>>> REPLACE", NL ;
    delete  = "<<<<<<< DELETE", NL, { blank line }, ">>>>>>> DELETE", NL ;
    note    = "(", text, ")" | ":", number | "line", number | path ;

A marker starts its line, in capitals or not; its arrows, or the divider's signs, are 5
to 9 in number. Blocks may be in code fences or outside.

**Path.** A block belongs to the path in its first line, else to the nearest path line above
it (:mod:`srl_agent.evaluation.swebench.path_lines`). Any other line that names another file
ends the reach of the path before it, so a block below it has no path: it is reported, not
guessed.

**Blocks.** A search block without search lines makes a file that does not exist, or fills
an empty one. An empty replacement removes the lines. A delete block removes the file.
Several blocks may change a file. A block that is not closed before the next one opens,
or before the answer ends, is not an edit. Neither are other ways to write one: markers that
are indented, quoted or of other words, diffs, tags, JSON, and code in fences where there is
nothing else. They are reported as ``unread``. A line like the divider may also belong to the
file (an underlined heading). Then each of them is tried as the divider, and the longest
search text that the file has counts, out of the first 200.

**Thoughts.** A piece of the answer between two tags, or between a tag and an end, is
outside only if there is no ``<think>`` before it and no ``</think>`` after it. So a
thought without its opening tag (prompts may end with it), one that is never closed, and
one in another give no edit. Pieces are read one by one: no block, and no path, reaches
over a thought.

Line ends of the answer count as line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from srl_agent.evaluation.swebench.path_lines import FileNames, path_after
from srl_envs.response import CLOSE, OPEN

EditKind = Literal["search", "delete", "unclosed", "unread"]
Reading = tuple[tuple[str, ...], tuple[str, ...]]
"""Search lines, replacement lines."""

# Each holds the block anew: without a bound, memory grows with the square of an answer of dividers.
_MOST_READINGS = 200
_LONGEST_PATH_LINE = 5000
_TAG = re.compile(f"({re.escape(OPEN)}|{re.escape(CLOSE)})")

_MARKER = re.compile(
    r"(?P<arrows><{5,9}|>{5,9}) ?(?P<word>SEARCH|REPLACE|DELETE)\b(?P<note>.*)", re.IGNORECASE
)
_NOTE = re.compile(r"\([^()]*\)|:\s*\d+(?:\s*-\s*\d+)?|lines?\s+\d+(?:\s*-\s*\d+)?")
_DIVIDER = re.compile(r"={5,9}\s*")
_DIFF = re.compile(
    r"diff --git (?:a/)?(?P<git>\S+) |--- (?P<old>\S+)|@@ |\*\*\* (?:Begin Patch"
    r"|(?:Update|Add|Delete) File: (?P<patched>\S+))"
)
_IN_A_DIFF = re.compile(
    r"[ +\-\\]|@@|index |(?:new|deleted) file mode|(?:old|new) mode|similarity |rename |copy "
    r"|Binary files|GIT binary|\*\*\* |\s*\Z"
)
# Openings of edits in other formats: conflict marks, other words, tags; and JSON.
_FOREIGN = re.compile(
    r"<{3,}\s?(?:SEARCH|ORIGINAL|HEAD|DELETE|OLD|BEFORE)\b|<{5,9}\s"
    r"|-{4,} ?(?:SEARCH|ORIGINAL|DELETE|OLD|BEFORE)\b"
    r"|<(?:search|original|find|old(?:_str|_string|_code)?|parameter=old_str)\b[^<>]*>",
    re.IGNORECASE,
)
_FOREIGN_KEY = re.compile(r"\"(?:search|original|old_str|old_string|old_code)\"\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
    """One block of an answer, as it was written.

    Attributes:
        path: As the path line names it, without Markdown; empty if there is none.
        kind: What it asks for. ``"unclosed"`` and ``"unread"`` are not edits, and are
            kept to be reported: a block without its end, and an edit in another format.
        readings: Of a search block: one for each line that could be the divider, the
            shortest search text first.
    """

    path: str
    kind: EditKind
    readings: tuple[Reading, ...] = ()


def parse_edits(answer: str, files: Collection[str] = ()) -> list[Edit]:
    """The blocks of an answer, in order; see the module for the grammar.

    Args:
        answer: What the model wrote.
        files: Paths of the repository's files. Without them, other lines that name
            one cannot be recognized, and end no path's reach.
    """
    text = answer.replace("\r\n", "\n").replace("\r", "\n")
    names = FileNames(files)
    pieces = [piece.split("\n") for piece in outside_thoughts(text)]
    edits = [edit for lines in pieces for edit in _edits_of(lines, names)]
    if edits:
        return edits
    return [edit for lines in pieces for edit in _fenced_code(lines, names)][:1]


def outside_thoughts(answer: str) -> list[str]:
    """The pieces of an answer that belong to no thought, in order."""
    parts = ["", *_TAG.split(answer), ""]  # tag, piece, tag, piece, ..., tag
    pieces = zip(parts[::2], parts[1::2], parts[2::2], strict=False)
    return [piece for before, piece, after in pieces if before != OPEN and after != CLOSE]


def _edits_of(lines: list[str], files: FileNames) -> Iterator[Edit]:
    path, number = "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        opening, note = _marker(line, files)
        if opening in ("<SEARCH", "<DELETE"):
            path = path_after(note, path, files)
            end = next(
                (
                    at
                    for at in range(number, len(lines))
                    if _marker(lines[at], files)[0] not in ("", ">SEARCH")
                ),
                len(lines),
            )
            closing = _marker(lines[end], files)[0] if end < len(lines) else ""
            yield _block(path, line, opening + closing, lines[number:end])
            number = end if closing.startswith("<") else end + 1
        elif diff := _diff_at(lines, number - 1):
            named = diff["git"] or diff["old"] or diff["patched"] or path
            yield Edit(files.in_repository(named.removeprefix("a/")), "unread")
            path = ""
            while number < len(lines) and _IN_A_DIFF.match(lines[number]):
                if (head := _diff_at(lines, number)) and (head["git"] or head["patched"]):
                    break
                number += 1
        elif _FOREIGN.match(line.lstrip("> \t")) or _FOREIGN_KEY.search(line):
            yield Edit(path, "unread")
        else:
            path = path_after(line, path, files)


def _diff_at(lines: list[str], number: int) -> re.Match[str] | None:
    """The head of a diff, or of one of its hunks, if a line is one."""
    found = _DIFF.match(lines[number])
    if found and found["old"]:
        below = lines[number + 1] if number + 1 < len(lines) else ""
        return found if below.startswith("+++ ") else None
    return found


def _fenced_code(lines: list[str], files: FileNames) -> Iterator[Edit]:
    """The code in fences of an answer without any edit, one for each fence, not read."""
    path = ""
    for line in lines:
        path = path_after(line, path, files)
        if line.lstrip().startswith("```"):
            yield Edit(path, "unread")


def _marker(line: str, files: FileNames) -> tuple[str, str]:
    """``<SEARCH``, ``>REPLACE``, ... and what is said behind it; empty for any other line."""
    found = _MARKER.fullmatch(line) if line.startswith(("<<<<<", ">>>>>")) else None
    if not found:
        return "", ""
    note = found["note"].strip()
    said = note.removeprefix(":").strip()
    said = said[1:-1].strip() if said.startswith("(") and said.endswith(")") else said
    if note and not _NOTE.fullmatch(note) and not path_after(said, "", files):
        return "", ""
    return found["arrows"][0] + found["word"].upper(), said


def _block(path: str, opening: str, markers: str, body: list[str]) -> Edit:
    if markers == "<DELETE>DELETE" and not any(line.strip() for line in body):
        return Edit(path, "delete")
    lengths = {
        number: len(line.rstrip()) for number, line in enumerate(body) if _DIVIDER.fullmatch(line)
    }
    if markers != "<SEARCH>REPLACE" or not lengths:
        return Edit(path, "unclosed")
    arrows = len(opening) - len(opening.lstrip("<"))
    # A line of another length belongs to the file if there is a divider of the marker's length.
    dividers = [number for number, length in lengths.items() if length == arrows] or list(lengths)
    return Edit(
        path,
        "search",
        tuple(
            (tuple(body[:number]), tuple(body[number + 1 :]))
            for number in dividers[:_MOST_READINGS]
        ),
    )

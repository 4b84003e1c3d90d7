"""The search/replace blocks of an answer: their grammar, and the parser.

An answer is lines of prose and of edits. In EBNF, with ``NL`` for the end of a line::

    answer    = { outside | thought } ;
    thought   = "<think>", text, "</think>" ;                    never read, see below
    outside   = { block | path line | other line } ;
    block     = search | delete ;
    search    = "<<<<<<< SEARCH", NL, { line }, "=======", NL, { line }, ">>>>>>> REPLACE", NL ;
    delete    = "<<<<<<< DELETE", NL, { blank line }, ">>>>>>> DELETE", NL ;
    path line = [ "#" .. "######" | "-" | "*" | "+" | number, "." ], [ "**" ], [ "File:" | "Path:" | "Filename:" ], path, [ "**" ], [ ":" ], NL ;
    path      = "`", text, "`" | '"', text, '"' | "'", text, "'" | word ;

A marker stands at the start of its line, with nothing but white space behind it. Other
lines have no meaning: blocks may stand in code fences or outside.

**Path.** A block belongs to the nearest path line above it. A word without quotes or
label is a path only if it holds ``/`` or ``.`` and ends in no full stop; letters,
digits and ``_ . / + @ -`` make a word, any other path must be quoted.

**Blocks.** A search block with an empty search text (blank lines at most) makes a file
that is not there, or fills one that is empty. An empty replacement takes the lines
away. A delete block removes the file. Several blocks may change a file. A block that is
not closed before the next one opens, or before the answer ends, is no edit. A line like
the divider may also belong to the file (an underlined heading): then each of them is
tried as the divider, and the longest search text that the file has counts; of very many
(an answer that goes round in a circle) only the first 200 are tried.

**Thoughts.** A piece of the answer between two tags, or between a tag and an end, is
outside only if no ``<think>`` stands before it and no ``</think>`` after it. So a
thought without its opening tag (prompts may end with it), one that is never closed, and
one in another give no edit. Pieces are read one by one: no block, and no path, reaches
over a thought.

Line ends of the answer count as line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from srl_envs.response import CLOSE, OPEN

SEARCH, DIVIDER, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
DELETE, DELETED = "<<<<<<< DELETE", ">>>>>>> DELETE"

EditKind = Literal["search", "delete", "unclosed"]
Reading = tuple[tuple[str, ...], tuple[str, ...]]
"""Search lines, replacement lines."""

# Each holds the block anew: without a bound, memory grows with the square of an answer of dividers.
_MOST_READINGS = 200
_TAG = re.compile(f"({re.escape(OPEN)}|{re.escape(CLOSE)})")
_PATH_LINE = re.compile(
    r"(?:\#{1,6}\s+|[-*+]\s+|\d{1,3}[.)]\s+)?(?:\*\*)?"
    r"(?P<label>(?:file|path|filename)\s*:\s*(?:\*\*\s*)?)?"
    r"(?:(?P<quote>[`\"'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)|(?P<word>[\w./+@-]+))"
    r"(?:\*\*)?\s*:?(?:\*\*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One block of an answer, as it was written.

    Attributes:
        path: As the path line names it, without Markdown; empty if there is none.
        kind: What it asks for; ``"unclosed"`` is no edit, and is kept to be reported.
        readings: Of a search block: one for each line that could be the divider, the
            shortest search text first.
    """

    path: str
    kind: EditKind
    readings: tuple[Reading, ...] = ()


def parse_edits(answer: str) -> list[Edit]:
    """The blocks of an answer, in order; see the module for the grammar."""
    text = answer.replace("\r\n", "\n").replace("\r", "\n")
    return [edit for piece in outside_thoughts(text) for edit in _edits_of(piece.split("\n"))]


def outside_thoughts(answer: str) -> list[str]:
    """The pieces of an answer that belong to no thought, in order."""
    parts = ["", *_TAG.split(answer), ""]  # tag, piece, tag, piece, ..., tag
    pieces = zip(parts[::2], parts[1::2], parts[2::2], strict=False)
    return [piece for before, piece, after in pieces if before != OPEN and after != CLOSE]


def _edits_of(lines: list[str]) -> Iterator[Edit]:
    path, number = "", 0
    while number < len(lines):
        marker = lines[number].rstrip()
        number += 1
        if marker not in (SEARCH, DELETE):
            path = _path_of(marker) or path
            continue
        end = next(
            (
                at
                for at in range(number, len(lines))
                if lines[at].rstrip() in (SEARCH, DELETE, REPLACE, DELETED)
            ),
            len(lines),
        )
        closing = lines[end].rstrip() if end < len(lines) else ""
        yield _block(path, marker + closing, lines[number:end])
        number = end if closing in (SEARCH, DELETE) else end + 1


def _block(path: str, markers: str, body: list[str]) -> Edit:
    if markers == DELETE + DELETED and not any(line.strip() for line in body):
        return Edit(path, "delete")
    dividers = [number for number, line in enumerate(body) if line.rstrip() == DIVIDER]
    if markers != SEARCH + REPLACE or not dividers:
        return Edit(path, "unclosed")
    return Edit(
        path,
        "search",
        tuple(
            (tuple(body[:number]), tuple(body[number + 1 :]))
            for number in dividers[:_MOST_READINGS]
        ),
    )


def _path_of(line: str) -> str:
    """The path that a line names; empty if it names none."""
    found = _PATH_LINE.fullmatch(line.strip())
    if not found:
        return ""
    if found["quoted"]:
        return found["quoted"].strip()
    word = found["word"]
    return word if found["label"] or (re.search("[./]", word) and not word.endswith(".")) else ""

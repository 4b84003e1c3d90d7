"""The search/replace blocks of an answer: their grammar, and the parser.

An answer is lines of prose and of edits. In EBNF, with ``NL`` for the end of a line::

    answer  = { outside | thought } ;
    thought = "<think>", text, "</think>" ;                     never read, see below
    outside = { block | path line | other line } ;
    block   = search | delete ;
    search  = "<<<<<<< SEARCH", [ note ], NL, { line }, "=======", NL, { line },
              ">>>>>>> REPLACE", NL ;
    delete  = "<<<<<<< DELETE", NL, { blank line }, ">>>>>>> DELETE", NL ;
    note    = "(", text, ")" | ":", number | "line", number ;

A marker starts its line; its arrows, or the divider's signs, are 5 to 9 in number. Blocks
may be in code fences or outside.

**Path.** A block belongs to the nearest path line above it. These are path lines::

    `p`   "p"   p   p:12   p (lines 3-9)   ./p   /testbed/p   a/p
    ### 2. `p`   - **p**:   --- p   // p   <!-- p -->   === p ===
    File: p   **Path:** `p`   File `p`:   File 2: p   In `p`:   Changes to `p`:
    ```python p   ```p   <file path="p">   <path>p</path>   [start of p]

A word without quotes or label is a path only if it has ``/`` or ``.`` and does not end in
a full stop. Any other line that names another file of the repository ends the reach of
the path before it, so a block below it has no path: it is reported, not guessed.

**Blocks.** A search block without search lines makes a file that does not exist, or fills
an empty one. An empty replacement removes the lines. A delete block removes the file.
Several blocks may change a file. A block that is not closed before the next one opens,
or before the answer ends, is not an edit; neither is one whose marker is indented, and
neither is a git diff. They are reported. A line like the divider may also belong to the
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

from srl_envs.response import CLOSE, OPEN

EditKind = Literal["search", "delete", "unclosed", "unread"]
Reading = tuple[tuple[str, ...], tuple[str, ...]]
"""Search lines, replacement lines."""

# Each holds the block anew: without a bound, memory grows with the square of an answer of dividers.
_MOST_READINGS = 200
_LONGEST_PATH_LINE = 5000
_TAG = re.compile(f"({re.escape(OPEN)}|{re.escape(CLOSE)})")

_MARKER = re.compile(
    r"(?P<arrows><{5,9}|>{5,9}) ?(?P<word>SEARCH|REPLACE|DELETE)"
    r"(?:\s*(?:\([^()]*\)|:\s*\d+(?:\s*-\s*\d+)?|lines?\s+\d+(?:\s*-\s*\d+)?))?\s*"
)
_DIVIDER = re.compile(r"={5,9}\s*")
_DIFF = re.compile(r"diff --git (?:a/)?(?P<path>\S+) ")

_QUOTED = r"(?:(?P<quote>[`\"'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)|(?P<word>[\w./+@-]+))"
_PLACE = (
    r"(?:\s*(?::\d+(?:[-:]\d+)?|\#L\d+(?:-L?\d+)?|,?\s*lines?\s+\d+(?:\s*-\s*\d+)?|\([^()]*\)))?"
)
_PATH = re.compile(rf"{_QUOTED}{_PLACE}")
_LABEL = re.compile(
    r"(?:(?:new|modified|updated|changed|edited)\s+)?"
    r"(?:file\s?path|file\s?name|file|path)(?:\s+\d{1,3})?\s*(?P<colon>[:=])?\s*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:(?:first|then|now|next|finally|also|and)\s*,?\s+)?"
    r"(?:in|edit|update|modify|change|changes\s+(?:to|in|for)|fix|patch|create|add|delete|remove)"
    r"\s+(?:the\s+)?(?:new\s+)?(?:file\s+|module\s+)?",
    re.IGNORECASE,
)
# Signs around a path, each taken off as long as there is one: a heading, a list item, a comment,
# a line of a diff's head, a rule.
_BEFORE = re.compile(r"(?:\#{1,6}|[-*+>]|\d{1,3}[.)]|//|/\*|<!--|-{3}|\+{3}|={2,7})\s+|\*\*|__")
_AFTER = re.compile(r"(?:\s+(?:\#{1,6}|\*/|-->|-{3}|={2,7})|\*\*|__|\s*:)\Z")
_ELEMENTS = (
    re.compile(
        r"<(?:file|edit|change|path|document)\s+(?:path|name|file|filename|src)=[\"'](?P<path>[^\"'<>]+)"
        r"[\"']\s*>",
        re.IGNORECASE,
    ),
    re.compile(
        r"<(?P<name>file|path|filename|file_path|file_name)>\s*(?P<path>[^<>]+?)\s*</(?P=name)>",
        re.IGNORECASE,
    ),
    re.compile(r"\[start of (?P<path>[^\[\]]+)\]", re.IGNORECASE),
)
_ENDS_REACH = re.compile(r"</(?:file|edit|change|document)>|\[end of [^\[\]]+\]", re.IGNORECASE)
_FENCE = re.compile(r"(?:`{3,}|~{3,})\s*(?P<info>[^`]*)")
_FENCE_NAME = re.compile(r"(?:title|file|filename|path|name)\s*=\s*[\"']?(?P<path>[^\"'\s]+)[\"']?")
_MENTION = re.compile(r"[\w./+@-]+")


@dataclass(frozen=True, slots=True)
class Edit:
    """One block of an answer, as it was written.

    Attributes:
        path: As the path line names it, without Markdown; empty if there is none.
        kind: What it asks for. ``"unclosed"`` and ``"unread"`` are not edits, and are
            kept to be reported: a block without its end, and a block whose marker is
            indented or a git diff.
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
    names = _FileNames(files)
    return [
        edit for piece in outside_thoughts(text) for edit in _edits_of(piece.split("\n"), names)
    ]


def outside_thoughts(answer: str) -> list[str]:
    """The pieces of an answer that belong to no thought, in order."""
    parts = ["", *_TAG.split(answer), ""]  # tag, piece, tag, piece, ..., tag
    pieces = zip(parts[::2], parts[1::2], parts[2::2], strict=False)
    return [piece for before, piece, after in pieces if before != OPEN and after != CLOSE]


class _FileNames:
    """Which words name a file of the repository."""

    def __init__(self, files: Collection[str]) -> None:
        self._files = files
        self._last_parts = {path.rpartition("/")[2] for path in files}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def others(self, line: str, path: str) -> bool:
        """Whether a line names a file, whole or by its last part, that ``path`` is not."""
        for mention in _MENTION.findall(line):
            word = self.in_repository(mention.strip(".")) if "." in mention else mention
            if word == path or path.endswith(f"/{word}"):
                continue
            if ("/" in word and word in self._files) or ("." in word and word in self._last_parts):
                return True
        return False

    def in_repository(self, path: str) -> str:
        """A path as the repository has it: without ``./``, ``/testbed/`` or a diff's ``a/``.

        What may be another file's name is left as it is.
        """
        path = path.removeprefix("/testbed/")
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        for side in ("a/", "b/"):
            if path not in self._files and path.removeprefix(side) in self._files:
                return path.removeprefix(side)
        return path


def _edits_of(lines: list[str], files: _FileNames) -> Iterator[Edit]:
    path, number = "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if (opening := _marker(line)) not in ("<SEARCH", "<DELETE"):
            if diff := _DIFF.match(line):
                yield Edit(diff["path"], "unread")
                path = ""
            elif _marker(line.lstrip()) in ("<SEARCH", "<DELETE"):
                yield Edit(path, "unread")
            else:
                path = _path_after(line, path, files)
            continue
        end = next(
            (at for at in range(number, len(lines)) if _marker(lines[at]) not in ("", ">SEARCH")),
            len(lines),
        )
        closing = _marker(lines[end]) if end < len(lines) else ""
        yield _block(path, line, opening + closing, lines[number:end])
        number = end if closing.startswith("<") else end + 1


def _marker(line: str) -> str:
    """``<SEARCH``, ``>REPLACE``, ...; empty for any other line."""
    if not line.startswith(("<<<<<", ">>>>>")):
        return ""
    found = _MARKER.fullmatch(line)
    return found["arrows"][0] + found["word"] if found else ""


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


def _path_after(line: str, path: str, files: _FileNames) -> str:
    """The path that blocks below a line belong to, if it is ``path`` above it."""
    text = line.strip()
    if not text or len(text) > _LONGEST_PATH_LINE:
        return path
    if _ENDS_REACH.fullmatch(text):
        return ""
    if named := _path_of(text, files):
        return files.in_repository(named)
    return "" if files.others(text, path) else path


def _path_of(text: str, files: _FileNames) -> str:
    """The path that a line names; empty if it is not a path line."""
    for element in _ELEMENTS:
        if found := element.fullmatch(text):
            return found["path"].strip()
    if found := _FENCE.fullmatch(text):
        return _path_of_fence(found["info"], files)
    while found := _BEFORE.match(text):
        text = text[found.end() :]
    plain = _without_end(text)
    label = _LABEL.match(plain)
    has_label = label is not None and (
        label["colon"] is not None or plain[label.end() :][:1] in "`'\""
    )
    lead = label if label and has_label else _LEAD.match(plain)
    for start in {lead.end() if lead else 0, 0}:
        rest = plain[start:].removeprefix("**").strip()
        if not (found := _PATH.fullmatch(rest)):
            continue
        if found["quoted"]:
            quoted = found["quoted"].strip()
            return quoted if quoted in files else re.sub(r":\d+([-:]\d+)?\Z", "", quoted)
        word = found["word"]
        if (has_label and start) or (re.search("[./]", word) and not word.endswith(".")):
            return word
    return ""


def _without_end(text: str) -> str:
    """A line without the signs that close a heading, a comment or an introduction."""
    while found := _AFTER.search(text):
        text = text[: found.start()]
    return text.strip()


def _path_of_fence(info: str, files: _FileNames) -> str:
    """The path in the words after a fence's marks: a language, a path, or both."""
    if named := _FENCE_NAME.search(info):
        return named["path"]
    words = re.split(r"[\s:]+", info.strip(), maxsplit=2)
    if len(words) == 1:  # a language, unless the repository says otherwise
        word = files.in_repository(words[0])
        return word if "/" in word or word in files else ""
    word = words[1].strip("`\"'")
    return word if len(words) == 2 and re.search("[./]", word) else ""

"""Which file a line of an answer names: the path lines of search/replace blocks.

These are path lines, ``p`` being a path::

    `p`   "p"   p   p:12   p (lines 3-9)   ./p   /testbed/p   a/p   [p](address)
    ### 2. `p`   - **p**:   --- p   // p   -- p   <!-- p -->   === p ===   `p` - why
    File: p   **Path:** `p`   File `p`:   File 2: p   In `p`:   Changes to `p`:   Fix in `p`
    ```python p   ```p   ```python:p:12   <file path="p">   <path>p</path>   [start of p]
    [p]   *p*   ----- p -----   文件：p   Fichier : p   /workspace/p   `p`::name

A word without quotes or label is a path only if it has ``/`` or ``.`` and does not end in
a full stop.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_LONGEST_PATH_LINE = 5000
_QUOTED = r"(?:(?P<quote>[`\"'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)|(?P<word>[\w./+@-]+))"
_PLACE = (
    r"(?:\s*(?::L?\d+(?:[-:]L?\d+)?|::[\w.:\[\]-]+"
    r"|\#L\d+(?:-L?\d+)?|,?\s*lines?\s+\d+(?:\s*-\s*\d+)?|\([^()]*\)))?"
)
_PATH = re.compile(rf"{_QUOTED}{_PLACE}")
_LABEL = re.compile(
    r"(?:(?:new|modified|updated|changed|edited)\s+)?"
    r"(?:file\s?path|file\s?name|file|path|fichier|datei|archivo|arquivo|файл|文件(?:路径|名)?|ファイル)"
    r"(?:\s+\d{1,3})?(?:\*\*|__)?\s*(?P<colon>[:=：]|[-–—]\s)?\s*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:(?:first|then|now|next|finally|also|and)\s*,?\s+)?"
    r"(?:here(?:'s|\s+is|\s+are)\s+)?(?:the\s+)?"
    r"(?:in|to|for|(?:edits?|updates?|modify|changes?|fix(?:es)?|patch|create|add|delete|remove)"
    r"(?:\s+(?:to|in|for|of))?)"
    r"\s+(?:the\s+)?(?:new\s+)?(?:file\s+|module\s+)?",
    re.IGNORECASE,
)
# Signs around a path, each taken off as long as there is one: a heading, a list item, a comment,
# a line of a diff's head, a rule, an arrow or another symbol.
_BEFORE = re.compile(
    r"(?:\#{1,6}|\d{1,3}[.)]|>|//|/\*|<!--|={2,7}|[^\w\s`\"'.,/()\[\]<>]{1,3})\s+|\*\*|__"
)
_AFTER = re.compile(r"(?:\s+(?:\#{1,6}|\*/|-->|-{3}|={2,7})|\*\*|__|\s*:)\Z")
_LINK = re.compile(r"\[([^\[\]]+)\]\([^()]*\)")
_DASH = re.compile(r" [-–—]{1,3} ")
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
_OTHER_FILE = re.compile(r"\b(?:second|third|fourth|next|other|another|last) file\b", re.IGNORECASE)
_AROUND = "`*_:#[](){}<>|,;.…“”«»\"'-=+> \t："
"""Signs around a path that is all that a line says."""
_FENCE = re.compile(r"(?:`{3,}|~{3,})\s*(?P<info>[^`]*)")
_FENCE_NAME = re.compile(r"(?:title|file|filename|path|name)\s*=\s*[\"']?(?P<path>[^\"'\s{},]+)")
_MENTION = re.compile(r"[\w./+@-]+")
_FILE = re.compile(r"(?P<folders>(?:[\w.+@-]+/)*)[\w+@-][\w.+@-]*?\.(?P<suffix>[A-Za-z]\w*)")
# Of names without a folder: other suffixes may be attributes, such as response.json.
_SUFFIXES = ("py", "pyi", "pyx", "cfg", "ini", "md", "rst", "toml", "txt")


class FileNames:
    """Which words name a file of the repository."""

    def __init__(self, files: Collection[str]) -> None:
        self._files = files
        self._last_parts = {path.rpartition("/")[2] for path in files}
        self._suffixes = {part.rpartition(".")[2] for part in self._last_parts if "." in part}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def mentioned(self, text: str) -> list[str]:
        """The words of a text that could be paths, as :meth:`in_repository` gives them."""
        return [self.in_repository(word.strip(".")) for word in _MENTION.findall(text)]

    def others(self, line: str, path: str) -> bool:
        """Whether a line names a file that ``path`` is not.

        It is a file of the repository, whole or by its last part, or looks like one.
        """
        for mention in _MENTION.findall(line):
            word = self.in_repository(mention.strip(".")) if "." in mention else mention
            if word == path or path.endswith(f"/{word}") or word.endswith(f"/{path}"):
                continue
            if self._module(word) not in ("", path):
                return True
            if word in self._files and ("/" in word or "." in word or word.endswith("file")):
                return True
            if "." in word and (word in self._last_parts or self._looks_like_a_file(word)):
                return True
        return False

    def _module(self, word: str) -> str:
        """The file of a dotted name such as ``package.module``; empty if there is none."""
        name = f"{word.replace('.', '/')}.py" if "." in word else ""
        return name if name in self._files else ""

    def _looks_like_a_file(self, word: str) -> bool:
        found = _FILE.fullmatch(word)
        if not found or found["suffix"] not in self._suffixes:
            return False
        return bool(found["folders"]) or found["suffix"] in _SUFFIXES

    def in_repository(self, path: str) -> str:
        """A path as the repository has it: without ``./``, ``/testbed/`` or a diff's ``a/``.

        What may be another file's name is left as it is.
        """
        path = path.removeprefix("/testbed/")
        if path.startswith("/"):  # of another machine, or of an address
            parts = path.split("/")
            ends = ["/".join(parts[start:]) for start in range(1, len(parts) - 1)]
            path = next((end for end in ends if end in self._files), path)
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        for side in ("a/", "b/"):
            if path not in self._files and path.removeprefix(side) in self._files:
                return path.removeprefix(side)
        return path


def path_after(line: str, path: str, files: FileNames) -> str:
    """The path that blocks below a line belong to, if it is ``path`` above it.

    Empty where the line names another file and is not a path line.
    """
    text = line.strip()
    if not text or len(text) > _LONGEST_PATH_LINE:
        return path
    if _ENDS_REACH.fullmatch(text):
        return ""
    if (alone := text.strip(_AROUND)) in files and not text.startswith("```"):
        return alone
    if named := _path_of(text, files):
        return files.in_repository(named)
    return "" if _OTHER_FILE.search(text) or files.others(text, path) else path


def _path_of(text: str, files: FileNames) -> str:
    """The path that a line names; empty if it is not a path line."""
    for element in _ELEMENTS:
        if found := element.fullmatch(text):
            return found["path"].strip()
    if found := _FENCE.fullmatch(text):
        return _path_of_fence(found["info"], files)
    while found := _BEFORE.match(text):
        text = text[found.end() :]
    plain = _without_end(_LINK.sub(r"\1", text))
    if named := _named_by(plain, files):
        return named
    start, *why = _DASH.split(" ".join(plain.split()), maxsplit=1)
    named = _named_by(_without_end(start), files) if why else ""
    sure = files.in_repository(named) in files and not files.others(why[0], named)
    return named if sure else ""


def _named_by(plain: str, files: FileNames) -> str:
    """The path that a text consists of, behind a label or a few words; else empty."""
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


def _path_of_fence(info: str, files: FileNames) -> str:
    """The path in the words after a fence's marks: a language, a path, or both."""
    if named := _FENCE_NAME.search(info):
        return named["path"]
    words = re.split(r"[\s:]+", re.sub(r":\d+(?:-\d+)?\Z", "", info.strip()), maxsplit=2)
    if len(words) == 1:  # a language, unless the repository says otherwise
        word = files.in_repository(words[0])
        return word if "/" in word or word in files else ""
    word = words[1].strip("`\"'")
    return word if len(words) == 2 and re.search("[./]", word) else ""

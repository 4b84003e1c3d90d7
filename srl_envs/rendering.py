"""Two texts side by side, for a terminal."""

from __future__ import annotations

import re
import unicodedata
from itertools import zip_longest

COLUMN = 58
_CONTROLS = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421}
    | {code: 0xFFFD for code in (*range(0x80, 0xA0), *range(0xD800, 0xE000))}
)
"""Control characters as their pictures: no text steers the terminal. Lone surrogates, too."""


def side_by_side(heading: str, model: str, expert: str) -> str:
    """The model's step left, the expert's right, in columns of 58 characters under one heading."""
    rows = zip_longest(
        ["model", "-" * COLUMN, *_wrapped(model)],
        ["expert", "-" * COLUMN, *_wrapped(expert)],
        fillvalue="",
    )
    return "\n".join(
        [
            heading,
            *(f"{left}{' ' * (COLUMN - width(left))} | {right}".rstrip() for left, right in rows),
        ]
    )


def width(text: str) -> int:
    """How many columns of a terminal a text takes.

    Wide characters (Unicode annex 11) take two, combining ones and format characters none.
    """
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _wrapped(text: str) -> list[str]:
    return [
        piece
        for line in text.splitlines()
        for piece in _lines(line.expandtabs(4).translate(_CONTROLS))
    ]


def _lines(line: str) -> list[str]:
    """A line in pieces of at most ``COLUMN`` columns, cut behind white space where there is any."""
    pieces: list[str] = []
    piece, used = "", 0
    for word in re.findall(r"\s+|\S+", line):
        if piece.strip() and used + width(word) > COLUMN and not word.isspace():
            pieces, piece, used = [*pieces, piece], "", 0
        for character in word:
            if used + _width(character) > COLUMN:
                pieces, piece, used = [*pieces, piece], "", 0
            piece, used = piece + character, used + _width(character)
    return [*pieces, piece]

"""Two texts side by side, for a terminal."""

from __future__ import annotations

import textwrap
from itertools import zip_longest

COLUMN = 58


def side_by_side(heading: str, model: str, expert: str) -> str:
    """The model's step left, the expert's right, under one heading; columns of 58 characters."""
    rows = zip_longest(["model", "-" * COLUMN, *_wrapped(model)], ["expert", "-" * COLUMN, *_wrapped(expert)], fillvalue="")
    return "\n".join([heading, *(f"{left:<{COLUMN}} | {right}".rstrip() for left, right in rows)])


def _wrapped(text: str) -> list[str]:
    return [piece for line in text.splitlines() for piece in textwrap.wrap(line, COLUMN, drop_whitespace=False) or [""]]

r"""The forms of final answers: brackets, lists, matrices, equations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from srl_envs.answers.notation import bare, plain_notation

_OPENING, _CLOSING = "([{", ")]}"
_WORD_BETWEEN = r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"

COMMA = re.compile(r"[,;]")
ORDER = re.compile(r"\\(?:le|ge|neq)(?![A-Za-z])|<|>")
BETWEEN = re.compile(rf"\s*(?:[,;]\s*)?{_WORD_BETWEEN}\s*|[,;]")
_NOT_IN_A_NUMBER = re.compile(
    rf",(?!\d{{3}}(?!\d))|(?<!\d),|;|\s*(?:,\s*)?{_WORD_BETWEEN}\s*"
)  # a comma that does not part thousands
_SEMICOLON = re.compile(";")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_MATRIX = re.compile(
    r"\[?\s*\\begin\{(?P<kind>[pbB]?(?:small)?matrix|array)\}(?:\{[^{}]*\})?(?P<rows>.*)"
    r"\\end\{(?P=kind)\}\s*\]?",
    re.DOTALL,
)
_TRANSPOSED = re.compile(
    r"(?P<inner>[(\[].*,.*[)\]]|\[?\s*\\begin.*\})"
    r"\s*\^\s*\{?\s*(?:\\text\{T\}|T|\\top|\\intercal)\s*\}?",
    re.DOTALL,
)
_ONE_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_NAME_OF_SET = re.compile(r"^[A-Za-z]\s*(?:\\in(?![A-Za-z])|=)\s*(?=\\\{)")
_ROW_END = re.compile(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])")

_EQUALS = re.compile(r"(?<![<>!:\\])=|:=|\\(?:approx|equiv)(?![A-Za-z])")
_NAME = re.compile(
    # x, \theta, X_d, y'
    r"(?:\\(?!infty|pi|frac|sqrt|text|emptyset)[A-Za-z]+\s*|[A-Za-z]'*)(?:_(?:\w|\{[^{}]*\}))?'*"
    # f(x), f^{-1}(x)
    r"(?:(?:\^\s*\{?-1\}?\s*)?\(\s*[A-Za-z\\]+(?:\s*,\s*[A-Za-z\\]+)*\s*\))?"
    r"|\|\s*[A-Za-z]\s*\|"
)
_LONG_NAME = re.compile(
    r"\\text\{[^{}]*\}|\[?[A-Z]{2,5}\]?|\|[A-Z]{1,3}\|"  # \text{Area}, AB, [ABC], |AB|
    r"|m?\s*(?:\\(?:angle|triangle|overline|widehat|vec|hat|cos|sin|tan|log|ln|gcd|lcm|max|min|det)\s*)+"
    r"[{(]?[A-Za-z]{1,5}(?:\s*,\s*[A-Za-z])*[})]?"  # \angle ABC
    r"|\\frac\s*\{\s*d?\s*[A-Za-z]{1,3}\s*\}\s*\{\s*d?\s*[A-Za-z]{1,3}\s*\}"  # \frac{NO}{BO}
    r"|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\)|[A-Za-z]\([^()=]*\)"  # (x, y), P(2)
)
_SUM = re.compile(r"[A-Za-z](?:_\w)?(?:\s*\+\s*[A-Za-z](?:_\w)?)+")


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts of a text between separators that are outside all brackets."""
    parts, start, depth, at = [], 0, 0, 0
    while at < len(text):
        if text[at] in _OPENING:
            depth += 1
        elif text[at] in _CLOSING:
            depth -= 1
        elif depth == 0 and (match := separator.match(text, at)) and match.end() > at:
            parts.append(text[start:at].strip())
            start = at = match.end()
            continue
        at += 1
    return [*parts, text[start:].strip()]


def closes_at_end(text: str) -> bool:
    """Whether the bracket that opens a text closes at its end; ``[2, 7)`` is closed too."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if depth == 0:
            return at == len(text) - 1
    return False


def unwrapped(text: str) -> str:
    """Without parentheses around all of it, unless they hold a tuple."""
    text = text.strip()
    while (
        text.startswith("(")
        and text.endswith(")")
        and closes_at_end(text)
        and len(split(text[1:-1], COMMA)) == 1
    ):
        text = text[1:-1].strip()
    return text


class Elements(NamedTuple):
    r"""The elements of a list.

    Attributes:
        kind: ``set`` (``\{1, 2\}``), ``tuple``, ``bracket`` (``[1, 2]``), or ``list``
            without brackets.
        parts: The elements, as they are written.
    """

    kind: str
    parts: list[str]


def elements_of(text: str) -> Elements | None:
    """The elements of a list, set or tuple; None if a text is none of these."""
    if (match := _ONE_TEXT.fullmatch(text)) is not None:
        text = match[1]
    if (match := _TRANSPOSED.fullmatch(text)) is not None:  # a column is also a tuple
        text = match["inner"].strip()
    text = _NAME_OF_SET.sub("", text)
    kind, inner = "list", text
    if text != r"\emptyset" and is_set(text):
        kind, inner = "set", text[2:-2]
    elif text.startswith(r"\langle") and text.endswith(r"\rangle"):
        kind, inner = "tuple", text[7:-7]
    elif text[:1] + text[-1:] in ("()", "[]") and closes_at_end(text):
        kind, inner = "tuple" if text[0] == "(" else "bracket", text[1:-1]
    parts = [value for part in _separated(inner) for value in _plus_and_minus(part)]
    if (kind == "list" and len(parts) == 1) or not all(parts):
        return None
    return Elements(kind, parts)


def is_set(text: str) -> bool:
    r"""Whether a text is one set: ``\{1\}`` or ``\emptyset``."""
    text = text.strip()
    return text == r"\emptyset" or (
        text.startswith(r"\{") and text.endswith(r"\}") and closes_at_end(text[1:-2] + "}")
    )


def _separated(text: str) -> list[str]:
    """The elements of a text without brackets: semicolons part lists that have commas."""
    if ";" in text and "," in text and len(parts := split(text, _SEMICOLON)) > 1:
        return parts
    thousands = re.search(r",\s", text) is not None  # "1,000, 2,000", but "1,2" and "100,200"
    return [part for part in split(text, _NOT_IN_A_NUMBER if thousands else BETWEEN) if part]


def _plus_and_minus(text: str) -> list[str]:
    r"""``a \pm b`` as its two values."""
    if len(_PLUS_MINUS.findall(text)) != 1:
        return [text]
    left, right = _PLUS_MINUS.split(text)
    return [f"{left}+{right}" if left.strip() else right.strip(), f"{left}-{right}"]


def cells_of(text: str) -> list[list[str]] | None:
    """The rows of a matrix in plain notation; None if a text is not one."""
    transposed = _TRANSPOSED.fullmatch(text)
    match = _MATRIX.fullmatch(transposed["inner"] if transposed else text)
    if match is None:
        return None
    rows = [row for row in _ROW_END.split(match["rows"]) if row.strip()]
    cells = [[plain_notation(cell) for cell in row.split("&")] for row in rows]
    if transposed and len(set(map(len, cells))) == 1:
        return [list(column) for column in zip(*cells, strict=True)]
    return None if transposed else cells


def listed_rows(text: str) -> list[list[str]] | None:
    """The rows of ``[[1, 2], [3, 4]]``, which beside a matrix is one."""
    rows = elements_of(text)
    if rows is None or rows.kind != "bracket":
        return None
    cells = [row for part in rows.parts if (row := elements_of(part)) and row.kind == "bracket"]
    return [row.parts for row in cells] if len(cells) == len(rows.parts) else None


def sides_of(text: str) -> list[str]:
    """What an equation says is equal; only one for what is not an equation."""
    if len(split(text, BETWEEN)) > 1 or ORDER.search(text):
        return [text]
    sides = split(text, _EQUALS)
    return sides if all(sides) else [text]


def is_name(text: str) -> bool:
    r"""Whether a text is the name of one thing: ``x``, ``\theta``, ``X_d``, ``f(x)``."""
    return _NAME.fullmatch(text.strip()) is not None


def is_sum_of_names(text: str) -> bool:
    """Whether a text is like ``m + n``, which many problems ask for."""
    return _SUM.fullmatch(text.strip()) is not None


def names_value(left: str, right: str) -> bool:
    r"""Whether ``left = right`` gives a name to the value on the right.

    A longer name (``AB``, ``\text{Area}``) does so only if the right side has a number:
    ``MR = SRMC`` is an answer as a whole.
    """
    if is_name(left):
        return True
    return _LONG_NAME.fullmatch(left.strip()) is not None and bool(re.search(r"\d|\\pi", right))


def values_of(parts: Sequence[str]) -> list[str]:
    """Each part of a list without the name of its value."""
    values = []
    for part in parts:
        sides = sides_of(part)
        named = len(sides) > 1 and names_value(sides[0], sides[-1])
        values.append(sides[-1] if named else part)
    return values


def have_names(parts: Sequence[str]) -> bool:
    """Whether the parts are values of several names: ``x = 1, y = 2``."""
    names = [sides[0] for part in parts if len(sides := sides_of(part)) > 1]
    return len(names) == len(parts) and len(set(map(bare, names))) > 1

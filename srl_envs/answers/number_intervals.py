r"""Final answers as parts of the number line: intervals, unions and inequalities."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from srl_envs.answers.notation import bare
from srl_envs.answers.numbers import number
from srl_envs.answers.structure import BETWEEN, COMMA, ORDER, closes_at_end, is_name, split

_OR = re.compile(r"\\cup|\bor\b|(?<=[)\]}])\s*U\s*(?=[(\[{])")
_AND = re.compile(r"\\land|\band\b|,")
_BOTH = re.compile(r"\\land|\\cap|\band\b")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_STATEMENT = re.compile(  # p, not q, (q or r), red, E_1
    r"(?:\\(?:neg|lnot)(?![A-Za-z])|not\b|[\s(])*[^\W\d_](?:_\w|_\{\w+\})?'*"
    r"|(?:not\b|[\s(])*[^\W\d_][^\d=+*/^\\_-]*"
)
_IN = re.compile(
    r"(?P<name>[A-Za-z]|\\[a-z]+|[A-Za-z]\([a-z]\))\s*"
    r"(?:\\in(?![A-Za-z])|=(?=\s*[(\[]))\s*(?P<rest>.+)"
)
_SET_BUILDER = re.compile(
    r"\\\{\s*(?P<name>[A-Za-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\||:|\\colon(?![a-z]))"
    r"\s*(?P<rest>.*\S)\s*\\\}"
)
_IN_THE_REALS = re.compile(r"^[A-Za-z]\s*\\in\s*\\mathbb\{R\}\s*[,;]\s*")
_REALS = re.compile(
    r"\\mathbb\{R\}|(?:\\text\{)?\s*(?:the )?(?:set of )?(?:all )?real numbers\s*\}?"
    r"|(?:\\text\{)?\s*all reals\s*\}?",
    re.IGNORECASE,
)
_WITHOUT = re.compile(r"(?P<all>.+?)\s*(?:\\setminus|-)\s*\\\{(?P<points>.*)\\\}")
_TURNED_BRACKETS = re.compile(r"\][^][(),;]+[,;][^][(),;]+[][]|\[[^][(),;]+[,;][^][(),;]+\[")
_ABSOLUTE = re.compile(r"\|\s*(?P<name>[A-Za-z])\s*\|")
_INFINITE = re.compile(r"-?\s*\\infty")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\neq": r"\neq"}


class Interval(NamedTuple):
    """A piece of the number line, or a pair: ``(1, 2)`` may be either.

    Attributes:
        name: The variable, if the answer names one.
        opening: ``(`` or ``[``.
        closing: ``)`` or ``]``.
        ends: Both ends.
    """

    name: str
    opening: str
    closing: str
    ends: tuple[str, str]


def intervals_of(text: str) -> list[Interval] | None:
    """An answer as a union of intervals; None if it is not one."""
    name = ""
    if (match := _SET_BUILDER.fullmatch(text)) is not None:
        text = match["rest"]
    text = _TURNED_BRACKETS.sub(_with_round_brackets, _IN_THE_REALS.sub("", text))
    if (match := _IN.fullmatch(text)) is not None:
        name, text = match["name"], match["rest"]
    pieces: list[Interval] = []
    for part in split(text, _OR):
        found = _pieces(part)
        if found is None:
            return None
        pieces += found
    return [piece._replace(name=piece.name or name) for piece in pieces]


def _with_round_brackets(match: re.Match[str]) -> str:
    """``]1, 3]``, as France writes it, as ``(1, 3]``."""
    opening, closing = "(["[match[0][0] == "["], ")]"[match[0][-1] == "]"]
    low, high = re.split("[,;]", match[0][1:-1])
    return f"{opening}{low},{high}{closing}"


def joined_otherwise(one: str, other: str) -> bool:
    """Whether "and" joins the statements of one text, and "or" those of the other.

    Statements are relations, names and words: the values "1 and 2" are also "1 or 2".
    """
    joints = _joint_of(one), _joint_of(other)
    return all(joints) and joints[0] != joints[1]


def _joint_of(text: str) -> str:
    """What joins the statements of a text: "and", "or" or some of both; else empty."""
    text = _TEXT.sub(r" \1 ", text)
    if ORDER.search(text):
        both, either = _BOTH.search(text), _OR.search(text)
        return "" if both and either else "and" if both else "or" if either else ""
    if not all(map(_STATEMENT.fullmatch, split(text, BETWEEN))):
        return ""
    groups = sorted(sorted(map(bare, split(part, _BOTH))) for part in split(text, _OR))
    if len(groups) == 1:
        return "and" if len(groups[0]) > 1 else ""
    return "or" if max(map(len, groups)) == 1 else f"or {groups}"


def _pieces(text: str) -> list[Interval] | None:
    if _REALS.fullmatch(text):
        return [_interval("", "(", r"-\infty", r"\infty", ")")]
    if (match := _WITHOUT.fullmatch(text)) is not None and _REALS.fullmatch(match["all"]):
        return _reals_without(split(match["points"], COMMA))
    if text[:1] in "([" and text[-1:] in ")]" and closes_at_end(text):
        ends = split(text[1:-1], re.compile(","))
        if len(ends) == 2 and all(ends):
            return [_interval("", text[0], ends[0], ends[1], text[-1])]
    return _relations(text)


def _reals_without(points: list[str]) -> list[Interval] | None:
    r"""``\mathbb{R} \setminus \{3\}`` as two intervals."""
    values = {point: value.value for point in points if (value := number(point)) is not None}
    if len(values) < len(points):
        return None
    ends = [r"-\infty", *sorted(values, key=values.__getitem__), r"\infty"]
    return [_interval("", "(", low, high, ")") for low, high in pairwise(ends)]


def _relations(text: str) -> list[Interval] | None:
    """One relation, or two half-lines that "and" joins: ``x > 3 and x < 5``."""
    found = [_relation(part) for part in split(text, _AND)]
    if len(found) == 1:
        return found[0]
    if len(found) != 2 or not all(part and len(part) == 1 for part in found):
        return None
    [above, below] = sorted(
        (piece for part in found if part for piece in part),
        key=lambda piece: piece.ends[0] == r"-\infty",
    )
    low, high = number(above.ends[0]), number(below.ends[1])
    if above.name != below.name or low is None or high is None or low.value >= high.value:
        return None
    return [Interval(above.name, above.opening, below.closing, (above.ends[0], below.ends[1]))]


def _relation(text: str) -> list[Interval] | None:
    r"""``x > 3``, ``x \neq 3`` or ``-2 \le x < 7`` as pieces of the number line."""
    sides, signs = split(text, ORDER), ORDER.findall(text)
    if len(sides) != len(signs) + 1 or not all(sides) or "=" in text:
        return None
    if len(sides) == 2:
        [sign] = signs
        if not is_name(sides[0]):
            sides, sign = sides[::-1], _TURNED[sign]
        name, end = sides
        if not is_name(name):
            return None
        if sign != r"\neq" and (match := _ABSOLUTE.fullmatch(name)) is not None:
            return _absolute(match["name"], sign, end)
        below = _interval(name, "(", r"-\infty", end, "]" if sign == r"\le" else ")")
        above = _interval(name, "[" if sign == r"\ge" else "(", end, r"\infty", ")")
        return {"<": [below], r"\le": [below], ">": [above], r"\ge": [above]}.get(
            sign, [below, above]
        )
    if set(signs) <= {">", r"\ge"}:
        sides, signs = sides[::-1], [_TURNED[sign] for sign in reversed(signs)]
    if len(sides) != 3 or not set(signs) <= {"<", r"\le"} or not is_name(sides[1]):
        return None
    opening, closing = "([", ")]"
    return [
        _interval(sides[1], opening[signs[0] != "<"], sides[0], sides[2], closing[signs[1] != "<"])
    ]


def _absolute(name: str, sign: str, end: str) -> list[Interval]:
    """``|x| < 3`` and ``|x| > 3``."""
    if sign in ("<", r"\le"):
        opening, closing = "()" if sign == "<" else "[]"
        return [_interval(name, opening, f"-{end}", end, closing)]
    opening, closing = "()" if sign == ">" else "[]"
    return [
        _interval(name, "(", r"-\infty", f"-{end}", closing),
        _interval(name, opening, end, r"\infty", ")"),
    ]


def _interval(name: str, opening: str, low: str, high: str, closing: str) -> Interval:
    """An interval whose infinite ends are open and in one spelling."""
    low, high = (re.sub(r"^\+\s*", "", end.strip()) for end in (low, high))
    if _INFINITE.fullmatch(low):
        low, opening = low.replace(" ", ""), "("
    if _INFINITE.fullmatch(high):
        high, closing = high.replace(" ", ""), ")"
    return Interval(bare(name), opening, closing, (low, high))

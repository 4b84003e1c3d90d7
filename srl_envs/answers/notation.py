r"""One way to write a final answer, so that math-verify can compare answers of any data set.

* Marks that carry no meaning are left out: ``$``, ``\(``, bold stars, a final full
  stop.
* ``4.5e33`` is written ``4.5 \times 10^{33}``, ``1./3`` is ``1/3`` and ``np.arcsin`` is
  ``\arcsin``: references are written so, models write LaTeX.
* ``-2 \le x < 7`` is the interval ``[-2, 7)``.
* The imaginary unit stands apart (``6 - 5 i``): math-verify takes the ``i`` of ``5i``
  for another symbol than that of ``5 i``.
* Where the reference is a number, a unit behind the answer's number is left out.
* Two numbers of which the reference is written as a decimal (``0.5613``, ``4.5e33``)
  are the same if they differ by at most 1e-4 of the greater one: the relative tolerance
  of Qwen2.5-Math's grader, which grants it to integers too. Here integers must be
  exact. math-verify, which compares everything else, rounds decimals to 6 places
  instead.
"""

from __future__ import annotations

import math
import re

RELATIVE_TOLERANCE = 1e-4

_MANTISSA = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_LOOSE_SPACE = re.compile(r"\s+(?=\W|$)|(?<=\W)\s+")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_EXPONENT = re.compile(rf"(?<![\w.}}^])(?P<mantissa>{_MANTISSA})[eE]\+?(?P<power>-?\d+)(?![\w.])")
_BARE_POINT = re.compile(r"(?<![\w.])(\d+)\.(?=/)")
_TIMES_TEN = re.compile(r"\s*\\(?:times|cdot)\s*10\s*\^\s*")
_NUMBER = re.compile(
    rf"(?P<mantissa>{_MANTISSA})(?:e(?:\{{(?P<braced>[-+]?\d+)\}}|(?P<power>\d)))?"
)
_UNIT = re.compile(
    r"(?P<number>.*[\d.}])(?:(?:\\[ ,;:!]|~|\s)*"
    r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?-?\d\}?)?"
    r"|\s+(?P<words>[A-Za-z]{3,}[A-Za-z/ ]*))"
)
_NO_UNITS = frozenset(
    (
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "dozen",
        "percent",
        "squared",
        "cubed",
        "factorial",
    )
)
_LESS = r"(?P<{}><|\\lt\b|\\leq?\b|\\leqslant\b|\u2264)"
_CHAIN = re.compile(
    rf"(?P<low>[^<\u2264,]+?)\s*{_LESS.format('first')}\s*(?P<name>[A-Za-z])"
    rf"\s*{_LESS.format('second')}\s*(?P<high>[^<\u2264,]+)"
)


def comparable_forms(answer: str, reference: str) -> tuple[str, str]:
    """Both in plain notation, the answer without a unit where the reference is a number."""
    given, wanted = plain_notation(answer), plain_notation(reference)
    return (given if number(wanted) is None else without_unit(given)), wanted


def verdict_by_notation(given: str, wanted: str) -> bool | None:
    """Whether two :func:`comparable_forms` are the same; None where the notation cannot tell.

    Their text decides, or their value as numbers.
    """
    if _bare(given) == _bare(wanted):
        return True
    value, target = number(given), number(wanted)
    if value is None or target is None or not (target[1] or value[0] == target[0]):
        return None
    return math.isclose(value[0], target[0], rel_tol=RELATIVE_TOLERANCE)


def plain_notation(text: str) -> str:
    """An answer as math-verify reads it: its numbers, intervals and imaginary units.

    Marks without a meaning are removed.
    """
    text = re.sub(r"(?<!\\)\$|\*\*|\\[()]", "", text).strip()
    text = re.sub(r"(?<=[\w})\]])\s*\.$", "", text)
    text = _EXPONENT.sub(r"\g<mantissa> \\times 10^{\g<power>}", text)
    text = re.sub(r"(?<=[_^])\{(\w)\}", r"\1", text)
    text = re.sub(r"\b(?:np|numpy|math)\.(?=[a-z])", r"\\", text)
    text = re.sub(r"(?<=[\d})])i(?![A-Za-z])", " i", text)
    text = re.sub(r"(?<=\d)i(?=[a-mo-z](?![A-Za-z]))", " i ", text)  # "2it", but not "12in"
    text = _BARE_POINT.sub(r"\1", text)
    if chain := _CHAIN.fullmatch(text):
        opening, closing = (
            "(" if chain[sign] in ("<", r"\lt") else "[" for sign in ("first", "second")
        )
        return f"{opening}{chain['low']}, {chain['high']}{')' if closing == '(' else ']'}"
    return text


def number(text: str) -> tuple[float, bool] | None:
    """The value of a number in plain notation, and whether it is written as a decimal.

    A decimal has a point or a power of ten. None if the text is not a number.
    """
    compact = _TIMES_TEN.sub("e", re.sub(r"\\[,;:!]", "", text.replace("{,}", ",")).strip())
    match = _NUMBER.fullmatch(compact)
    if match is None:
        return None
    power = match["braced"] or match["power"]
    value = float(f"{match['mantissa'].replace(',', '')}e{power or 0}")
    return (value, power is not None or "." in compact) if math.isfinite(value) else None


def without_unit(text: str) -> str:
    """A number without the unit behind it.

    A unit is text in LaTeX, or words of three letters and more that are not part of the
    number as "million" is.
    """
    match = _UNIT.fullmatch(text)
    if match is None or (match["words"] and _NO_UNITS & set(match["words"].lower().split())):
        return text
    return match["number"]


def _bare(text: str) -> str:
    """The text without text commands and loose white space; "and" between parts is a comma."""
    return _LOOSE_SPACE.sub("", re.sub(r"\s+and\s+", ",", _TEXT.sub(r"\1", text)))

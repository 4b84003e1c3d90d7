r"""Letters of an answer that are free to choose.

``x^2 + C`` is ``x^2 + c``, and ``\frac{\pi}{4} + k\pi`` is ``\frac{\pi}{4} + n\pi``.
"""

from __future__ import annotations

import re

_CONSTANT = re.compile(r"(?P<rest>.*\S)\s*\+\s*(?P<name>[CcKk])(?:_(?:\{[01]\}|[01]))?")
_WHOLE = re.compile(
    r"[\s,;(]*(?:\\quad\s*)?\\text\{\s*(?:where|for|with)\b.*"
    r"\b(?:integers?|whole numbers?)\s*\}?\)?"
)

_VARIABLES = {*"rstuvwxyz"}
_NOT_COUNTED = re.compile(
    r"\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*[kmn]|/\s*\{?[kmn](?![A-Za-z])"  # a denominator
    r"|\\text|\\mathrm|(?:\\pi|\\circ\}?)\s*m\s*$"  # a unit
)


def with_same_letters(one: str, other: str) -> tuple[str, str]:
    r"""Two answers, rewritten so that the letters that are free to choose agree.

    The constant of an integral is left out of both if one calls it ``C``. A letter that
    counts angles (``k\pi``) is ``n`` in both.
    """
    constants = _CONSTANT.fullmatch(one), _CONSTANT.fullmatch(other)
    if constants[0] and constants[1] and "C" in (constants[0]["name"], constants[1]["name"]):
        rests = constants[0]["rest"], constants[1]["rest"]
        letters = [_letters(rest) for rest in rests]
        if all(held & _VARIABLES and not held & {*"CcKk"} for held in letters):
            return rests
    counted = _counted(one), _counted(other)
    return (counted[0], counted[1]) if counted[0] and counted[1] else (one, other)


def _counted(text: str) -> str | None:
    """The text with ``n`` for the letter that counts angles; None if none does."""
    text = _WHOLE.sub("", text)
    letters = _letters(text)
    if len(letters) != 1 or not letters <= {*"kmn"} or _NOT_COUNTED.search(text):
        return None
    if r"\pi" not in text and r"\circ" not in text:
        return None
    return re.sub(rf"(?<![A-Za-z\\]){letters.pop()}(?![A-Za-z])", "n", text)


def _letters(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", text)))

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


def with_same_letters(one: str, other: str) -> tuple[str, str]:
    r"""Two answers, rewritten so that the letters that are free to choose agree.

    The constant of an integral is left out of both if one calls it ``C``. A letter that
    counts angles (``k\pi``) is ``n`` in both.
    """
    constants = _CONSTANT.fullmatch(one), _CONSTANT.fullmatch(other)
    if constants[0] and constants[1] and "C" in (constants[0]["name"], constants[1]["name"]):
        rests = constants[0]["rest"], constants[1]["rest"]
        letters = [_letters(rest) for rest in rests]
        if all(letters) and not any(held & {*"CcKk"} for held in letters):
            return rests
    counted = _counted(one), _counted(other)
    return counted if all(r"\pi" in text or r"\circ" in text for text in counted) else (one, other)


def _counted(text: str) -> str:
    text = _WHOLE.sub("", text)
    letters = _letters(text)
    if len(letters) != 1 or not letters <= {*"kmn"}:
        return text
    return re.sub(rf"(?<![A-Za-z\\]){letters.pop()}(?![A-Za-z])", "n", text)


def _letters(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", text)))

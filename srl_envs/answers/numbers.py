r"""Numbers as final answers have them, read out of plain notation.

* Integers and fractions are exact: 10000 is not 10001, and 1 is not 1.00001.
* Two decimals (``0.5613``, ``4.5e33``) are the same if they differ by less than one unit
  of the last place of the coarser one, and by at most 1e-4 of the greater one: the
  relative tolerance of Qwen2.5-Math's grader.
* A decimal is a fraction if six significant digits agree, as math-verify rounds.
* Words that change a number (``million``) belong to it; ``twenty-five`` and ``two thirds``
  are numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

RELATIVE_TOLERANCE = Fraction(1, 10**4)
EXACT_TOLERANCE = Fraction(2, 10**6)
"""A decimal and an exact value: 0.333333 is 1/3, 3.1416 is not pi."""

SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "mn": 10**6, "billion": 10**9,
    "bn": 10**9, "trillion": 10**12, "dozen": 12,
}  # fmt: skip
_MAX_POWER = 400
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)  # fmt: skip
_TENS = {
    name: 10 * i
    for i, name in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4} | {
    f"{name}th": i for i, name in enumerate(("fif", "six", "seven", "eigh", "nin", "ten"), 5)
}
_INTEGER = (  # thousands apart by a comma, a space, a low line, or (two and more) by a point
    r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d{1,3}(?:_\d{3})+"
    r"|\d{1,3}(?:\.\d{3}){2,}|\d+)"
)
_POWER = r"10\s*\^\s*(?:\{\s*(?P<braced>[-+]?\d+)\s*\}|(?P<power>-?\d+))"
_DECIMAL = re.compile(
    rf"(?P<whole>{_INTEGER})?(?:\.(?P<places>\d*))?"
    r"(?:\s*\\overline\{(?P<lined>\d+)\}|\s*\((?P<round>\d+)\)|\\dot\{?(?P<dotted>\d)\}?"
    r"|\s*(?P<dots>\\ldots))?"
    rf"(?:\s*(?:\\times|\\cdot|\*|[xX])\s*{_POWER})?"
)
_POWER_OF_TEN = re.compile(_POWER)
_FRACTION = re.compile(
    r"(?:(?P<whole>\d+)(?:\s*\+\s*|\s+|(?=\\frac)))?"
    rf"(?:\\frac\s*\{{\s*(?P<sign>[-+]?)\s*(?P<above>{_INTEGER})\s*\}}"
    rf"\s*\{{\s*(?P<below>{_INTEGER})\s*\}}"
    rf"|(?P<over>{_INTEGER})\s*/\s*(?P<under>{_INTEGER}))"
)
_SCALED = re.compile(
    r"(?P<core>.*[\w})])\s*(?:\\text\{(?P<text>[A-Za-z]+)\}|(?<=[\d\s}])(?P<word>[A-Za-z]+))"
)
_BASE = re.compile(
    r"\(?(?P<digits>[0-9A-Fa-f]+)\)?\s*_\s*\{?\s*\(?(?:\\text\{)?(?:base\s*\}?)?\s*"
    r"(?P<base>\d+|[a-z]+)\}?\)?\s*\}?"
    r"|(?P<said>[0-9A-Fa-f]+)\s*(?:\(|\\text\{\(?)?\s*(?:in )?base[ -](?P<of>\w+)\)?\}?\)?"
)


@dataclass(frozen=True, slots=True)
class Value:
    """A number: its value, and for a decimal the value of one unit in its last place."""

    value: Fraction
    unit_in_last_place: Fraction | None = None

    def scaled(self, factor: Fraction | int) -> Value:
        """The number times a factor."""
        place = self.unit_in_last_place
        return Value(self.value * factor, None if place is None else place * abs(Fraction(factor)))


def same_value(one: Value, other: Value) -> bool:
    """Whether two numbers are the same, by the rules at the top of the module."""
    if one.value == other.value:
        return True
    places = [n.unit_in_last_place for n in (one, other) if n.unit_in_last_place is not None]
    exact = [n.value for n in (one, other) if n.unit_in_last_place is None]
    if not places or any(value.denominator == 1 for value in exact):
        return False
    difference = abs(one.value - other.value)
    greater = max(abs(one.value), abs(other.value))
    tolerance = EXACT_TOLERANCE if exact else RELATIVE_TOLERANCE
    return difference < max(places) and difference <= tolerance * greater


@lru_cache(maxsize=4096)
def number(text: str) -> Value | None:
    """The number that a text in plain notation is; None if it is not one."""
    text = text.strip()
    sign = 1
    while match := re.match(
        r"([-+]|(?:minus|negative)\b)\s*|\((?=.*\)$)|\\text\{(?=[^{}]*\}$)", text
    ):
        sign = sign if match[1] in (None, "+") else -sign
        text = text[match.end() :] if match[1] else text[match.end() : -1]
    if (read := _decimal(text) or _fraction(text)) is not None:
        return read.scaled(sign)
    if (spoken := _spoken(text.lower())) is not None:
        return Value(sign * spoken)
    if (match := re.fullmatch(r"0x([0-9a-fA-F]{1,64})|0b([01]{1,256})", text)) is not None:
        return Value(Fraction(int(match[1], 16) if match[1] else int(match[2], 2)))
    if (match := _SCALED.fullmatch(text)) is not None:
        factor = SCALES.get((match["text"] or match["word"]).lower())
        if factor is not None and (core := number(match["core"])) is not None:
            return core.scaled(sign * factor)
    return None


def _spoken(text: str) -> Fraction | None:
    """A number in small English words; None if a text is not one."""
    words = [word for word in re.split(r"[-\s]+", text) if word != "and"]
    if not words or len(words) > 20 or not words[-1].isalpha():
        return None
    words = ["one" if word in ("a", "an") and len(words) > 1 else word for word in words]
    below = _PARTS.get("half" if words[-1] == "halves" else words[-1].removesuffix("s"))
    if below is None:
        whole = _spoken_integer(words)
        return None if whole is None else Fraction(whole)
    above = _spoken_integer(words[-2:-1] or ["one"] * (words[-1] == "half"))
    whole = _spoken_integer(words[:-2]) if len(words) > 2 else 0
    if not above or whole is None or (whole and above >= below):
        return None
    if (above > 1) != (words[-1][-1] == "s"):  # "twenty fifth"
        return None
    return whole + Fraction(above, below)


def _spoken_integer(words: list[str]) -> int | None:
    total, group, last = 0, 0, 1
    for word in words:
        if word in _TENS or word in _WORDS:
            value = _TENS.get(word) or _WORDS.index(word)
            if group % 100 and not (last == 10 and 0 < value < 10):
                return None  # "five six"
            group, last = group + value, 10 if word in _TENS else 1
        elif word == "hundred" and 0 < group < 100:
            group *= 100
        elif word in SCALES and group:
            total, group = total + group * SCALES[word], 0
        else:
            return None
    return total + group if words else None


def _decimal(text: str) -> Value | None:
    """An integer or a decimal, with a power of ten and digits that repeat for ever."""
    match = _POWER_OF_TEN.fullmatch(text) or _DECIMAL.fullmatch(text)
    if match is None:
        return None
    found = match.groupdict()
    power = int(found["braced"] or found["power"] or 0)
    if abs(power) > _MAX_POWER:
        return None
    scale = Fraction(10**power) if power >= 0 else Fraction(1, 10**-power)
    if match.re is _POWER_OF_TEN:
        return Value(scale)
    whole, places = found["whole"], found["places"]
    if not (whole or places):
        return None
    again = found["lined"] or found["round"] or found["dotted"]
    if found["dots"]:
        again = _repeated(places or "")
    if (again or found["dots"]) and not (again and places is not None):
        return None
    last = Fraction(1, 10 ** len(places or ""))
    value = int(re.sub(r"\D", "", whole or "0") + (places or "")) * last
    if again is not None:
        return Value((value + last * Fraction(int(again), 10 ** len(again) - 1)) * scale)
    written_out = places is None and not (found["braced"] or found["power"])
    return Value(value * scale, None if written_out else last * scale)


def _repeated(places: str) -> str | None:
    """The digits that ``0.1666...`` repeats, at least three times; None without any."""
    match = re.search(r"(\d{1,6}?)\1\1$", places)
    return match[1] if match else None


def _fraction(text: str) -> Value | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    above, below = (
        int(re.sub(r"\D", "", digits))
        for digits in (match["above"] or match["over"], match["below"] or match["under"])
    )
    if below == 0 or (match["whole"] and (match["sign"] or above >= below)):
        return None
    return Value(
        int(match["whole"] or 0) + Fraction(-above if match["sign"] == "-" else above, below)
    )


def digits_in_base(text: str) -> tuple[str, int] | None:
    """The digits and the base of a number like ``1011_2``; None if the text is not one."""
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    said, digits = match["base"] or match["of"], (match["digits"] or match["said"]).upper()
    base = int(said) if said.isdigit() else _WORDS.index(said) if said in _WORDS else 0
    if base < 2 or any(int(digit, 16) >= base for digit in digits):
        return None
    return digits.lstrip("0") or "0", base

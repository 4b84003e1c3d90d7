r"""Units, currencies and percent signs of final answers.

One side may do without, but not without Fahrenheit: 5 is 5 degrees of angle. If both have
a unit, these must agree; ``100 cm`` is ``1 m``, and ``square inches`` are ``inches^2``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from srl_envs.answers.numbers import SCALES

_CURRENCIES = {
    r"\$": "dollar", r"US\$": "dollar", "USD": "dollar", "€": "euro", "EUR": "euro",
    "£": "pound sterling", "GBP": "pound sterling", "¥": "yen", "₹": "rupee", "INR": "rupee",
    "Rs": "rupee", "Rs.": "rupee", "¢": "cent", "₽": "ruble", "₩": "won",
}  # fmt: skip
_PREFIX = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<currency>(?:US)?\\\$|[€£¥₹₽₩]|Rs\.?|USD|EUR|GBP|INR)\s*"
    r"(?P<rest>[-\d.\\].*)"
)
_SUFFIX = re.compile(r"(?P<rest>.*[\d})])\s*(?P<currency>\\\$|[€£¥₹₽₩¢])")
_PERCENT = re.compile(
    r"(?P<rest>.*[\d})])\s*(?:\\?%|\\text\{\s*(?:\\?%|per ?cent(?:age)?(?: points?)?|pct)\s*\}"
    r"|(?:per ?cent(?:age)?|pct))(?:\s*points?)?"
)
_UNIT = re.compile(
    r"(?P<rest>.*[\w})])\s*\\text\{(?P<unit>[^{}]*[A-Za-z][^{}]*)\}\s*"
    r"(?:\^\s*\{?\s*(?P<power>-?\d)\s*\}?)?"
)
_WORD_UNIT = re.compile(
    r"(?P<rest>.*?(?<![A-Za-z])[\d})])(?P<gap>\s*)"
    r"(?P<unit>(?:[A-Za-z]{2,}\.?|[A-Za-z]+(?=/))(?:[ /][A-Za-z.]+)*)\s*"
    r"(?:\^\s*\{?\s*(?P<power>-?\d)\s*\}?)?"
)
_NOT_UNITS = SCALES.keys() | {
    "squared", "cubed", "factorial", "plus", "minus", "times", "over", "or", "and", "nor", "not",
    "more", "less", "least", "most", "mod", "modulo", "root", "base", "to", "negative",
    "infinity", "if", "when", "for", "where", "choose", "between", "divided", "any", "all",
    "except", "half", "third", "thirds", "quarter", "quarters", "tens", "tenths", "hundreds",
    "hundredths", "thousands", "thousandths",
}  # fmt: skip
"""Words behind a number that make another number of it."""
_FACTORS = {
    name: (kind, Fraction(factor))
    for kind, of_kind in {
        "length": {"km": "1000", "m": "1", "dm": "0.1", "cm": "0.01", "mm": "0.001",
                   "in": "0.0254", "ft": "0.3048", "yd": "0.9144", "mi": "1609.344"},
        "time": {"s": "1", "min": "60", "h": "3600", "d": "86400", "week": "604800"},
        "mass": {"kg": "1000", "g": "1", "mg": "0.001"},
        "volume": {"l": "1", "ml": "0.001"},
        "money": {"dollar": "1", "cent": "0.01"},
    }.items()
    for name, factor in of_kind.items()
}  # fmt: skip
_ALIASES = {
    alias: name
    for name, aliases in {
        "km": ("kilometer", "kilometre"), "m": ("meter", "metre"), "mi": ("mile",),
        "dm": ("decimeter", "decimetre"), "cm": ("centimeter", "centimetre"),
        "mm": ("millimeter", "millimetre"), "in": ("inch", "inches"), "ft": ("foot", "feet"),
        "yd": ("yard",), "s": ("second", "sec"), "min": ("minute",), "h": ("hour", "hr"),
        "d": ("day",), "week": ("wk",), "yr": ("year",), "g": ("gram", "gm"),
        "kg": ("kilogram", "kilo"), "mg": ("milligram",), "lb": ("pound",), "oz": ("ounce",),
        "l": ("liter", "litre"), "ml": ("milliliter", "millilitre"),
        "cent": ("¢", "penny", "pennies"), "dollar": ("usd", "buck", r"\$", "$"),
        "euro": ("eur", "€"), "pound sterling": ("gbp", "£"), "degree": ("deg",),
        "degree f": ("fahrenheit", "degree fahrenheit"),
        "degree c": ("celsius", "degree celsius", "centigrade"), "mi/h": ("mph",),
        "km/h": ("kph", "kmh"), "person": ("people",), "child": ("children",),
        "man": ("men",), "woman": ("women",),
    }.items()
    for alias in aliases
}  # fmt: skip
_LETTER_UNIT = re.compile(
    rf"(?P<rest>.*\d)\s*(?P<unit>{'|'.join(name for name in _FACTORS if len(name) == 1)})"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in one spelling, such as ``cm`` with the power 2."""

    name: str
    power: int = 1


_FAHRENHEIT = Unit("degree f")


def without_unit(text: str) -> tuple[str, Unit | None]:
    """What an answer is a number of, and its unit: ``("5", Unit("cm"))`` for 5 centimeters.

    An answer without a unit is itself, with None.
    """
    if (match := _PERCENT.fullmatch(text)) is not None:
        return match["rest"].strip(), Unit("%")
    if (match := _PREFIX.fullmatch(text)) is not None:
        rest = without_unit(match["rest"])[0]
        return match["sign"] + rest, Unit(_CURRENCIES[match["currency"]])
    if (match := _SUFFIX.fullmatch(text)) is not None:
        return match["rest"], Unit(_CURRENCIES[match["currency"]])
    match = _UNIT.fullmatch(text) or _WORD_UNIT.fullmatch(text)
    if match is None or not (
        match.re is _UNIT  # else "12 in" and "18 dollars", but not "2 xy"
        or (match["gap"] and len(match["unit"].split()[0]) > 2)
        or all(part in _FACTORS for part in _named(match["unit"].lower()).name.split("/"))
    ):
        return text, None
    words = re.split(r"[\s~]+", match["unit"].strip().lower())
    rest = match["rest"].strip()
    if words[0] in SCALES and len(words) > 1:
        rest, words = rf"{rest} \text{{{words[0]}}}", words[1:]
    if _NOT_UNITS & set(words):
        return text, None
    unit = _named(" ".join(words))
    return rest, Unit(unit.name, unit.power * int(match["power"] or 1))


def with_letter(text: str) -> tuple[str, Unit | None]:
    """The same for a unit of one letter, which may be a variable: ``2000 g``, ``5 m``."""
    match = _LETTER_UNIT.fullmatch(text)
    return (text, None) if match is None else (match["rest"], Unit(match["unit"]))


def same_units(one: Unit | None, other: Unit | None) -> Fraction | None:
    """By what the first quantity's number is multiplied to be in the other's unit.

    1 if a unit is absent; None if the units differ.
    """
    if one == other:
        return Fraction(1)
    if _FAHRENHEIT in (one, other):
        return None
    if one is None or other is None:
        return Fraction(1)
    if one.name in _FACTORS and other.name in _FACTORS and one.power == other.power:
        (kind, factor), (other_kind, other_factor) = _FACTORS[one.name], _FACTORS[other.name]
        return (factor / other_factor) ** one.power if kind == other_kind else None
    mine, others = set(one.name.split()), set(other.name.split())
    known = _FACTORS.keys() | {"%"}
    if (
        one.power == other.power
        and not (mine | others) & known
        and (mine <= others or others <= mine)
    ):
        return Fraction(1)  # "apples" and "red apples"
    return None


def _named(words: str) -> Unit:
    """The unit in its one spelling: "square centimeters" is ``cm`` to the power 2."""
    power = 1
    words = re.sub(r"(?<=[a-z])\.|\s*\bof\b.*", "", words).strip()
    if match := re.match(r"(?:(square|sq)|(cubic|cu))\s+(?=\w)", words):
        power, words = 2 if match[1] else 3, words[match.end() :]
    if match := re.fullmatch(r"(.*[a-z])(?: (squared|cubed)|\^?\{?([23])\}?)", words):
        power, words = 2 if match[2] == "squared" or match[3] == "2" else 3, match[1]
    words = re.sub(r"\s*\bper\b\s*|\s*/\s*", "/", words)
    parts = [" ".join(map(_singular, part.split())) for part in words.split("/")]
    name = "/".join(_ALIASES.get(part, part) for part in parts)
    return Unit(_ALIASES.get(name, name), power)


def _singular(word: str) -> str:
    if word in _ALIASES or len(word) < 3:
        return word
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word

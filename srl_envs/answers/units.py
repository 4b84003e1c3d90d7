r"""Units, currencies and percent signs of final answers.

One side may do without, but not without Fahrenheit: 5 is 5 degrees of angle. If both have
a unit, these must agree; ``100 cm`` is ``1 m``, and ``square inches`` are ``inches^2``. A
unit of one letter must be apart from its number: ``9 g`` is 9, but ``9g`` may be a product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from srl_envs.answers.numbers import SCALES, number

_CURRENCIES = {
    r"\$": "dollar", r"US\$": "dollar", "USD": "dollar", "€": "euro", "EUR": "euro",
    "£": "pound sterling", "GBP": "pound sterling", "¥": "yen", "₹": "rupee", "INR": "rupee",
    "CNY": "yuan", "RMB": "yuan",
    "Rs": "rupee", "Rs.": "rupee", "¢": "cent", "₽": "ruble", "₩": "won",
}  # fmt: skip
_PREFIX = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<currency>(?:US)?\\\$|[€£¥₹₽₩]|Rs\.?|USD|EUR|GBP|INR|CNY|RMB)\s*"
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
_OTHER_SCRIPT = re.compile(
    r"(?P<rest>.*[\d})])\s*(?:\\text\{\s*)?(?P<unit>[一-鿿぀-ヿ가-힣]+)\s*\}?"
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
_SYMBOLS = {
    prefix + symbol: (kind, Fraction(factor))
    for symbol, kind in {
        "m": "length", "s": "time", "g": "mass", "L": "volume", "N": "force", "J": "energy",
        "W": "power", "V": "voltage", "A": "current", "Hz": "frequency", "Pa": "pressure",
        "eV": "energy of particles", "mol": "substance", "ohm": "resistance", "Wh": "work",
    }.items()
    for prefix, factor in {
        "": "1", "G": "1e9", "M": "1e6", "k": "1e3", "m": "1e-3", "u": "1e-6", "n": "1e-9",
    }.items()
}  # fmt: skip
"""Units whose capitals count: 5 mW is not 5 MW."""
_ALIASES = {
    alias: name
    for name, aliases in {
        "km": ("kilometer", "kilometre", "公里", "千米"), "m": ("meter", "metre", "米"),
        "mi": ("mile",),
        "dm": ("decimeter", "decimetre", "分米"), "cm": ("centimeter", "centimetre", "厘米"),
        "mm": ("millimeter", "millimetre", "毫米"), "in": ("inch", "inches"),
        "ft": ("foot", "feet"),
        "yd": ("yard",), "s": ("second", "sec", "秒"), "min": ("minute", "分钟"),
        "h": ("hour", "hr", "小时", "時間", "시간"),
        "d": ("day", "天"), "week": ("wk",), "yr": ("year", "年"), "g": ("gram", "gm", "克"),
        "kg": ("kilogram", "kilo", "千克", "公斤"), "mg": ("milligram",), "lb": ("pound",),
        "oz": ("ounce",),
        "l": ("liter", "litre", "升"), "ml": ("milliliter", "millilitre", "毫升"),
        "cent": ("¢", "penny", "pennies"), "dollar": ("usd", "buck", r"\$", "$"),
        "yuan": ("rmb", "cny", "元"), "yen": ("円",), "euro": ("eur", "€"),
        "pound sterling": ("gbp", "£"), "degree": ("deg", "度"),
        "degree f": ("fahrenheit", "degree fahrenheit"),
        "degree c": ("celsius", "degree celsius", "centigrade"), "mi/h": ("mph",),
        "km/h": ("kph", "kmh"), "person": ("people", "人", "名"), "child": ("children",),
        "man": ("men",), "woman": ("women",), "won": ("원",),
    }.items()
    for alias in aliases
}  # fmt: skip
_LETTER_UNIT = re.compile(
    r"(?P<rest>.*[\d})])(?P<gap>\s*)(?P<unit>[gmshdlLNJWV])"
    r"(?:(?<=m)\s*\^\s*\{?\s*(?P<power>[23])\s*\}?)?"
)
_ONE_TEXT = re.compile(r"\\text\{\s*([-+]?[\d.][^{}]*)\}")
_PART = re.compile(
    r"(?:,\s*)?(?:and\b\s*)?(?P<number>\d+(?:\.\d+)?)\s*(?:\\text\{\s*)?"
    r"(?P<unit>[A-Za-z]+)\.?\s*(?:\}\s*)?"
)
_OVER = re.compile(r"(?<=[A-Za-z])[\s.]+([A-Za-z]+)\s*\^?\s*\{?-(\d)\}?$")
_POWERED = re.compile(r"(?P<unit>.*[A-Za-z])(?: (?P<word>squared|cubed)|\^?\{?(?P<power>[2-9])\}?)")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in one spelling, such as ``cm`` with the power 2; of ``m/s`` the ``s`` has it."""

    name: str
    power: int = 1


_FAHRENHEIT = Unit("degree f")


def without_unit(text: str) -> tuple[str, Unit | None]:
    """What an answer is a number of, and its unit: ``("5", Unit("cm"))`` for 5 centimeters.

    An answer without a unit is itself, with None.
    """
    if (whole := _ONE_TEXT.fullmatch(text)) is not None:
        text = whole[1].strip()
    if (added := _added_up(text)) is not None:
        return added
    if (match := _PERCENT.fullmatch(text)) is not None:
        return match["rest"].strip(), Unit("%")
    if (match := _PREFIX.fullmatch(text)) is not None:
        rest = without_unit(match["rest"])[0]
        return match["sign"] + rest, Unit(_CURRENCIES[match["currency"]])
    if (match := _SUFFIX.fullmatch(text)) is not None:
        return match["rest"], Unit(_CURRENCIES[match["currency"]])
    if (match := _OTHER_SCRIPT.fullmatch(text)) is not None:
        unit = match["unit"].replace("平方", "square ").replace("立方", "cubic ")
        scaled = unit[0] in "百千万萬亿億兆半分倍打" and unit not in _ALIASES
        return (text, None) if scaled else (match["rest"], _named(unit))
    match = _UNIT.fullmatch(text) or _WORD_UNIT.fullmatch(text)
    if match is None:
        letter = _LETTER_UNIT.fullmatch(text)
        apart = letter and letter["gap"] and number(letter["rest"]) and "frac" not in text
        return with_letter(text) if apart else (text, None)
    if not (
        match.re is _UNIT  # else "12 in" and "18 dollars", but not "2 xy"
        or (match["gap"] and len(match["unit"].split()[0]) > 2)
        or all(
            part in _FACTORS or (match["gap"] and part in _SYMBOLS)
            for part in _named(match["unit"]).name.split("/")
        )
    ):
        return text, None
    words = re.split(r"[\s~]+", match["unit"].strip())
    rest = match["rest"].strip()
    if words[0].lower() in SCALES and len(words) > 1:
        rest, words = rf"{rest} \text{{{words[0].lower()}}}", words[1:]
    if _NOT_UNITS & {word.lower() for word in words}:
        return text, None
    power = match["power"] or "1"
    return rest, _named(" ".join(words) + (f"^{power}" if power != "1" else ""))


def with_letter(text: str) -> tuple[str, Unit | None]:
    """The same for a unit of one letter, which may be a variable: ``2000 g``, ``5m``."""
    match = _LETTER_UNIT.fullmatch(text)
    return (
        (text, None)
        if match is None
        else (match["rest"], Unit(match["unit"], int(match["power"] or 1)))
    )


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
    size, other_size = _size(one), _size(other)
    if size and other_size:
        return size[1] / other_size[1] if size[0] == other_size[0] else None
    mine, others = set(one.name.split()), set(other.name.split())
    known = _FACTORS.keys() | _SYMBOLS.keys() | {"%"}
    if (
        one.power == other.power
        and not (mine | others) & known
        and (mine <= others or others <= mine)
    ):
        return Fraction(1)  # "apples" and "red apples"
    return None


def _size(unit: Unit) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    """What a unit measures and how large it is; None if that is not known."""
    over, *under = unit.name.split("/")
    powers = [1] * len(under) + [unit.power]
    kinds, size = [], Fraction(1)
    for at, (name, power) in enumerate(zip((over, *under), powers, strict=True)):
        if (known := _SYMBOLS.get(name) or _FACTORS.get(name)) is None:
            return None
        kind, factor = known
        signed = -power if at else power
        kinds.append((kind, signed))
        size *= factor**signed
    return tuple(kinds), size


def _added_up(text: str) -> tuple[str, Unit] | None:
    """``1 hour 30 minutes`` as 90 minutes, ``3 dollars and 50 cents`` as 3.5 dollars.

    None if a text is not several quantities of one kind, the largest unit first.
    """
    parts, at = [], 0
    while at < len(text) and (match := _PART.match(text, at)) is not None:
        parts.append(match)
        at = match.end()
    if at < len(text) or len(parts) < 2:
        return None
    units = [_named(part["unit"]) for part in parts]
    if any(_size(unit) is None for unit in units):
        return None
    goal = units[0] if units[0].name == "dollar" else units[-1]
    factors = [same_units(unit, goal) for unit in units]
    if not all(one and other and one > other for one, other in pairwise(factors)):
        return None
    total = sum(
        Fraction(part["number"]) * factor
        for part, factor in zip(parts, factors, strict=True)
        if factor
    )
    return str(total), goal


def _named(words: str) -> Unit:
    """The unit in its one spelling: "square centimeters" is ``cm`` to the power 2."""
    power = 1
    words = re.sub(r"(?<=[A-Za-z])\.|\s*\bof\b.*", "", words).strip()
    if over := _OVER.search(words):
        words = words[: over.start()] + f"/{over[1]}" + (over[2] if over[2] != "1" else "")
    if match := re.match(r"(?i:(square|sq)|(cubic|cu))\s+(?=\w)", words):
        power, words = 2 if match[1] else 3, words[match.end() :]
    if match := _POWERED.fullmatch(words):
        power = int(match["power"] or {"squared": 2, "cubed": 3}[match["word"]])
        words = match["unit"]
    words = re.sub(r"\s*\bper\b\s*|\s*/\s*", "/", words)
    parts = [
        part if part in _SYMBOLS else " ".join(map(_singular, part.lower().split()))
        for part in words.split("/")
    ]
    name = "/".join(_ALIASES.get(part, part) for part in parts)
    return Unit(_ALIASES.get(name, name), power)


def _singular(word: str) -> str:
    if word in _ALIASES or len(word) < 3:
        return word
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word

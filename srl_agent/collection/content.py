r"""Whether a rewritten solution says the same: which numbers and formulas it invented or lost.

**Numbers** are compared by value, wherever they are written: ``1,000`` is ``1000``,
``0.50`` is ``.5``, and ``\frac{1}{2}`` has the numbers 1 and 2. "three" may become 3, or 3
"three"; a word alone is not checked ("one" is more often a pronoun). How often a number
occurs does not count, nor do the numbers of the steps themselves.

**Formulas** are what ``$...$`` and its kind enclose, and in plain text the runs of numbers
and letters that operators join (``48 / 2 = 24``). Each is compared side by side of its
relation signs, without layout: a side is kept if it is anywhere in the other text. So a
chain may be cut in two, and a formula in the text may go on a line of its own.

What the problem says may be repeated: it is not invented.

**Exchanged** is a number whose place another one took: "he eats 5" becomes "he eats 31". A
place is the word before or after the number, outside formulas. A place that only one text
has says nothing, so numbers may be put into other words, and in another order.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
_TENS = {
    **{"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60},
    **{"seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100, "thousand": 1000},
}
_VALUES = {**{word: value for value, word in enumerate(_WORDS)}, **_TENS}
_PASSED_OVER = (
    *("a", "an", "the", "of", "is", "are", "was", "were", "be", "been", "in", "to", "and"),
    *("or", "at", "by", "on", "with", "from", "that", "this", "these", "those", "then", "so"),
    *("therefore", "thus", "only", "another", "more", "just", "about", "also", "there"),
    *("each", "per", "for", "as"),
)
"""Words that do not make a place of a number: the next one does."""

_TOKEN = re.compile(
    r"(?P<word>[A-Za-z][A-Za-z'\u2019]*)|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+)(?!\d)"
    r"|[.;:!?()\n,]"
)
_WORD = re.compile(rf"(?<![\\A-Za-z])(?:{'|'.join(_VALUES)})(?![A-Za-z])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])(?:\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+|\d+)?(?:\.\d+)?(?!\d)")
_GROUPS = re.compile(r",|\{,\}|\\,")

_MATH = re.compile(
    r"(?<!\\)\$\$(?P<a>.+?)(?<!\\)\$\$|(?<!\\)\$(?P<b>(?:[^$\\\n]|\\.)+?)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]"
    r"|\\begin\{(?P<kind>[a-z]+\*?)\}(?P<e>.+?)\\end\{(?P=kind)\}",
    re.DOTALL,
)
_OPERAND = r"(?:\d[\d.,]*\d|\d|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[()])+"
_OPERATOR = r"[ \t]*(?:[-+*/^=<>\u00d7\u00f7\u00b7\u2212\u2248\u2264\u2265]|<=|>=)[ \t]*"
_PLAIN = re.compile(rf"\$?{_OPERAND}(?:{_OPERATOR}\$?{_OPERAND})+")
_TWO_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}[?.,]? +[A-Za-z]{2,}")
_RELATION = re.compile(
    r"=|<|>|\\(?:le|leq|ge|geq|lt|gt|approx|equiv|neq|ne|implies|iff|to|Rightarrow|Longrightarrow"
    r"|rightarrow)(?![A-Za-z])|[\u2248\u2264\u2265\u2192\u21d2]|\\\\|&"
)
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|big[lr]?|Big[lr]?|q?quad|[,;:! ]|boxed|fbox"
    r"|text(?:bf|it|rm)?|math(?:rm|bf|it))(?![A-Za-z])|\\[()\[\]]|[\s$*_{}]|\\(?=[%$#&])"
)
_SHORT_FRACTION = re.compile(r"(\\[dt]?frac) ?(\d) ?(\d)")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3})")
_PRODUCT = re.compile(r"(?<!\d)\u00b7|\u00b7(?!\d)")  # 2·x is 2x, but 2·3 is not 23
_SAME = (
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:cdot|times)(?![A-Za-z])|[\u00d7\u00b7\u22c5]"), "\u00b7"),
    (re.compile(r"\\div(?![A-Za-z])|\u00f7"), "/"),
    (re.compile(r"(?<=[\w)}\s])\*(?=[\w({\s\\])(?!\*)"), "\u00b7"),
    (re.compile("[\u2212\u2013]"), "-"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])|<="), "\u2264"),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])|>="), "\u2265"),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a text has that another has not.

    Attributes:
        numbers: As written.
        formulas: Their sides, without layout.
        of: How many numbers and sides the text has in all.
    """

    numbers: tuple[str, ...]
    formulas: tuple[str, ...]
    of: int

    @property
    def count(self) -> int:
        """Both kinds."""
        return len(self.numbers) + len(self.formulas)

    @property
    def share(self) -> float:
        """Of all numbers and sides that the text has, in [0, 1]."""
        return self.count / self.of if self.of else 0.0

    def __str__(self) -> str:
        return ", ".join((*self.numbers, *self.formulas)) or "nothing"


def only_in(text: str, *others: str) -> Changes:
    """What numbers and formulas of a text are in none of the others."""
    known = {value for other in others for value in (*_numbers(other), *_words(other))}
    compact = [_compact(other) for other in others]
    numbers = _numbers(text)
    sides = list(dict.fromkeys(_sides(text)))
    return Changes(
        tuple(written for value, written in numbers.items() if value not in known),
        tuple(side for side in sides if not any(side in other for other in compact)),
        len(numbers) + len(sides),
    )


def exchanged(text: str, original: str, problem: str) -> tuple[str, ...]:
    """What numbers of a text are where the original has other ones, outside formulas.

    Args:
        text: Whose numbers are in the original or the problem.
        original: What it should say.
        problem: Its places may be used with its own numbers.
    """
    mine, theirs, known = _places(text), _places(original), _places(problem)
    found = []
    for place, values in mine.items():
        of_original = theirs.get(place, set())
        new = values - of_original - known.get(place, set())
        if new and (gone := of_original - values):
            written = [", ".join(f"{one:f}" for one in sorted(each)) for each in (new, gone)]
            found.append(f"{written[0]} for {written[1]} {place}")
    return tuple(found)


def _places(text: str) -> Mapping[str, set[Decimal]]:
    """The numbers before and after each word; a formula counts as its result."""
    tokens: list[str | Decimal] = []
    plain = unicodedata.normalize("NFKC", text)
    for match in _TOKEN.finditer(_PLAIN.sub(_result, _MATH.sub(_result, plain))):
        word = match[0].lower().replace("\u2019", "'").removesuffix("'s")
        if match["number"]:
            tokens.append(Decimal(match[0].replace(",", "")).normalize())
        elif word in _VALUES and word != "one":
            tokens.append(Decimal(_VALUES[word]).normalize())
        elif word not in _PASSED_OVER:  # a sign ends the place: it is not a word
            tokens.append(word.removesuffix("s") if len(word) > 3 else word)
    found: defaultdict[str, set[Decimal]] = defaultdict(set)
    counted = False  # the word follows a number, and so belongs to that one
    for before, after in pairwise(tokens):
        is_word = isinstance(before, str) and before[0].isalpha()
        if isinstance(after, Decimal) and is_word and not counted:
            found[f"after {before!r}"].add(after)
        counted = isinstance(before, Decimal)
        if isinstance(before, Decimal) and isinstance(after, str) and after[0].isalpha():
            found[f"before {after!r}"].add(before)
    return found


def _result(formula: re.Match[str]) -> str:
    """The number that a formula ends with; a sign that ends a place if it has none."""
    if formula.re is _MATH and not _is_formula(formula[0]):
        return formula[0]
    last = _compact(_RELATION.split(formula[0])[-1])
    return f" {last} " if re.fullmatch(r"\d*\.?\d+", last) else " ; "


def _numbers(text: str) -> dict[Decimal, str]:
    """By value, the first way in which each number is written."""
    found: dict[Decimal, str] = {}
    plain = _SHORT_FRACTION.sub(r"\1{\2}{\3}", unicodedata.normalize("NFKC", text))
    for match in _NUMBER.finditer(plain):
        try:
            value = Decimal(_GROUPS.sub("", match[0])).normalize()
        except InvalidOperation:  # an empty match
            continue
        found.setdefault(value, match[0])
    return found


def _words(text: str) -> Iterator[Decimal]:
    """The values of numbers that are written as words."""
    for match in _WORD.finditer(text):
        yield Decimal(_VALUES[match[0].lower()]).normalize()


def _sides(text: str) -> Iterator[str]:
    """The sides of all formulas, as :func:`_compact` writes them; single symbols are none."""
    for formula in _formulas(text):
        for side in _RELATION.split(formula):
            compact = _compact(side).strip(".,;:\u00b7")
            if len(compact) > 1 and not compact.replace(".", "").replace(",", "").isdecimal():
                yield compact


def _formulas(text: str) -> Iterator[str]:
    rest = text
    for match in _MATH.finditer(text):
        content = next(match[name] for name in "abcde" if match[name])
        if _is_formula(content):
            yield content
            rest = rest.replace(match[0], " \n ")
    for match in _PLAIN.finditer(rest):
        yield match[0]


def _is_formula(content: str) -> bool:
    """Whether what is between dollars is math, and not the text between two prices."""
    return not _TWO_WORDS.search(content)


def _compact(text: str) -> str:
    """Without layout and white space, and with one spelling of each sign."""
    text = unicodedata.normalize("NFKC", text)
    for pattern, sign in _SAME:
        text = pattern.sub(sign, text)
    return _PRODUCT.sub("", _LAYOUT.sub("", _THOUSANDS.sub("", text)))

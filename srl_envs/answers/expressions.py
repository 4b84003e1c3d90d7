r"""Whether two mathematical expressions are equal; needs math-verify.

math-verify reads them. They are then evaluated at a few points, to 50 digits: two
expressions that agree at all of them are equal, and no magnitude is lost to rounding: where
numbers are large or small, there are more digits, so that ``2^{1000}`` is not ``2^{1000}+1``.
Numbers of more than 50,000 digits are too large for that: they equal only what is written
alike. math-verify's own comparison is asked only about what cannot be evaluated. An expression
that cannot be read as a whole equals nothing: its numbers alone say nothing about it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify
from math_verify.parser import NormalizationConfig
from sympy.core.function import AppliedUndef

from srl_envs.answers.numbers import Value, number, same_value

_DIGITS = 50
_POINTS = 4
_CLOSE, _CLOSE_TO_A_DECIMAL = sympy.Float("1e-40", _DIGITS), sympy.Float("2e-6", _DIGITS)
_PLAIN_SIZE, _MAX_SIZE = 15, 50_000
"""Decimal digits before the point: up to the first the 50 suffice, beyond the second none do."""
_MAX_FACTORS = 1_000
_GAMMA = re.compile(r"\\gamma(?![A-Za-z])")
_BINOMIAL = re.compile(r"(?<=\d)\s*(?=\\d?t?binom(?![A-Za-z]))")
_TO_THE_T = re.compile(r"\^\s*(?:T(?![A-Za-z_])|\{\s*T\s*\})")
_PRIMED = re.compile(
    r"(?P<name>\\[A-Za-z]+|[A-Za-z])\s*(?:_(?P<before>\w|\{[^{}]*\}))?\s*(?P<primes>'+)"
    r"(?:\s*_(?P<after>\w|\{[^{}]*\}))?"
)
_ANGLE = re.compile(r"\\angle\s*\{?\s*([A-Z]{3})(?![A-Za-z])\}?")
_LETTER = re.compile(  # a variable, or a Greek letter; not what is in a command or an index
    r"\\(?:math(?:bb|cal|frak|scr)\s*\{[^{}]*\}|(?P<greek>Delta|Theta|Lambda|Phi|Psi|Omega)"
    r"(?![A-Za-z])|[A-Za-z]+)|_\s*(?:\{[^{}]*\}|[A-Za-z])|(?P<letter>[A-Za-z])"
)
_SENTENCE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}\s+[A-Za-z]{2,}(?![A-Za-z])")
_INDEX = re.compile(r"\s*_\s*(?:(\w)|\{([^{}]*)\})")
_PRIMED_FORMULA = re.compile(r"[)}\]]\s*'")
_READING = [
    LatexExtractionConfig(
        boxed_match_priority=0,
        # math-verify's own removal of units takes the m of \frac{37}{4} m and the t of t/m for one.
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="last"
        ),
    )
]


def same_expression(one: str, other: str) -> bool:
    """Whether two expressions in plain notation are equal."""
    if _SENTENCE.search(one) or _SENTENCE.search(other):  # the parser multiplies its letters
        return one.casefold() == other.casefold()
    first, second = map(_read, _with_cases_apart(one, other))
    if first is None or second is None:
        return False
    if isinstance(first, sympy.Rel) and isinstance(second, sympy.Rel):
        return _same_relation(first, second)
    if isinstance(first, sympy.Expr) and isinstance(second, sympy.Expr):
        verdict = _same_values([first], [second])
        if verdict:
            decimals = [number(text) for text in (one, other)]
            return _same_places(first, decimals[1]) and _same_places(second, decimals[0])
        if verdict is not None:
            return verdict
    elif isinstance(first, sympy.Expr | sympy.Rel) != isinstance(second, sympy.Expr | sympy.Rel):
        return False
    if first.has(sympy.Product) or second.has(sympy.Product):  # sympy would try for minutes
        return bool(first == second)
    return bool(verify(first, second, timeout_seconds=None))


@lru_cache(maxsize=256)
def _read(text: str) -> Any:
    """The expression as sympy has it; None if it cannot be read as a whole."""
    if r"\ldots" in text or r"\text" in text:
        return None
    text = _GAMMA.sub("g_{amma}", text)  # the parser takes it for the function
    text = _BINOMIAL.sub(r" \\cdot ", text)  # the parser adds the 2 of 2\binom{4}{2}
    text = _TO_THE_T.sub(r"^{1 \\cdot T}", text)  # the parser drops it as the mark of a transpose
    text = _PRIMED.sub(_primed_name, text)  # the parser drops primes
    text = _ANGLE.sub(_angle_name, text)  # the parser takes it for a product
    if _PRIMED_FORMULA.search(text):
        return None
    found = parse(
        f"\\boxed{{{text}}}",
        _READING,
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    if not found or found[0].has(sympy.zoo, sympy.nan):
        return None
    return found[0]


def _primed_name(match: re.Match[str]) -> str:
    """``y'_1`` with its prime as a part of the index."""
    index = (match["before"] or match["after"] or "").strip("{}")
    return f"{match['name']}_{{{index}prime{len(match['primes'])}}}"


def _angle_name(match: re.Match[str]) -> str:
    r"""``\angle CBA`` as a name, which is also that of ``\angle ABC``."""
    name = match[1].lower()
    return f"a_{{ngle{min(name, name[::-1])}}}"


def _with_cases_apart(one: str, other: str) -> tuple[str, str]:
    """Both texts, where a letter that is in them as a capital and a small one has two names.

    The parser takes ``M`` for ``m``.
    """
    letters = {
        match["letter"] or match["greek"]
        for text in (one, other)
        for match in _LETTER.finditer(text)
        if match["letter"] or match["greek"]
    }
    greek = {name for name in letters if len(name) > 1 and rf"\{name.lower()}" in one + other}
    capitals = greek | {name for name in letters if name.isupper() and name.lower() in letters}
    return _renamed(one, capitals), _renamed(other, capitals)


def _renamed(text: str, capitals: set[str]) -> str:
    """A text in which these capitals have an index that no small letter has."""
    parts, at = [], 0
    for match in _LETTER.finditer(text):
        name = match["letter"] or match["greek"]
        if name not in capitals or match.start() < at:
            continue
        index = _INDEX.match(text, match.end())
        old = (index[1] or index[2]) if index else ""
        parts += [text[at : match.start()], match[0].lower(), f"_{{{old}capital}}"]
        at = index.end() if index else match.end()
    return "".join([*parts, text[at:]])


def _same_relation(one: Any, other: Any) -> bool:
    """Whether two equations or inequalities say the same: their sides differ by a factor."""
    if isinstance(one, sympy.Gt | sympy.Ge):
        one = one.reversed
    if isinstance(other, sympy.Gt | sympy.Ge):
        other = other.reversed
    if type(one) is not type(other):
        return False
    try:
        differences = one.lhs - one.rhs, other.lhs - other.rhs
    except TypeError:  # of sets
        return bool(one == other)
    symmetric = isinstance(one, sympy.Eq | sympy.Ne)
    pairs = _values(*differences)
    digits = _digits_needed(pairs, differences)
    if digits is None:
        return False
    if digits > _DIGITS:
        pairs = _values(*differences, digits)
    ratios = [
        first / second for first, second in pairs if abs(second) > _CLOSE and abs(first) > _CLOSE
    ]
    return (
        len(ratios) >= _POINTS - 1
        and all(_close(ratio, ratios[0], _tolerance(digits) * 10**10) for ratio in ratios)
        and (symmetric or bool(ratios[0].is_real and ratios[0] > 0))
    )


def _same_values(one: Sequence[Any], other: Sequence[Any]) -> bool | None:
    """Whether two expressions have the same value at all points; None if they have none."""
    [first], [second] = one, other
    if first.is_Rational and second.is_Rational:
        return bool(first == second)
    pairs = _values(first, second)
    if not pairs:
        return None
    if first.atoms(sympy.Float) or second.atoms(sympy.Float):
        return all(_close(*pair, _CLOSE_TO_A_DECIMAL) for pair in pairs)
    if not all(_close(*pair, _CLOSE) for pair in pairs):
        return False
    digits = _digits_needed(pairs, (first, second))
    if digits is None or digits == _DIGITS:
        return digits is not None
    return all(_close(*pair, _tolerance(digits)) for pair in _values(first, second, digits))


def _same_places(exact: Any, decimal: Value | None) -> bool:
    """Whether an exact number has a decimal's digits; true if either is something else.

    An integer must be the decimal, unless that is rounded to more than one.
    """
    place = None if decimal is None else decimal.unit_in_last_place
    if decimal is None or place is None or not exact.is_number or exact.atoms(sympy.Float):
        return True
    digits = _digits_needed([], [exact])
    value = None if digits is None else _number(exact, {}, digits)
    if digits is None or value is None or not value.is_real:
        return digits is not None
    nearest = int(value.round())
    if place <= 1 and abs(value - nearest) <= _tolerance(digits):
        return same_value(Value(Fraction(nearest)), decimal)
    return abs(Fraction(str(value)) - decimal.value) < place


def _digits_needed(pairs: Sequence[tuple[Any, Any]], expressions: Sequence[Any]) -> int | None:
    """To how many digits values tell numbers of this size apart; None if they cannot."""
    constants = [
        _number(part, {})
        for expression in expressions
        for part in sympy.preorder_traversal(expression)
        if isinstance(part, sympy.Expr) and part.is_number and (part.args or part.is_Integer)
    ]
    values = [value for value in (*constants, *(v for pair in pairs for v in pair)) if value]
    size = max((abs(int(sympy.log(abs(value), 10).evalf(15))) for value in values), default=0)
    if size > _MAX_SIZE:
        return None
    return _DIGITS if size <= _PLAIN_SIZE else _DIGITS + 2 * size


def _tolerance(digits: int) -> Any:
    return sympy.Float(f"1e-{digits - 10}", digits)


def _close(one: Any, other: Any, tolerance: Any) -> bool:
    return bool(abs(one - other) <= tolerance * max(abs(one), abs(other)))


def _values(one: Any, other: Any, digits: int = _DIGITS) -> list[tuple[Any, Any]]:
    """The values of both at the points where both have one."""
    one, other = _with_plain_symbols(one), _with_plain_symbols(other)
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    counts = {
        symbol
        for expression in (one, other)
        for counted in expression.atoms(sympy.Sum, sympy.Product)
        for _, *bounds in counted.limits
        for bound in bounds
        for symbol in bound.free_symbols
    }
    found = []
    for point in range(_POINTS if symbols else 1):
        at = {
            symbol: sympy.Integer(2 + 3 * point + index)
            if symbol in counts
            else _value_of(index, point)
            for index, symbol in enumerate(symbols)
        }
        values = [_number(expression, at, digits) for expression in (one, other)]
        if all(value is not None for value in values):
            found.append((values[0], values[1]))
    return found


def _value_of(index: int, point: int) -> Any:
    """What the index-th symbol is at a point: positive at two of them, then of both signs."""
    value = sympy.Rational(7 + 13 * index + 29 * point + index * index * point, 17 + 3 * index)
    return -value if point >= 2 and (index + point) % 2 else value


def _number(expression: Any, at: dict[Any, Any], digits: int = _DIGITS) -> Any:
    """The value at a point; None if there is none."""
    try:
        expression = expression.subs(at)
        if not all(map(_is_short, expression.atoms(sympy.Product))):
            return None
        value = expression.evalf(digits, maxn=max(400, 2 * digits))
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    real, imaginary = value.as_real_imag()
    return value if real.is_Number and imaginary.is_Number and value.is_finite else None


def _is_short(product: Any) -> bool:
    """Whether a product has few factors; sympy tries for minutes on any other."""
    return all(
        low.is_Integer and high.is_Integer and high - low < _MAX_FACTORS
        for _, low, high in product.limits
    )


def _with_plain_symbols(expression: Any) -> Any:
    """One symbol for each name: i is the imaginary unit, f(x) a symbol of its own."""
    expression = expression.replace(
        lambda part: isinstance(part, AppliedUndef | sympy.Derivative),
        lambda part: sympy.Symbol(re.sub(r"\s", "", str(part))),
    )
    return expression.subs(
        {
            symbol: sympy.I if symbol.name == "i" else sympy.Symbol(symbol.name)
            for symbol in expression.free_symbols
        }
    )

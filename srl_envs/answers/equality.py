r"""Whether two final answers mean the same.

The question is symmetric. :func:`same_answer` takes both answers apart by their form, and
compares the parts by the same rules:

* text: the same words, whatever their case; dates and times by what they name;
* a choice: ``(B)`` is ``B`` and ``\textbf{(B)}\ 7``;
* numbers and bases: :mod:`srl_envs.answers.numbers`;
* units, percent and currencies: :mod:`srl_envs.answers.units`;
* intervals: ``x > 3`` is ``(3, \infty)``, with "or" for unions;
* lists: sets in any order, tuples in theirs; a list with an ellipsis element by element;
* equations: ``x = 5`` is ``5``, and not ``y = 5``; ``2x = 10`` is not ``10``;
* matrices: cell by cell; a row or a column is also a tuple.

What is left are expressions. The caller says how these are compared:
:mod:`srl_envs.answers.expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from srl_envs.answers.free_letters import with_same_letters
from srl_envs.answers.notation import bare, plain_notation
from srl_envs.answers.number_intervals import Interval, intervals_of, joined_otherwise
from srl_envs.answers.numbers import digits_in_base, number, same_value
from srl_envs.answers.structure import (
    Elements,
    cells_of,
    elements_of,
    have_names,
    is_name,
    is_set,
    is_sum_of_names,
    listed_rows,
    names_value,
    sides_of,
    unwrapped,
    values_of,
)
from srl_envs.answers.units import Unit, same_units, with_letter, without_unit
from srl_envs.answers.words import choice_of, chosen_letters, same_date, same_time, same_words

Compare = Callable[[str, str], bool]
_Part = TypeVar("_Part")
_HUNDREDTH = Fraction(1, 100)


def same_answer(one: str, other: str, expressions: Compare) -> bool:
    """Whether two answers mean the same.

    Args:
        one: An answer.
        other: Another. Their order does not matter.
        expressions: Compares two expressions in plain notation, of which the forms above
            say nothing.
    """
    return _Comparison(expressions).same(*sorted(map(plain_notation, (one, other))))


class _Comparison:
    """The rules, each of which says whether two texts are the same, or None if it cannot tell."""

    def __init__(self, expressions: Compare) -> None:
        self._expressions = expressions

    def same(self, one: str, other: str) -> bool:
        """Whether two texts in plain notation mean the same: the first rule that knows decides."""
        one, other = with_same_letters(unwrapped(one), unwrapped(other))
        if bare(one) == bare(other):
            return True
        if not one or not other:
            return False
        for rule in (
            _numbers,
            same_words,
            self._choices,
            same_date,
            same_time,
            self._ratios,
            self._quantities,
            self._intervals,
            self._equations,
            _in_bases,
            self._matrices,
            self._lists,
        ):
            if (verdict := rule(one, other)) is not None:
                return verdict
        return self._expressions(one, other)

    def _choices(self, one: str, other: str) -> bool | None:
        letters, other_letters = chosen_letters(one), chosen_letters(other)
        if letters is not None and other_letters is not None:
            return letters == other_letters
        choice, other_choice = choice_of(one), choice_of(other)
        if choice and other_choice:
            (letter, text), (other_letter, other_text) = choice, other_choice
            return letter == other_letter and (
                not text or not other_text or self.same(text, other_text)
            )
        if choice and choice[1]:
            return self.same(choice[1], other)
        if other_choice and other_choice[1]:
            return self.same(one, other_choice[1])
        return None

    def _ratios(self, one: str, other: str) -> bool | None:
        """``1:2:3`` is ``2:4:6``; a ratio of two numbers is also a fraction, and is one here."""
        terms, other_terms = one.split(":"), other.split(":")
        if max(len(terms), len(other_terms)) < 3 or not all((*terms, *other_terms)):
            return None
        if len(terms) != len(other_terms):
            return False
        values = [number(term) for term in (*terms, *other_terms)]
        exact = [value.value for value in values if value is not None]
        if len(exact) < len(values) or not all(exact):
            return self._ordered(terms, other_terms)
        count = len(terms)
        return len({exact[i] / exact[count + i] for i in range(count)}) == 1

    def _quantities(self, one: str, other: str) -> bool | None:
        (core, unit), (other_core, other_unit) = _quantity(one), _quantity(other)
        if unit is None and other_unit is None:
            return None
        if unit is None:
            core, unit = with_letter(core)
        if other_unit is None:
            other_core, other_unit = with_letter(other_core)
        factor = same_units(unit, other_unit)
        if factor is None:
            return False
        value, other_value = number(core), number(other_core)
        if value is None or other_value is None:
            if {unit, other_unit} == {Unit("degree"), None} and r"\pi" in core + other_core:
                core, other_core = (
                    part if side is None else rf"\frac{{({part}) \cdot \pi}}{{180}}"
                    for part, side in ((core, unit), (other_core, other_unit))
                )
            return factor == 1 and self.same(core, other_core)
        if Unit("%") in (unit, other_unit) and unit != other_unit:  # 50% is 50, and 0.5 too
            part, whole = (value, other_value) if unit is not None else (other_value, value)
            return same_value(part, whole) or same_value(part.scaled(_HUNDREDTH), whole)
        return same_value(value.scaled(factor), other_value)

    def _intervals(self, one: str, other: str) -> bool | None:
        pieces, other_pieces = intervals_of(one), intervals_of(other)
        if pieces is None or other_pieces is None:
            return False if joined_otherwise(one, other) else None
        names = {piece.name for piece in (*pieces, *other_pieces)} - {""}
        return len(names) < 2 and _unordered(pieces, other_pieces, self._same_interval)

    def _same_interval(self, one: Interval, other: Interval) -> bool:
        return one[1:3] == other[1:3] and all(map(self.same, one.ends, other.ends))

    def _equations(self, one: str, other: str) -> bool | None:
        sides, other_sides = sides_of(one), sides_of(other)
        if len(sides) == len(other_sides) == 1:
            return None
        if len(sides) > 1 and len(other_sides) > 1:
            if bare(sides[0]) == bare(other_sides[0]) and is_name(sides[0]):
                return self.same(sides[-1], other_sides[-1])
            return None if len(sides) == len(other_sides) == 2 else False
        if len(sides) == 1:
            one, other, sides = other, one, other_sides
        left, right = sides[0], sides[-1]
        if len(sides) == 2 and number(left) is not None and is_name(right):  # 5 = x
            left, right = right, left
        named = names_value(left, right)
        if r"\approx" in one:  # the exact value and the rounded one both count
            return any(self.same(side, other) for side in sides[named:])
        asked = named or (is_sum_of_names(left) and number(right) is not None)
        computed = not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", left))  # 3 + 4 = 7
        return (asked or computed) and self.same(right, other)

    def _matrices(self, one: str, other: str) -> bool | None:
        cells, other_cells = cells_of(one), cells_of(other)
        if (cells is None) != (other_cells is None):
            cells, other_cells = cells or listed_rows(one), other_cells or listed_rows(other)
        if cells is not None and other_cells is not None:
            return len(cells) == len(other_cells) and all(map(self._ordered, cells, other_cells))
        matrix, listed = (cells, other) if cells is not None else (other_cells, one)
        elements = elements_of(listed)
        if matrix is None or elements is None or 1 not in (len(matrix), max(map(len, matrix))):
            return None
        return self._ordered([cell for row in matrix for cell in row], elements.parts)

    def _lists(self, one: str, other: str) -> bool | None:
        listed, other_listed = elements_of(one), elements_of(other)
        if listed is None and other_listed is None:
            return None
        if listed is None:
            return self._list_and_other(other_listed, one)
        if other_listed is None:
            return self._list_and_other(listed, other)
        kinds = {listed.kind, other_listed.kind}
        parts, other_parts = listed.parts, other_listed.parts
        if sum(map(is_set, parts)) != sum(map(is_set, other_parts)):  # \{\{1\}\} is not \{1\}
            return False
        if any(r"\ldots" in part for part in (*parts, *other_parts)):
            return self._ordered(parts, other_parts)
        # A set has no order, and [1, 2] may be an interval.
        if {"set", "tuple"} <= kinds and 1 in (len(parts), len(other_parts)):  # \{(1, 2)\}
            held, alone = (parts, other) if listed.kind == "set" else (other_parts, one)
            return len(held) == 1 and self.same(held[0], alone)
        if {"set", "tuple"} <= kinds or ({"bracket"} < kinds and len(parts) == 2):
            return False
        named = have_names(parts), have_names(other_parts)
        if all(named):
            return _unordered(parts, other_parts, self.same)
        parts, other_parts = values_of(parts), values_of(other_parts)
        if any(named) or kinds & {"tuple", "bracket"}:
            return self._ordered(parts, other_parts)
        return _unordered(parts, other_parts, self.same)

    def _list_and_other(self, listed: Elements | None, other: str) -> bool:
        r"""Whether a list is what is not one: ``\{5\}`` is 5."""
        assert listed is not None
        parts = other.split(",")
        if len(parts) > 1 and number(other) is not None:  # 100,200,300 beside 100, 200, 300
            return not any(part.startswith("0") for part in parts) and _unordered(
                listed.parts, parts, self.same
            )
        written_twice = listed.kind == "list"  # 3/4, or 0.75
        return (
            (len(listed.parts) == 1 or written_twice)
            and not any(map(is_set, listed.parts))
            and all(self.same(part, other) for part in listed.parts)
        )

    def _ordered(self, one: Sequence[str], other: Sequence[str]) -> bool:
        return len(one) == len(other) and all(map(self.same, one, other))


def _numbers(one: str, other: str) -> bool | None:
    value, other_value = number(one), number(other)
    return None if value is None or other_value is None else same_value(value, other_value)


def _quantity(text: str) -> tuple[str, Unit | None]:
    """The same as :func:`without_unit`, but "5 boys, 3 girls" is not a quantity of girls."""
    core, unit = without_unit(text)
    listed = elements_of(text) if unit is not None and number(core) is None else None
    if listed and listed.kind == "list" and any(without_unit(p)[1] for p in listed.parts[:-1]):
        return text, None
    return core, unit


def _in_bases(one: str, other: str) -> bool | None:
    written, other_written = digits_in_base(one), digits_in_base(other)
    if written is not None and other_written is not None:
        return written == other_written
    based, plain = (written, other) if written is not None else (other_written, one)
    return None if based is None else bare(plain).upper() == based[0]


def _unordered(
    one: Sequence[_Part], other: Sequence[_Part], same: Callable[[_Part, _Part], bool]
) -> bool:
    """Whether each of one is one of the other, and none is left."""
    left = list(other)
    for part in one:
        found = next((at for at, candidate in enumerate(left) if same(part, candidate)), None)
        if found is None or len(one) != len(other):
            return False
        del left[found]
    return not left

"""Answers in plain notation; numbers and units that are read out of it."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.answers.notation import plain_notation
from srl_envs.answers.numbers import number
from srl_envs.answers.units import Unit, without_unit


@pytest.mark.parametrize(
    "text, plain",
    [
        ("$42$.", "42"),
        ("**42**", "42"),
        ("x**2", "x^2"),
        ("\\$42", "\\$42"),
        ("4.5e33", "4.5 \\times 10^{33}"),
        ("4.5e33.", "4.5 \\times 10^{33}"),
        ("2e3", "2 \\times 10^3"),
        ("1E-05", "1 \\times 10^{-05}"),
        ("2e", "2e"),
        ("x^{2}e3", "x^2e3"),
        ("-1./3", "-1/3"),
        ("np.arcsin(10/13)", "\\arcsin(10/13)"),
        ("6-5i", "6-5 i"),
        ("e^{2it}", "e^{2 i t}"),
        ("12in", "12in"),
        ("2\\sin x", "2\\sin x"),
        ("2\u00bd", "2\\frac{1}{2}"),
        ("\u221a2", "\\sqrt{2}"),
        ("x\u00b2", "x^2"),
        ("11,\\! 111", "11,111"),
        ("\\mathrm{cm}", "\\text{cm}"),
        ("\\lambda_{\\text {red}}", "\\lambda_{red}"),
        ("\\frac 34", "\\frac{3}{4}"),
        ("1, ..., n", "1, \\ldots , n"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ],
)
def test_plain_notation(text: str, plain: str) -> None:
    assert plain_notation(text) == plain


@given(st.text("0123456789.,-+e\\ times^{}$*()abnpix<", max_size=40))
def test_plain_notation_stays_as_it_is(text: str) -> None:
    plain = plain_notation(text)
    assert plain_notation(plain_notation(plain)) == plain_notation(plain)


@pytest.mark.parametrize(
    "text, value",
    [
        ("1,234", 1234),
        ("1 234", 1234),
        ("1.234.567", 1234567),
        ("1,2", None),
        ("1 2", None),
        ("3 \\cdot 10^8", 3 * 10**8),
        ("10^{-2}", Fraction(1, 100)),
        ("2\\frac{1}{2}", Fraction(5, 2)),
        ("-2 1/2", Fraction(-5, 2)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("0.(3)", Fraction(1, 3)),
        ("0.333\\ldots", Fraction(1, 3)),
        ("3.14\\ldots", None),
        ("5\\text{million}", 5 * 10**6),
        ("3 dozen", 36),
        ("three", 3),
        ("1/0", None),
        ("1 \\times 10^{9999}", None),
        ("x", None),
    ],
)
def test_numbers(text: str, value: Fraction | None) -> None:
    read = number(text)
    assert (read and read.value) == value


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_float_is_read_as_it_is_printed(value: float) -> None:
    read = number(plain_notation(repr(value)))
    assert read is not None and float(read.value) == value and read.unit_in_last_place


@pytest.mark.parametrize(
    "text, core, unit",
    [
        ("18 dollars", "18", Unit("dollar")),
        ("\\$18", "18", Unit("dollar")),
        ("1.6 \\text{cm}", "1.6", Unit("cm")),
        ("15\\text{cm}^2", "15", Unit("cm", 2)),
        ("15 square centimeters", "15", Unit("cm", 2)),
        ("35\\%", "35", Unit("%")),
        ("2 million dollars", "2 \\text{million}", Unit("dollar")),
        ("2 x", "2 x", None),
        ("2x", "2x", None),
        ("\\text{cm}", "\\text{cm}", None),
        ("3 or more", "3 or more", None),
    ],
)
def test_units(text: str, core: str, unit: Unit | None) -> None:
    assert without_unit(text) == (core, unit)


def test_a_long_run_of_blanks_is_read_quickly() -> None:
    before = time.process_time()
    assert plain_notation("2" + " " * 900 + "1") == "2 1"
    assert time.process_time() - before < 2

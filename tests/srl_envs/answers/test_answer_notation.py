"""Answers in plain notation: what is rewritten, what decides without math-verify, and that no
text breaks it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.answers.notation import (
    comparable_forms,
    number,
    plain_notation,
    verdict_by_notation,
    without_unit,
)


@pytest.mark.parametrize(
    "text, plain",
    [
        ("$42$.", "42"),
        ("**42**", "42"),
        ("\\$42", "\\$42"),
        ("4.5e33", "4.5 \\times 10^{33}"),
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
        ("-2 \\le x < 7", "[-2, 7)"),
        ("0<x", "0<x"),
        ("a<b<c<d", "a<b<c<d"),
    ],
)
def test_plain_notation(text: str, plain: str) -> None:
    assert plain_notation(text) == plain


@pytest.mark.parametrize(
    "text, value",
    [
        ("1,234", 1234.0),
        ("1,2", None),
        ("1 2", None),
        ("10{,}000", 10000.0),
        ("11,\\!111", 11111.0),
        ("3 \\cdot 10^8", 3e8),
        ("1e9999", None),
        ("x", None),
    ],
)
def test_numbers(text: str, value: float | None) -> None:
    read = number(text)
    assert read == value or (read is not None and read[0] == value)


def test_units() -> None:
    assert [
        without_unit(text)
        for text in ("18 dollars", "1.6 \\text{ cm}", "15\\mbox{ cm}^2", "3 \\mathrm{~m}")
    ] == ["18", "1.6", "15", "3"]
    assert [without_unit(text) for text in ("5 million", "2 x", "2x", "\\text{cm}")] == [
        "5 million",
        "2 x",
        "2x",
        "\\text{cm}",
    ]


@pytest.mark.parametrize(
    "answer, reference, verdict",
    [
        ("0.56131", "0.5613", True),
        ("0.5615", "0.5613", False),
        ("10000", "10001", None),
        ("27.0", "27", True),
        ("E_1 \\text{ and } E_2", "E_{1},E_{2}", True),
        ("12", "1 2", None),
        ("x", "y", None),
        ("5 \\text{ m}", "5", True),
        ("5 \\text{ m}", "5 \\text{ s}", None),
    ],
)
def test_what_notation_decides(answer: str, reference: str, verdict: bool | None) -> None:
    assert verdict_by_notation(*comparable_forms(answer, reference)) is verdict


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_float_is_read_as_it_is_printed(value: float) -> None:
    read = number(plain_notation(repr(value)))
    assert read is not None and read[0] == value and read[1]


@given(st.text(), st.text("0123456789.,-+e\\ times^{}$*()abnpix<", max_size=40))
def test_any_text_is_taken_and_is_the_same_as_itself(wild: str, near: str) -> None:
    assert verdict_by_notation(*comparable_forms(wild, wild)) is True
    assert (
        verdict_by_notation(*comparable_forms(near, near)) is True
        or number(plain_notation(near)) is not None
    )

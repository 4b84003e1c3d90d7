"""The outline of Python files: which lines are function bodies."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.sandbox.editor.outline import function_bodies, outline


def bodies(source: str) -> list[tuple[int, int]]:
    return function_bodies(textwrap.dedent(source).lstrip("\n"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    a\n    b\n", [(2, 3)]),
        ("def f():\n    a", [(2, 2)]),
        ("def f(): return 1\n", [(1, 1)]),
        ("def f(): return [\n1,\n2]\n", [(1, 3)]),
        ("async def f():\n  a\n", [(2, 2)]),
        ("async with x:\n    a\n\nasync for x in y:\n    b\n", []),
        ("class C:\n    x = 1\n    def m(self):\n        a\n    y = 2\n", [(4, 4)]),
        ("def f(a={1: 2}, b=lambda: 0,\n      c=x[1:2]) -> T[1:2]:\n    a\n", [(3, 3)]),
        ("def f():\n    def g():\n        a\n    b\n", [(2, 4), (3, 3)]),
        ("def f():\n    @d\n    def g():\n        a\n", [(2, 4), (4, 4)]),
        ("def f():\n    if a:\n        b\n\n\nx = 1\n", [(2, 3)]),
        ('def f():\n    """Two\n    lines."""\n', [(2, 3)]),
        ("if True:\n\tdef f():\n\t\ta\n", [(3, 3)]),
        ("def f(a=f'(:{x}'):\n    a\n", [(2, 2)]),
        ("x = {'def': 1}\nprint 'Python 2'\n", []),
        ("", []),
    ],
)
def test_bodies_begin_and_end_with_their_statements(
    source: str, expected: list[tuple[int, int]]
) -> None:
    assert function_bodies(source) == expected


def test_comments_below_belong_to_a_body_as_deep_as_they_are_indented() -> None:
    source = """
        def f():
            # above the first statement: outside
            def g():
                a
                # as deep as g's body

            # as deep as f's body
          # less deep: outside, and so is what follows
            # even where it is deep
        x = 1
    """
    assert bodies(source) == [(3, 7), (4, 5)]


def test_bodies_of_six_lines_and_more_are_left_out() -> None:
    five = "def five():\n" + "    a\n" * 5
    six = "def six():\n" + "    b\n" * 6
    shown = outline(five + six)
    assert shown is not None
    assert shown.split("\n") == [
        "     1 def five():",
        *(f"     {n}     a" for n in range(2, 7)),
        "     7 def six():",
        "     8 ... eliding lines 8-13 ...",
    ]


def test_a_body_in_a_body_has_its_own_line() -> None:
    source = "def f():\n    def g():\n" + "        a\n" * 6 + "    return g\n"
    assert (
        outline(source)
        == "     1 def f():\n     2 ... eliding lines 2-9 ...\n     3 ... eliding lines 3-8 ..."
    )


@pytest.mark.parametrize("source", ['x = """open', "x = (1,\n", "if a:\n        b\n    c\n"])
def test_what_has_no_tokens_has_no_outline(source: str) -> None:
    assert outline(source) is None


def test_a_file_made_to_overflow_a_parser_has_an_outline() -> None:
    assert outline("-" * 200_000 + "1\n") is not None


PIECES = [
    *"def():\n\t #'\"\\[]{}ax\x0c\r\0\u20ac",
    "def f():\n",
    "async def ",
    "    ",
    "class C:\n",
    "f'{x:",
    '"""',
]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_has_an_outline_or_none(source: str) -> None:
    shown = outline(source)
    assert shown is None or shown.count("\n") <= source.count("\n")

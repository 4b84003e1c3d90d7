import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.rendering import COLUMN, side_by_side, width


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("数学", 4), ("e\u0301", 1), ("a\u200bb", 2), ("😀", 2), ("Ａ", 2), ("", 0)],
)
def test_the_width_of_a_text_on_a_terminal(text, columns):
    assert width(text) == columns


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_columns_stand_in_line_and_nothing_is_lost(model, expert):
    heading, *lines = side_by_side("heading", model, expert).split("\n")
    assert heading == "heading"
    left = []
    for line in lines:
        column = next(
            (
                i
                for i in range(len(line) + 1)
                if width(line[:i]) == COLUMN and line[i : i + 2] == " |"
            ),
            None,
        )
        assert column is not None
        left.append(line[:column])
    assert [letter for letter in "".join(left[2:]) if letter.isalnum()] == [
        letter for letter in model if letter.isalnum()
    ]
    assert not any(
        unicodedata.category(character) in ("Cc", "Cs") for line in lines for character in line
    )


def test_words_are_kept_whole_and_wide_ones_are_cut():
    lines = side_by_side("h", "word " * 20, "数" * 60).split("\n")[3:]
    left, right = zip(*(line.split(" | ") for line in lines), strict=True)
    assert set(re.findall(r"\S+", " ".join(left))) == {"word"}
    assert [width(cell) for cell in right] == [58, 58, 4]


def test_an_answer_cannot_steer_the_terminal():
    assert "\x1b" not in side_by_side("h", "\x1b[2Jgone", "x") and "\u241b[2Jgone" in side_by_side(
        "h", "\x1b[2Jgone", "x"
    )

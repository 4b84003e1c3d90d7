"""Splitting written solutions at their steps: what is decided one way or the other, and that no text is ever lost."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.data import numbered, s1k
from srl_envs.data.step_text import split_steps

PLAIN = numbered.STYLES[1]


def actions(solution: str, style: re.Pattern[str] = PLAIN) -> list[str]:
    parts = split_steps(solution, style)
    assert parts is not None
    return [step.action for step in parts[1]]


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("1. a\n1. x\n2. y\n3. z\n\n2. b\n\n3. c", ["a\n1. x\n2. y\n3. z", "b", "c"]),  # longer than the steps so far
        ("1. a\n\n1. x\n\n2. b\n\n3. c", ["a\n\n1. x", "b", "c"]),  # an enumeration of one
        ("1. a\n\n2. b\n1. x\n2. y\n3. z\n\n3. c\n\n4. d", ["a", "b\n1. x\n2. y\n3. z", "c", "d"]),
        ("1. a\n\n2. b\n1. x\n2. y\n3. z", ["a", "b\n1. x\n2. y\n3. z"]),  # 3 belongs to the enumeration that it stands in
        ("1. a\n   1. x\n   2. y\n2. b", ["a\n   1. x\n   2. y", "b"]),
        ("1. a\n2. b\n\n7. stray\n\n3. c", ["a", "b\n\n7. stray", "c"]),
    ],
)
def test_inner_enumerations_stay_inside_their_step(solution: str, expected: list[str]) -> None:
    assert actions(solution) == expected


def test_a_second_part_that_counts_anew_stays_in_the_last_step() -> None:
    assert actions("1. a\n\n2. b\n\nPart two\n\n1. c\n\n2. d") == ["a", "b\n\nPart two\n\n1. c\n\n2. d"]


@pytest.mark.parametrize(
    ("after", "tail"),
    [
        ("**Final Answer**\n\\boxed{3}", "**Final Answer**\n\\boxed{3}"),
        ("### Conclusion\nIt is 3.", "### Conclusion\nIt is 3."),
        ("Therefore, it is\n\n\\[ \\boxed{3} \\]", "Therefore, it is\n\n\\[ \\boxed{3} \\]"),
        ("Thus x > 0.\n\nNow we look at y.\n\n**Final Answer**\n\\boxed{3}", "**Final Answer**\n\\boxed{3}"),
        ("Thus x > 0.\n\nNow we look at y.", ""),
        ("Answers differ in sign.", ""),
    ],
)
def test_where_the_tail_begins(after: str, tail: str) -> None:
    solution = f"1. a\n\n2. b\n\n{after}"
    parts = split_steps(solution, PLAIN)
    assert parts is not None and parts[2] == tail


def test_a_sentence_is_no_title() -> None:
    rejected: Counter[str] = Counter()
    rows = [{"question": "q", "deepseek_attempt": "1. We see x = 3.\nSo we go on.\n\n2. We add y.\nDone."}]
    assert list(s1k.read(rows, rejected)) == []
    assert rejected == {"a step without title": 1}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} and \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3}, but \boxed{4", "3"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        ("none", ""),
    ],
)
def test_last_balanced_box(text: str, answer: str) -> None:
    assert s1k.last_boxed(text) == answer


def test_equal_rows_get_ids_of_their_own() -> None:
    row = {"question": "q", "problem": "q", "deepseek_attempt": "1. **A**: x\n\n2. **B**: y", "solution": "1. x\n2. y", "answer": "3"}
    for module in (s1k, numbered):
        first, second = module.read([row, row], Counter())
        assert first.id != second.id
        assert [first] == list(module.read([row], Counter())), "ids depend on the text alone"


LINES = st.lists(
    st.sampled_from(
        ["1. ", "2. ", "3. ", "**1. A** ", "### 2. B\n", "Step 1: ", "### Step 2", "**Final Answer**", "Thus ", "\n", "\r\n", "\n\n", "  ", "x", "**", "\u00a0"]
    ),
    max_size=25,
).map("".join)


@given(LINES)
def test_no_text_is_ever_lost(solution: str) -> None:
    for style in (*s1k.STYLES, *numbered.STYLES):
        parts = split_steps(solution, style)
        if parts is not None:
            preamble, steps, tail = parts
            assert preamble + "".join(step.text + step.gap for step in steps) + tail == solution
            assert all(step.action and step.action == step.action.strip() for step in steps)
            assert not any(step.gap.strip() for step in steps)

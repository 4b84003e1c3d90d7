"""Splitting written solutions at their steps: what is decided one way or the other, and that no
text is ever lost.
"""

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
        (
            "1. a\n1. x\n2. y\n3. z\n\n2. b\n\n3. c",
            ["a\n1. x\n2. y\n3. z", "b", "c"],
        ),  # longer than the steps so far
        ("1. a\n\n1. x\n\n2. b\n\n3. c", ["a\n\n1. x", "b", "c"]),  # an enumeration of one
        ("1. a\n\n2. b\n1. x\n2. y\n3. z\n\n3. c\n\n4. d", ["a", "b\n1. x\n2. y\n3. z", "c", "d"]),
        (
            "1. a\n\n2. b\n1. x\n2. y\n3. z",
            ["a", "b\n1. x\n2. y\n3. z"],
        ),  # 3 belongs to the enumeration that it stands in
        ("1. a\n   1. x\n   2. y\n2. b", ["a\n   1. x\n   2. y", "b"]),
        ("1. a\n2. b\n\n7. stray\n\n3. c", ["a", "b\n\n7. stray", "c"]),
    ],
)
def test_inner_enumerations_stay_inside_their_step(solution: str, expected: list[str]) -> None:
    assert actions(solution) == expected


def test_a_second_part_that_counts_anew_stays_in_the_last_step() -> None:
    assert actions("1. a\n\n2. b\n\nPart two\n\n1. c\n\n2. d") == [
        "a",
        "b\n\nPart two\n\n1. c\n\n2. d",
    ]


@pytest.mark.parametrize(
    ("after", "tail"),
    [
        ("**Final Answer**\n\\boxed{3}", "**Final Answer**\n\\boxed{3}"),
        ("### Conclusion\nIt is 3.", "### Conclusion\nIt is 3."),
        ("Therefore, it is\n\n\\[ \\boxed{3} \\]", "Therefore, it is\n\n\\[ \\boxed{3} \\]"),
        (
            "Thus x > 0.\n\nNow we look at y.\n\n**Final Answer**\n\\boxed{3}",
            "**Final Answer**\n\\boxed{3}",
        ),
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
    rows = [
        {
            "question": "q",
            "deepseek_attempt": "1. We see x = 3.\nSo we go on.\n\n2. We add y.\nDone.",
        }
    ]
    assert list(s1k.read(rows, rejected)) == []
    assert rejected == {"a step without title": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("**Step 1:** Find things\nWe count them.", "**Step 2:** Sum\nWe add."),
        ("**Step 1** Find things\nWe count them.", "**Step 2** Sum\nWe add."),
        ("**Step 1**: Find things\nWe count them.", "**Step 2**: Sum\nWe add."),
        ("**Step 1** - Find things\nWe count them.", "**Step 2** - Sum\nWe add."),
        ("**Step 1 - Find things**\nWe count them.", "**Step 2 - Sum**\nWe add."),
        ("### Step 1 \u2013 Find things\nWe count them.", "### Step 2 \u2014 Sum\nWe add."),
        ("step 1: Find things\nWe count them.", "step 2: Sum\nWe add."),
        ("STEP 1. Find things\nWe count them.", "STEP 2. Sum\nWe add."),
        ("Step 1\n**Find things**: We count them.", "Step 2\n**Sum**: We add."),
        ("  1. **Find things**: We count them.", "  2. **Sum**: We add."),
        ("\t**Step 1:** Find things\n\tWe count them.", "\t**Step 2:** Sum\n\tWe add."),
        ("1.**Find things**: We count them.", "2.**Sum**: We add."),
        ("1)**Find things** We count them.", "2)**Sum** We add."),
        ("**1.** Find things: We count them.", "**2.** Sum: We add."),
        ("**1.** **Find things** We count them.", "**2.** **Sum** We add."),
    ],
)
def test_common_shapes_of_titled_steps(first: str, second: str) -> None:
    text = f"First some words.\n\n{first}\n\n{second}\n\n**Final Answer**\n\\boxed{{3}}"
    [trajectory] = list(s1k.read([{"question": "q", "deepseek_attempt": text}], Counter()))
    assert [(step.title, step.action) for step in trajectory.steps] == [
        ("Find things", "We count them."),
        ("Sum", "We add."),
    ]
    assert trajectory.solution == text and trajectory.preamble == "First some words.\n\n"


@pytest.mark.parametrize(
    ("last", "action"),
    [
        ("3. **The answer is 5**", "**The answer is 5**"),
        ("3. **The answer is 5**:", "**The answer is 5**:"),
    ],
)
def test_a_step_that_is_only_a_title_is_text_without_title(last: str, action: str) -> None:
    text = f"1. **A**: x\n\n2. **B**: y\n\n{last}"
    [trajectory] = list(s1k.read([{"question": "q", "deepseek_attempt": text}], Counter()))
    assert [(step.title, step.action) for step in trajectory.steps] == [
        ("A", "x"),
        ("B", "y"),
        ("", action),
    ]
    assert trajectory.solution == text


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            ("**1. A** x", "**2. The answer is 5**"),
            [("A", "x"), ("", "**2. The answer is 5**")],
        ),  # bold is not torn apart
        (
            ("### Step 1: A\nx", "### Step 2: The answer is 5"),
            [("A", "x"), ("", "The answer is 5")],
        ),
        (
            ("**Step 1:** Find things", "**Step 2:** Add them"),
            [("", "Find things"), ("", "Add them")],
        ),
        (
            ("**Step 1:** We see that x = 3.\nSo y = 4.", "**Step 2:** Sum\nWe add."),
            [("", "We see that x = 3.\nSo y = 4."), ("Sum", "We add.")],
        ),
        (
            ("### Step 1\nWe see x.", "### Step 2\nWe see y."),
            [("", "We see x."), ("", "We see y.")],
        ),
    ],
)
def test_marked_steps_may_lack_a_title(
    steps: tuple[str, str], expected: list[tuple[str, str]]
) -> None:
    text = "\n\n".join(steps)
    [trajectory] = list(s1k.read([{"question": "q", "deepseek_attempt": text}], Counter()))
    assert [(step.title, step.action) for step in trajectory.steps] == expected
    assert trajectory.solution == text


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        (
            "1. a\n\n2. b\n\n3. \n\n**Final Answer**\n5",
            ("", ["a", "b"], "3. \n\n**Final Answer**\n5"),
        ),
        ("1. a\n\n2. \n\n3. c", ("", ["a\n\n2.", "c"], "")),
        ("1. \n\n2. b\n\n3. c", ("1. \n\n", ["b", "c"], "")),
        ("1. a\n\n2. b\n\n3. \u00a0\u2003\x85", ("", ["a", "b"], "3. \u00a0\u2003\x85")),
    ],
)
def test_a_number_without_text_is_no_step_and_not_lost(
    solution: str, expected: tuple[str, list[str], str]
) -> None:
    parts = split_steps(solution, PLAIN)
    assert parts is not None
    assert (parts[0], [step.action for step in parts[1]], parts[2]) == expected


def test_an_indented_list_inside_a_single_step_is_not_taken_for_steps() -> None:
    assert split_steps("1. **Only one**: step\n   1. x\n   2. y", PLAIN) is None


def test_a_number_of_any_length_is_no_error() -> None:
    assert actions(f"1. a\n{'9' * 5000}. b\n2. c") == [f"a\n{'9' * 5000}. b", "c"]


def test_equal_rows_get_ids_of_their_own() -> None:
    row = {
        "question": "q",
        "problem": "q",
        "deepseek_attempt": "1. **A**: x\n\n2. **B**: y",
        "solution": "1. x\n2. y",
        "answer": "3",
    }
    for module in (s1k, numbered):
        first, second = module.read([row, row], Counter())
        assert first.id != second.id
        assert [first] == list(module.read([row], Counter())), "ids depend on the text alone"


LINES = st.lists(
    st.sampled_from(
        [
            "1. ",
            "2. ",
            "3. ",
            "**1. A** ",
            "### 2. B\n",
            "Step 1: ",
            "### Step 2",
            "step 2 - ",
            "**Step 1:** ",
            "1.**A**",
            "**3.** ",
            "**Final Answer**",
            "Thus ",
            "\n",
            "\r\n",
            "\n\n",
            "  ",
            "x",
            "**",
            "\u00a0",
        ]
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


def test_no_white_space_of_any_kind_stands_around_a_title() -> None:
    [(_, steps, _)] = [
        parts for parts in [split_steps("**1. A\u00a0** x\n**2. \x0bB** y", s1k.STYLES[1])] if parts
    ]
    assert [(step.title, step.action) for step in steps] == [("A", "x"), ("B", "y")]


@pytest.mark.parametrize(
    ("answer", "expected"), [(0, "0"), ("0", "0"), (2.5, "2.5"), (None, ""), (["3"], ""), ("", "")]
)
def test_the_answer_column_of_numbered_solutions(answer: object, expected: str) -> None:
    [trajectory] = list(
        numbered.read([{"problem": "p", "solution": "1. x\n2. y", "answer": answer}], Counter())
    )
    assert trajectory.answer == expected


def test_an_empty_problem_is_counted() -> None:
    rejected: Counter[str] = Counter()
    assert list(numbered.read([{"problem": " ", "solution": "1. x\n2. y"}], rejected)) == []
    assert rejected == {"empty problem": 1}

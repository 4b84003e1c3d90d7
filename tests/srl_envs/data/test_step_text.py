"""Splitting written solutions at their steps: what is decided one way or the other, and that no
text is ever lost.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.data import numbered, s1k
from srl_envs.data.step_text import split_steps


def titles(solution: str) -> list[str]:
    parts = split_steps(solution)
    assert parts is not None
    return [step.title for step in parts[1]]


def actions(solution: str) -> list[str]:
    parts = split_steps(solution)
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
    parts = split_steps(solution)
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
    parts = split_steps(solution)
    assert parts is not None
    assert (parts[0], [step.action for step in parts[1]], parts[2]) == expected


def test_an_indented_list_inside_a_single_step_is_not_taken_for_steps() -> None:
    assert split_steps("1. **Only one**: step\n   1. x\n   2. y") is None


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
            "---\n",
            "* * *",
            "(1) ",
            "(2) ",
            "**1**. ",
            "Step One: ",
            "Step Two - ",
            "\\section*{Step 1} ",
            "\\section*{Step 2: ",
            "}\n",
            "$$",
            "\\[",
            "\\]",
            "```\n",
            "### **Final Answer**\n",
            "word: ",
        ]
    ),
    max_size=30,
).map("".join)


@given(LINES)
def test_no_text_is_ever_lost(solution: str) -> None:
    parts = split_steps(solution)
    if parts is not None:
        preamble, steps, tail = parts
        assert preamble + "".join(step.text + step.gap for step in steps) + tail == solution
        assert all(step.action and step.action == step.action.strip() for step in steps)
        assert all(set(step.gap) <= set(" \r\n\t-*_\u00a0") for step in steps)


def test_no_white_space_of_any_kind_stands_around_a_title() -> None:
    parts = split_steps("**1. A\u00a0** x\n**2. \x0bB** y")
    assert parts is not None
    assert [(step.title, step.action) for step in parts[1]] == [("A", "x"), ("B", "y")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (0, "0"),
        (float("nan"), ""),
        (float("inf"), ""),
        ("0", "0"),
        (2.5, "2.5"),
        (None, ""),
        (["3"], "3"),
        ("", ""),
    ],
)
def test_the_answer_column_of_numbered_solutions(answer: object, expected: str) -> None:
    [trajectory] = list(
        numbered.read([{"problem": "p", "solution": "1. x\n2. y", "answer": answer}], Counter())
    )
    assert trajectory.answer == expected


TITLED = ("Pack", "crates go first."), ("Count", "we count them."), ("Ship", "they leave.")
SPELLINGS = [
    "{n}. **{t}**: ",
    "{n}) **{t}**: ",
    "{n}\\. **{t}**: ",
    "**{n}. {t}** ",
    "**{n}.** **{t}**: ",
    "**{n}**. **{t}**: ",
    "**{n})** {t}: ",
    "__{n}. {t}__ ",
    "{n}. __{t}__: ",
    "{n}. *{t}*: ",
    "({n}) **{t}**: ",
    "**({n})** **{t}**: ",
    "({n}) {t}: ",
    "{n}. {t}: ",
    "{n}.\u00a0{t}: ",
    "{n}.\u2003**{t}**: ",
    "\u00a0{n}. **{t}**: ",
    "### {n}. {t}\n",
    "#### **{n}. {t}**\n",
    "### \U0001f50d {n}. {t}\n",
    "### \U0001f50d **Step {n}: {t}**\n",
    "### Step {n}: {t}\n",
    "### Step {n} - {t}\n",
    "### Step {n} {t}\n",
    "## Step {w}: {t}\n",
    "Step {w}: {t}\n",
    "**Step {w}**: {t}\n",
    "**Step {w}: {t}**\n",
    "STEP {w}. {t}\n",
    "Step {r}: {t}\n",
    "Step #{n}: {t}\n",
    "Step {n} : {t}\n",
    "[Step {n}] {t}\n",
    "[Step {n}]: **{t}** ",
    "### Step {n} | {t}\n",
    "Step ({n}): {t}\n",
    "Step {n} of 3: {t}\n",
    "Step {n}/3: {t}\n",
    "Step\u00a0{n}:\u00a0{t}\n",
    "- **Step {n}**: {t}\n",
    "* Step {n}: {t}\n",
    "*Step {n}:* {t}\n",
    "***Step {n}: {t}***\n",
    "\\section*{{Step {n}: {t}}}\n",
    "\\section*{{Step {n}}}\n**{t}**: ",
    "\\subsection*{{{n}. {t}}}\n",
    "\\textbf{{Step {n}: {t}}}\n",
    "\\textbf{{{n}. {t}}} ",
    "{n}. \\textbf{{{t}}}: ",
    "\\paragraph{{Step {n}: {t}}} ",
]


def written(spelling: str, between: str = "\n\n", inner: str = "") -> str:
    numbers = zip((1, 2, 3), ("One", "Two", "Three"), ("I", "II", "III"), TITLED, strict=True)
    return between.join(
        spelling.format(n=n, w=w, r=r, t=title) + text + inner for n, w, r, (title, text) in numbers
    )


def read_back(solution: str) -> tuple[str, list[tuple[str, str]], str]:
    parts = split_steps(solution)
    assert parts is not None, solution
    preamble, steps, tail = parts
    assert preamble + "".join(step.text + step.gap for step in steps) + tail == solution
    return preamble, [(step.title, step.action) for step in steps], tail


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("between", ["\n\n", "\n", "\r\n\r\n", "\n\n---\n\n", "\n\n* * *\n"])
def test_every_spelling_of_a_titled_step(spelling: str, between: str) -> None:
    for tail in ("", "### **Final Answer**\n\\boxed{3}"):
        solution = "We go on.\n\n" + written(spelling, between) + (tail and "\n\n" + tail)
        assert read_back(solution) == ("We go on.\n\n", list(TITLED), tail)


INNER = [
    "\n1. one\n2. two\n3. three\n4. four",
    "\n   1. one\n   2. two\n   3. three\n   4. four",
    "\n    1. **One**: it\n    2. **Two**: it\n    3. **Three**: it",
    "\n(1) word one\n(2) word two\n(3) word three",
    "\n```\n1. code\n2. code\n3. code\n```",
    "\n\\[\n1. x\n2. y\n\\]",
    "\n$$\n1. x\n2. y\n$$",
    "\n\\begin{align*}\n1. x \\\\\n2. y\n\\end{align*}",
    "\n- 1. a bullet\n- 2. a bullet",
]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(
    "spelling", ["{n}. **{t}**: ", "**{n}. {t}** ", "### Step {n}: {t}\n", "({n}) **{t}**: "]
)
def test_a_list_inside_a_step_is_part_of_it(spelling: str, inner: str) -> None:
    solution = written(spelling, inner=inner)
    assert [step for _, step in read_back(solution)[1]] == [text + inner for _, text in TITLED]


@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=6),
    st.sampled_from(["\n", "\n\n", "\n\n---\n\n", "\r\n", "\n***\n"]),
    st.sampled_from(["{n}. **Name**: ", "{n}) ", "Step {n}: ", "({n}) ", "**{n}**. "]),
)
def test_up_to_three_blanks_before_a_number_bury_no_step(
    indents: list[int], between: str, spelling: str
) -> None:
    texts = [f"text of part {'abcdef'[i]}" for i in range(len(indents))]
    solution = between.join(
        " " * blanks + spelling.format(n=i + 1) + text
        for i, (blanks, text) in enumerate(zip(indents, texts, strict=True))
    )
    assert [action for _, action in read_back(solution)[1]] == texts


@pytest.mark.parametrize(
    "text",
    [
        "The shop opens at 9:30 and sells tea.",
        "Trains leave at 14:05:30 and 15:10.",
        "The ratio of boys to girls is 2:3 here.",
        "Mix them in the ratio 2 : 3 and stir.",
        "Mix them in a ratio of 2: 3 parts.",
        "See https://example.org/a:b for more.",
        "Use f(x: int) to double it.",
        "The sum is x = 3: we are done.",
        "Solve the equation for x:\n\\[ 2x = 4 \\]",
        "Solve the equation for x: $2x = 4$.",
        "Solve the equation for x:\n\n2x = 4",
        "Add the numbers: 3 + 4 = 7.",
        "Then the area is: area = 3 * 4.",
        "We see the following: all are even.",
        "For lunch, he eats 2, so he has: four cookies.",
        "To find the number of laps: subtract them.",
        "It is 9:30 p.m. now: sleep.",
        "**9:30** is early.",
        "f: A maps to B",
    ],
)
def test_what_is_no_title_behind_a_plain_number(text: str) -> None:
    steps = read_back(f"1. {text}\n2. {text}")[1]
    assert steps == [("", text), ("", text)]


@pytest.mark.parametrize(
    ("step", "title", "action"),
    [
        ("**Solve for x**:\n\\[ 2x = 4 \\]", "Solve for x", "\\[ 2x = 4 \\]"),
        ("**Ratio 2:3**: mix.", "Ratio 2:3", "mix."),
        ("**At 9:30:** open.", "At 9:30", "open."),
        ("Coprime pairs: we count.", "Coprime pairs", "we count."),
        ("Case 1: 3 boys are here.", "Case 1", "3 boys are here."),
        ("Pack: 3 crates.", "Pack", "3 crates."),
        ("**Pack** - crates.", "Pack", "crates."),
    ],
)
def test_titles_behind_a_plain_number(step: str, title: str, action: str) -> None:
    assert read_back(f"1. {step}\n2. {step}")[1] == [(title, action)] * 2


@pytest.mark.parametrize(
    ("step", "title", "action"),
    [
        ("Step {n}: Solve for x:\n\\[ 2x = 4 \\]", "Solve for x", "\\[ 2x = 4 \\]"),
        ("Step {n}: The shop opens at 9:30 and sells tea.\nGo.", None, None),
        (
            "Step {n}: It opens at 9:30. It sells tea.\nGo.",
            "",
            "It opens at 9:30. It sells tea.\nGo.",
        ),
        ("### Step {n}: Mix 2:3: stir\nGo.", "Mix 2:3: stir", "Go."),
        ("### Step {n}: Find all \\(a\\).\n\nGo.", "Find all \\(a\\).", "Go."),
        ("Step {n}: Ask Mr. Yu.\nGo.", "Ask Mr. Yu.", "Go."),
        ("Step {n}: We see: it is odd.", "", "We see: it is odd."),
        ("Step {n}: We solve for x:\n$x = 3$", "We solve for x", "$x = 3$"),
        ("### Step {n}: Apply\n\nThus\n\n\\[ x \\]", "Apply", "Thus\n\n\\[ x \\]"),
        ("\\section*{{Step {n}: Find $\\frac{{1}}{{2}}$}}\nGo.", "Find $\\frac{1}{2}$", "Go."),
    ],
)
def test_titles_behind_the_word_step(step: str, title: str | None, action: str | None) -> None:
    first = read_back(step.format(n=1) + "\n\n" + step.format(n=2))[1][0]
    if title is None:
        assert first[0] in ("", "The shop opens at 9:30 and sells tea.")
    else:
        assert first == (title, action)


@pytest.mark.parametrize("spelling", ["**Step {n} (Set up):** ", "### Step {n} (Set up)\n"])
def test_a_title_in_parentheses(spelling: str) -> None:
    steps = read_back(f"{spelling.format(n=1)}Go.\n\n{spelling.format(n=2)}Run.")[1]
    assert steps == [("(Set up)", "Go."), ("(Set up)", "Run.")]


def test_a_sentence_about_a_step_begins_none() -> None:
    text = "Step 1: A\nStep 2 (as above) shows it.\nstep 2 gives x.\n\nStep 2: B\nx"
    assert len(read_back(text)[1]) == 2


@pytest.mark.parametrize(
    "tail",
    [
        "### **Final Answer**\n\\boxed{3}",
        "**Final Answer**\n\\boxed{3}",
        "**Final Answer:** \\boxed{3}",
        "**Final Answer**: 3",
        "## Answer\n3",
        "# Final Answer: 3",
        "### \u2705 Final Answer\n3",
        "### \u2705 **Final Answer:**\n3",
        "**\u2705 Final Answer:** 3",
        "**The final answer is** 3",
        "### Final Result\n3",
        "### Conclusion and Answer\n3",
        "\\section*{Final Answer}\n3",
        "\\textbf{Final Answer:} 3",
        "__Final Answer__\n3",
        "*Final answer:* 3",
        "Final Answer: 3",
        "Answer: 3",
        "Conclusion: 3",
        "### Verification\nIt holds.",
    ],
)
@pytest.mark.parametrize("rule", ["", "---\n\n", "***\n\n", "___\n"])
def test_rules_are_gaps_and_answers_begin_the_tail(tail: str, rule: str) -> None:
    solution = written("{n}. **{t}**: ", "\n\n" + rule) + "\n\n" + rule + tail
    assert read_back(solution) == ("", list(TITLED), tail)


def test_text_behind_a_rule_is_the_tail() -> None:
    steps = written("{n}. **{t}**: ")
    assert read_back(f"{steps}\n\n---\n\nIt is as before: 3.")[2] == "It is as before: 3."


def test_an_answer_in_the_next_line_is_the_tail() -> None:
    assert read_back("1. one\n2. two\nAnswer: 3")[2] == "Answer: 3"


@pytest.mark.parametrize("line", ["Answers differ in sign.", "- Answer the rest.", "$answer$ is x"])
def test_what_begins_no_tail(line: str) -> None:
    assert read_back(f"1. one\n\n2. two\n\n{line}")[2] == ""


def test_a_rule_behind_a_heading_is_no_target() -> None:
    assert read_back("### Step 1: A\n---\nx\n\n### Step 2: B\n\n***\n\ny")[1] == [
        ("A", "x"),
        ("B", "y"),
    ]


@pytest.mark.parametrize("numbers", [(1, 2, 4), (1, 2, 2, 3), (1, 1, 2), (1, 2, 4, 5), (1, 3, 2)])
@pytest.mark.parametrize("spelling", ["Step {n}: ", "### {n}. ", "{n}. **Name**: "])
def test_a_marked_step_with_a_wrong_number_is_refused_not_buried(
    numbers: tuple[int, ...], spelling: str
) -> None:
    assert split_steps("\n\n".join(spelling.format(n=n) + "Text\nmore" for n in numbers)) is None


def test_labels_of_equations_and_numbers_with_decimals_are_no_steps() -> None:
    assert split_steps("(1) $x + y = 3$\n(2) $x - y = 1$\n\nAdd them.") is None
    assert split_steps("Step 1.1: a\n\nStep 2.1: b") is None
    labelled = "(1) $x + y = 3$\n(2) $x - y = 1$\n\n1. **Add**: it is four.\n2. **Halve**: two."
    assert len(read_back(labelled)[1]) == 2


@pytest.mark.shared_data
def test_real_solutions_lose_nothing(shared_data: Path) -> None:
    """Also those of benchmarks, which have no steps and must not break the reading."""
    texts = [
        row[key]
        for file in ("math_expert/qwen25math_cot100x8", "math_bench/math500", "gsm8k/train")
        for row in map(json.loads, (shared_data / f"{file}.jsonl").read_text().splitlines())
        for key in ("solution", "human_solution", "answer")
        if isinstance(row.get(key), str)
    ]
    split = [text for text in texts if split_steps(text) is not None]
    assert len(texts) > 9000 and len(split) > 340
    for text in split:
        assert read_back(text)


def test_an_empty_problem_is_counted() -> None:
    rejected: Counter[str] = Counter()
    assert list(numbered.read([{"problem": " ", "solution": "1. x\n2. y"}], rejected)) == []
    assert rejected == {"empty problem": 1}


@pytest.mark.parametrize("first", ["**Step 1:** Add 3.", "Step 1: Add 3."])
@pytest.mark.parametrize(
    "last",
    [
        "Subtract 3 to get 17.\n\\boxed{17}",
        "Subtract 3 to get 17\n$$\\boxed{17}$$",
        "Subtract 3 to get 17.\n\\[ x = \\boxed{17} \\]",
        "Subtract them.\n\nHence the answer is $\\boxed{5}$.",
        "Subtract 3 to get 17.\nThat is what is left.",
    ],
)
def test_a_sentence_before_a_box_is_no_title(first: str, last: str) -> None:
    solution = f"{first}\n\n{first.replace('1', '2').replace('Add 3.', last)}"
    assert titles(solution) == ["", ""] and actions(solution) == ["Add 3.", last]
    assert titles(f"### Step 1: Add\nOk.\n### Step 2: {last}")[1] in ("", "Subtract 3 to get 17.")


def test_a_line_without_a_result_before_a_formula_is_a_title() -> None:
    assert titles("**Step 1:** Read it\nx\n**Step 2:** Solve it\n\\[x=2\\]") == [
        "Read it",
        "Solve it",
    ]


@pytest.mark.parametrize("one, two", [("Case 1", "Case 2"), ("**Part (a)**", "**Part (b)**")])
@pytest.mark.parametrize("number", ["{n}. ", "**Step {n}:** ", "({n}) "])
def test_cases_that_each_count_from_one_are_the_steps(one: str, two: str, number: str) -> None:
    inner = "\n".join(number.format(n=n) + "Do this thing." for n in (1, 2))
    more = inner + "\n" + number.format(n=3) + "And this."
    assert actions(f"Two cases.\n\n{one}:\n{inner}\n\n{two}:\n{more}") == [inner, more]


def test_cases_inside_a_step_stay_there_and_behind_steps_are_refused() -> None:
    cases = "Case 1: a\n1. foo is\n2. bar is\nCase 2: b\n1. foo it\n2. bar it"
    assert actions(f"Step 1: Split.\n{cases}\nStep 2: Join.") == [cases, "Join."]
    assert split_steps(f"1. Set up.\n2. Split.\n\n{cases}") is None
    on = "Case 1: a\n1. foo is\n2. bar is\nCase 2: b\n3. foo it\n4. bar it"
    assert len(actions(on)) == 4


@pytest.mark.parametrize("again", ["**Negative x**", "Method 2:", "**Method 2:**"])
def test_another_part_that_counts_anew_is_the_tail(again: str) -> None:
    parts = split_steps(f"1. Do this.\n2. Do that.\n\n{again}\n1. Do other.\n2. End.")
    assert parts is not None
    assert [step.action for step in parts[1]] == ["Do this.", "Do that."]
    assert parts[2].startswith(again)


@pytest.mark.parametrize("spelling", ["Step {n}: ", "### Step {n}: ", "{n}. ", "({n}) "])
def test_steps_may_count_from_zero(spelling: str) -> None:
    lines = [spelling.format(n=n) + f"We do thing {name}." for n, name in enumerate("abc")]
    assert len(actions("\n".join(lines))) == 3


@pytest.mark.parametrize(
    "spelling",
    [
        "Schritt {n}: ",
        "\u00c9tape {n} : ",
        "Paso {n}: ",
        "\u0428\u0430\u0433 {n}: ",
        "\u6b65\u9aa4{n}\uff1a",
        "{n}\u3001",
    ],
)
def test_steps_in_other_languages(spelling: str) -> None:
    lines = [spelling.format(n=n) + "\u8bbe\u672a\u77e5\u6570" for n in (1, 2)]
    assert actions("\n".join(lines)) == ["\u8bbe\u672a\u77e5\u6570"] * 2


def test_a_thought_holds_no_steps() -> None:
    thought = "<think>\n1. foo bar\n2. baz qux\n</think>\n\n"
    assert split_steps(thought + "The answer is 5.") is None
    assert actions(thought + "1. Set up.\n2. Solve.") == ["Set up.", "Solve."]
    assert actions(thought[8:] + "1. Set up.\n2. Solve.") == ["Set up.", "Solve."]


@pytest.mark.parametrize("tail", ["\n#### 14", "\n\nThe answer is 5.", "\n\u7b54\u6848\uff1a5"])
def test_an_answer_without_a_heading_is_the_tail(tail: str) -> None:
    parts = split_steps("1. Add them.\n2. Double it." + tail)
    assert parts is not None and parts[1][-1].action == "Double it."
    assert parts[2] == tail.lstrip("\n")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("第一步：设鸡有x只。", "第二步：列方程并求解。"),
        ("**第1步**：设鸡有x只。", "**第2步**：列方程并求解。"),
        ("### 第１步 设未知数\n设鸡有x只。", "### 第２步 列方程\n列方程并求解。"),
        ("（1）设鸡有x只。", "（2）列方程并求解。"),
        ("① 设鸡有x只。", "② 列方程并求解。"),
        ("一、设鸡有x只。", "二、列方程并求解。"),
        ("1.设鸡有x只。", "2.列方程并求解。"),
        ("手順1：足します。", "手順2：掛けます。"),
        ("1단계: 더합니다.", "2단계: 곱합니다."),
        ("단계 1: 더합니다.", "단계 2: 곱합니다."),
        ("الخطوة 1: نجمع العددين.", "الخطوة 2: نضرب الناتج."),
        ("चरण 1: जोड़ें।", "चरण 2: गुणा करें।"),
        ("Bước 1: Cộng hai số.", "Bước 2: Nhân với 4."),
        ("Adım 1: Topla.", "Adım 2: Çarp."),
        ("Krok 1: Dodaj.", "Krok 2: Pomnóż."),
        ("Крок 1: Додайте.", "Крок 2: Помножте."),
        ("Step-1: Add the numbers.", "Step-2: Multiply them."),
        ("1.- Sume los números.", "2.- Multiplique."),
        ("### 1 Setup\nLet x be hens.", "### 2 Equation\nWe solve it."),
        (r"\underline{Step 1:} Add them.", r"\underline{Step 2:} Multiply."),
    ],
)
def test_steps_of_other_spellings_and_languages(first: str, second: str) -> None:
    text = f"{first}\n\n{second}\n"
    split = split_steps(text)
    assert split is not None
    preamble, steps, tail = split
    assert len(steps) == 2
    assert preamble + "".join(one.heading + one.action + one.gap for one in steps) + tail == text
    assert [one.action[-4:] for one in steps] == [first[-4:], second[-4:]]
    assert not any(one.action[0] in ":：步단.-" for one in steps)


@pytest.mark.parametrize(
    "text",
    [
        "① $x + y = 3$\n② $x - y = 1$",
        "2步到位，3步完成。",
        "# 2024 in numbers\nIt was.\n# 2025 in numbers\nIt is.",
        "1.5 apples\n2.5 pears",
        "1.x + 2\n2.y + 3",
    ],
)
def test_numbers_that_begin_no_steps(text: str) -> None:
    assert split_steps(text) is None

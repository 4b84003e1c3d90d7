"""s1K's reference answers: from the data set's solution, never from an attempt that was judged
wrong, and never a page of text.
"""

from __future__ import annotations

from collections import Counter

import pytest

from srl_envs.data import s1k

ATTEMPT = "1. **A**: x\n\n2. **B**: y\n\n**Final Answer**\n\\boxed{7}"
PROOF = (
    "We proceed by induction on the number of vertices.\n\nFor the base case there is "
    "nothing to show. " * 3
)


@pytest.mark.parametrize(
    ("solution", "grade", "answer"),
    [
        ("0.5", "Yes", "0.5"),
        ("0.5", "No", "0.5"),  # the right answer, though the expert's steps lead elsewhere
        ("$\\frac{1}{2}$", "No", "\\frac{1}{2}"),
        ("\\(12\\)", "Yes", "12"),
        ("\\text{no solution}", "Yes", "\\text{no solution}"),
        ("We add.\n\nSo it is $\\boxed{\\frac{3}{4}}$.", "No", "\\frac{3}{4}"),
        (
            "#### Part one\nWe see that both sequences meet.\n#### Part two\nHence they are equal.",
            "No",
            "",
        ),
        (PROOF, "Yes", "7"),  # judged equal to the solution
        (PROOF, "No", ""),
        (PROOF, "", ""),
        ("", "Yes", "7"),
        ("", "No", ""),
        ("The two sequences meet because both are increasing.", "No", ""),
        ("x" * 101, "No", ""),
    ],
)
def test_the_reference_answer(solution: str, grade: str, answer: str) -> None:
    rejected: Counter[str] = Counter()
    row = {
        "question": "q",
        "solution": solution,
        "deepseek_attempt": ATTEMPT,
        "deepseek_grade": grade,
    }
    [trajectory] = list(s1k.read([row], rejected))
    assert trajectory.answer == answer
    assert trajectory.metadata["deepseek_grade"] == grade and len(trajectory.steps) == 2, (
        "the step reward uses the set as it is"
    )


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_counted(question: str) -> None:
    rejected: Counter[str] = Counter()
    assert list(s1k.read([{"question": question, "deepseek_attempt": ATTEMPT}], rejected)) == []
    assert rejected == {"empty question": 1}

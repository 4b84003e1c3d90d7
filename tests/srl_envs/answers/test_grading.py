"""Answers found in texts, and their verdicts: against labels, against notation of every kind,
against what hangs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.math.benchmarks import load_benchmark
from srl_envs.answers.grading import Grader, extract_answer

WRONG_LABELS = {
    "qwen-72-7": (
        "10000 and 10{,}000 are one number, with and without a mark between its thousands; "
        "the label says they are not"
    )
}
"""Rows of the labelled answers on which the grader disagrees with the label, and why."""


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(timeout=5, processes=2) as grader:
        yield grader


@pytest.mark.shared_data
def test_verdicts_agree_with_labels(shared_data: Path, grader: Grader) -> None:
    rows = [
        json.loads(line)
        for line in (shared_data / "math_expert" / "qwen25math_cot100x8.jsonl")
        .read_text()
        .splitlines()
    ]
    verdicts = grader.grade([(extract_answer(row["solution"]), row["answer"]) for row in rows])
    disagreements = {
        row["id"] for row, verdict in zip(rows, verdicts, strict=True) if verdict != row["correct"]
    }
    assert len(rows) == 800 and len(disagreements) <= 8
    assert disagreements == set(WRONG_LABELS)
    [row] = [row for row in rows if row["id"] == "qwen-72-7"]
    assert (extract_answer(row["solution"]), row["answer"], row["correct"]) == (
        "10000",
        "10{,}000",
        False,
    )


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["amc23", "aime24", "aime25", "math500", "minerva_math"])
def test_every_reference_is_met_in_its_own_solutions_box(
    shared_data: Path, grader: Grader, name: str
) -> None:
    """The sets' own solutions end with their reference; written again with other white space and
    dollars, it must still be right.
    """
    problems = load_benchmark(name, [shared_data / "math_bench"])
    assert all(grader.grade([(f"$ {problem.answer} $.", problem.answer) for problem in problems]))


@pytest.mark.parametrize(
    "text, answer",
    [
        ("so \\boxed{5}", "5"),
        ("\\boxed{1}, then more work, \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("<think>\\boxed{7}</think>", "7"),
        ("<think>I guess \\boxed{7}</think> It is \\boxed{8}", "8"),
        ("$x = \\boxed{1}$ or $x = \\boxed{2}$", "2"),
        ("$\\boxed{1}$ and $\\boxed{2}$", "1, 2"),
        ("\\boxed{1}, \\boxed{2}, and \\boxed{3}.", "1, 2, 3"),
        ("\\(\\boxed{5}\\), \\(\\boxed{5}\\)", "5"),
        ("\\boxed{4}\n\n\\boxed{5}", "5"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{5} and then \\boxed{6", "5"),
        ("Sum.\n#### 42", "42"),
        ("The answer is $42$. Done.", "42"),
        ("The answer is 3.5.", "3.5"),
        ("**Final Answer:** 42", "42"),
        ("the answer is 1. No, wait, the answer is 2.", "2"),
        ("I counted 17 of them", None),
        ("", None),
        ("the answer is ", None),
        ("The total is 7. #### 7", "7"),
        ("#### $18", "$18"),
        ("He has 5.\n#### 5\n\n", "5"),
        ("#### Step 1: Add\nWe add 3.\n#### Step 2\nThe answer is 7.", "7"),
        ("#### Final Answer\n7", "7"),
        ("#### Final Answer: 7", "7"),
        ("#### Answer\n\n$7$", "7"),
        ("### Answer\n**7**", "7"),
        ("$\\boxed{1} \\quad \\boxed{2}$", "1, 2"),
        ("$\\boxed{1}\\ \\boxed{2}$", "1, 2"),
        ("\\boxed{1}~\\boxed{2}", "1, 2"),
        ("\\boxed{1}, \\boxed{2}", "1, 2"),
        ("\\boxed{1} \\text{ and } \\boxed{2}", "1, 2"),
        ("\\boxed{1} \\quad \\text{or} \\quad \\boxed{2}", "1, 2"),
        ("\\boxed{1} or \\boxed{2}", "1, 2"),
        ("$\\boxed{1}$ and\n$\\boxed{2}$", "1, 2"),
        ("\\begin{aligned}\\boxed{1} \\\\ &\\boxed{2}\\end{aligned}", "1, 2"),
        ("\\[\\boxed{1}\\]\n\\[\\boxed{2}\\]", "1, 2"),
        ("**Answer**: 7", "7"),
        ("**Final Answer**: 7", "7"),
        ("**Final Answer**\n\n7", "7"),
        ("Answer: $7$.", "7"),
        ("The final answer is \\(7\\).", "7"),
        ("The final answer is: $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
        ("\\boxed{\\text{(B)}}", "\\text{(B)}"),
        ("\\fbox{7}", "7"),
        ("\\framebox{204}", "204"),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("\\begin{aligned} x &= 3 \\\\ y &= \\boxed{4} \\end{aligned}", "4"),
        ("So \\boxed{42", None),
        ("The answer is \\boxed{42", None),
        ("The answer is 5, so \\boxed{4", None),
        ("$\\boxed{\\frac{3}{4}$. Done", "\\frac{3}{4}"),
        ("\\boxed 7", "7"),
        ("\\boxed5", "5"),
        ("$\\boxed -3$", "-3"),
        ("I put it in \\boxed{}. \\boxed{7} \\boxed{}", "7"),
        ("The answer is:\n\\[\n7\n\\]", "7"),
        ("The answer is therefore 7.", "7"),
        ("The correct answer is (B).", "(B)"),
        ("The correct answer is option B.", "B"),
        ("The answer to the problem is 7", "7"),
        ("So the answer would be 7 apples.", "7 apples"),
        ("Answer = 7", "7"),
        ("Ans: 7", "7"),
        ("The answer is 7. Let me check that the answer is correct.", "7"),
        ("The answer is 7 because 3+4=7.", "7"),
        ("The answer is 5 p.m.", "5 p.m"),
        ("A: 18", "18"),
        ("Q: how?\nA: 18\n", "18"),
        ("A: 5\nB: 6", None),
        ("To answer this, note x is 7", None),
        ("答案是7。", "7"),
        ("The answers are 2 and 3.", "2 and 3"),
        ("The answer is \\$18.", "\\$18"),
        ("Thus, the answer is **$12$ dollars**.", "12$ dollars"),
        ("The answer is x = 5.", "x = 5"),
        ("Final answer: Tuesday", "Tuesday"),
        ("\\boxed{(3, 3)} \\text{ for part (a) and } \\boxed{(1, 1)}", "(1, 1)"),
        ("The answer is (1, 2).", "(1, 2)"),
        ("Therefore the answer is $\\text{(B)}$", "\\text{(B)}"),
        ("\\boxed{7}.\n\nThe answer is 8", "7"),
        ("Answer: **B) 7**", "B) 7"),
        ("\\[ \\boxed{x = 5} \\]", "x = 5"),
        ("The final answer is $\\boxed{7}$", "7"),
        ("**Answer:**\n\n$$7$$", "7"),
        ("the answer is not 5 but 7", None),
        ("#### 7.\n", "7."),
        ("$\\boxed{1}$; $\\boxed{2}$", "1, 2"),
        ("<think>a</think><answer>(B)</answer>", "(B)"),
        ("<answer>\n7\n</answer> Done.", "7"),
        ("<answer>\\boxed{7}</answer>", "7"),
        ("<answer>7", None),
        ("<answer></answer>", None),
        ("The answer is A.", "A"),
        ("The answer is A. It is large.", "A"),
        ("The answer is a circle.", None),
        ("Thus, the correct option is **C**.", "C"),
        ("The correct choice is (D), as shown.", "(D)"),
        ("The final answer is $5!$.", "5!"),
        ("The answer is $n! + 1$, as shown.", "n! + 1"),
        ("The answer is \\(5!\\).", "5!"),
        ("The answer is $5$! Great.", "5"),
        ("The answer is 5! Great.", "5"),
    ],
)
def test_extraction(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_no_answer_is_wrong_and_what_hangs_is_wrong_without_delaying_the_others() -> None:
    hanging = [(f"9^{{9^{{9^{{{i}}}}}}}", "3") for i in range(7, 9)]
    with Grader(timeout=3, processes=2) as grader:
        assert grader.grade([(None, "3"), *hanging, ("\\frac{6}{2}", "3"), ("3", "3")]) == [
            False,
            False,
            False,
            True,
            True,
        ]
        assert grader.grade([("\\frac{9}{3}", "3")]) == [True], (
            "a new child stands in for the one that was ended"
        )
        assert grader._hanging == {answer for answer, _ in hanging}
        known = len(grader._known)
        assert not grader.same(hanging[0][0], hanging[1][0]) and grader.same(
            hanging[0][0], hanging[0][0] + " "
        )
        assert len(grader._known) == known, "a vote does not wait for it again"


def test_votes_compare_numbers_by_value_and_the_rest_by_meaning(grader: Grader) -> None:
    assert (
        grader.same("27", "27.0")
        and grader.same("1e3", "1000")
        and grader.same("\\frac{1}{2}", "\\frac{2}{4}")
        and grader.same("0.5", "\\frac{1}{2}")
    )
    assert not grader.same("27", "28") and not grader.same("\\frac{1}{2}", "\\frac{1}{3}")


def test_an_answer_on_which_the_process_ends_is_wrong_and_grading_goes_on() -> None:
    """The process is killed twice while it works on the first answer, as the system does when
    memory runs out.
    """
    with Grader(timeout=600, processes=1) as grader:
        [verifier] = grader._verifiers

        def kill_twice() -> None:
            killed: set[int] = set()
            while len(killed) < 2:
                child = verifier._child
                if child is not None and child.pid not in killed and child.poll() is None:
                    child.kill()
                    killed.add(child.pid)
                time.sleep(0.01)

        killer = threading.Thread(target=kill_twice)
        killer.start()
        assert grader.grade([("9^{9^{9^{9}}}", "3")]) == [False]
        killer.join()
        assert grader.same("\\frac{9}{3}", "3")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is that of Linux")
def test_an_answer_that_wants_all_memory_is_wrong(grader: Grader) -> None:
    assert grader.grade([("2^{10^{11}}", "3")]) == [False]
    assert grader.same("\\frac{8}{4}", "2")


@pytest.mark.parametrize(
    "text",
    [
        "answer" + " " * 50_000,
        "answer" + "*" * 50_000 + "x",
        "answer is" + " therefore" * 5_000,
        "answer is x" + " " * 50_000 + "y",
        "answer is x" + "." * 50_000 + "y",
        "answer is x" + r"\)" * 20_000 + "y",
        "A: x" + " " * 50_000 + "y",
        "<answer>" * 20_000,
        "<answer>" + "x" * 100_000,
        "#### x" + " " * 50_000 + "y",
        r"\boxed{1}\text{" + " " * 5_000 + r"x}\boxed{2}",
    ],
    ids=lambda text: text[:12],
)
def test_no_text_is_slow_to_search(text: str) -> None:
    start = time.process_time()
    extract_answer(text)
    assert time.process_time() - start < 0.5


@given(st.text("0123456789.,-+e\\ times^{}$*()abnpoxed \nansweri:", max_size=60))
def test_extraction_takes_any_text(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or isinstance(answer, str)

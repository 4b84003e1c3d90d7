"""GSM8K's lines: which of them have titles, and which rows are left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from srl_envs.data import gsm8k, load_trajectories
from srl_envs.trajectory import Trajectory


def parse(answer: str, question: str = "How many?") -> Trajectory:
    rejected: Counter[str] = Counter()
    [trajectory] = list(gsm8k.read([{"question": question, "answer": answer}], rejected))
    assert not rejected
    return trajectory


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "How many clips? ** She has 48/2 = <<48/2=24>>24.\nSimplify ** x = 3 ** 2\n#### 9",
            [("How many clips?", "She has 48/2 = 24."), ("Simplify", "x = 3 ** 2")],
        ),
        ("x = 3 ** 2\n#### 9", [("", "x = 3 ** 2")]),
        ("3 ** 2 = 9\n4 ** 2 = 16\n#### 16", [("", "3 ** 2 = 9"), ("", "4 ** 2 = 16")]),
        (
            "The square is x = 3 ** 2.\nSo it is 9.\n#### 9",
            [("", "The square is x = 3 ** 2."), ("", "So it is 9.")],
        ),
        ("Add ** 1 + 1 = 2\nSo it is 2.\n#### 2", [("", "Add ** 1 + 1 = 2"), ("", "So it is 2.")]),
    ],
)
def test_titles_are_read_only_where_every_step_has_one(
    answer: str, expected: list[tuple[str, str]]
) -> None:
    assert [(step.title, step.action) for step in parse(answer).steps] == expected


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_counted(question: str) -> None:
    rejected: Counter[str] = Counter()
    assert list(gsm8k.read([{"question": question, "answer": "1 + 1 = 2\n#### 2"}], rejected)) == []
    assert rejected == {"empty question": 1}


@pytest.mark.shared_data
def test_every_socratic_step_keeps_its_title(shared_data: Path) -> None:
    socratic = load_trajectories("gsm8k", path=shared_data / "gsm8k" / "test_socratic.jsonl")
    assert all(
        step.title and "**" not in step.action
        for trajectory in socratic
        for step in trajectory.steps
    )
    assert not any(
        step.title
        for trajectory in load_trajectories("gsm8k", path=shared_data / "gsm8k", split="test")
        for step in trajectory.steps
    )

"""Verdicts on real references and labelled answers: the usual spellings are right, changed
numbers are wrong, and labels agree.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from srl_envs.answers.grading import Grader

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.grading import changed, labelled_rows, ours, references


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(timeout=5, processes=2) as grader:
        yield grader


def rewritten(reference: str) -> set[str]:
    """A reference as models write it."""
    forms = {
        reference,
        f"$ {reference} $.",
        f"\\({reference}\\)",
        f"**{reference}**",
        f"{reference},",
    }
    forms |= {reference.replace("\\frac", "\\dfrac"), reference.replace("\\left", "")}
    if not re.search(r"[=,:]|\\(?:in|text|mbox)(?![a-z])", reference):
        forms |= {f"x = {reference}", f"\\left({reference}\\right)"}
    if reference.isalpha():
        forms.add(f"\\text{{{reference}}}")
    return forms


@pytest.mark.shared_data
def test_every_reference_is_met_by_its_usual_spellings(shared_data: Path, grader: Grader) -> None:
    pairs = [(form, answer) for answer in references(shared_data) for form in rewritten(answer)]
    verdicts = grader.grade(pairs)
    assert len(pairs) > 5000
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if not verdict] == []


@pytest.mark.shared_data
def test_a_reference_with_a_changed_number_is_never_met(shared_data: Path, grader: Grader) -> None:
    pairs = [
        (form, answer)
        for answer in references(shared_data)
        if len(answer) < 60  # the benchmark tries the long formulas too, which take minutes
        for form in sorted(changed(answer))
    ]
    verdicts = grader.grade(pairs)
    assert len(pairs) > 5000
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict] == []


@pytest.mark.shared_data
def test_labels_agree(shared_data: Path) -> None:
    sets = {
        file.stem: rows for file in shared_data.rglob("*.jsonl") if (rows := labelled_rows(file))
    }
    assert {"tora_70b_gsm8k", "qwen25math_cot100x8"} <= sets.keys()
    for name, rows in sets.items():
        verdicts = ours(rows)
        agreeing = sum(right == row.correct for row, right in zip(rows, verdicts, strict=True))
        assert agreeing > 0.99 * len(rows), name


def test_openai_solutions_are_read(tmp_path: Path) -> None:
    row = {"question": "?", "ground_truth": "1 + 1 = 2\nA: 2"}
    row["6b"] = {"is_correct": True, "solution": "1 + 1 = 2\nA: 2"}
    row["175b"] = {"is_correct": False, "solution": "1 + 1 = 3\nA: 3"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    rows = labelled_rows(tmp_path / "rows.jsonl")
    assert [row.reference for row in rows] == ["2", "2"]
    assert ours(rows) == [row.correct for row in rows] == [True, False]

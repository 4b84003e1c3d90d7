"""Odd files of problems: read as meant, or refused with one message that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from srl_agent.collection.originals import load_originals
from srl_agent.collection.problems import load_problems
from srl_envs.answers.grading import Grader
from srl_envs.errors import DataError


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", ""), ("a.csv", "problem,answer\n"), ("a.jsonl", ""), ("a.json", "[]")],
)
def test_an_empty_file_is_called_empty(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is empty: .* problem \(or question\) and answer"):
        load_problems(written(tmp_path, name, text), None)


def test_a_file_of_blank_lines_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        load_problems(written(tmp_path, "a.jsonl", "\n\n"), None)


def test_an_empty_file_of_solutions_is_called_empty(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", "problem,solution\n")
    with pytest.raises(DataError, match=r"is empty: .* problem \(or question\), solution"):
        load_originals(file, None, False, None, Grader())


@pytest.mark.parametrize(
    "row", ['{"problem": "How many?", "answer": NaN}', '{"problem": "How many?", "answer": " "}']
)
def test_an_empty_cell_is_not_an_answer(row: str, tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", '{"problem": "Which?", "answer": 0}\n' + row)
    with pytest.raises(DataError, match="row 2: the key 'answer'"):
        load_problems(file, None)


def test_a_message_names_the_columns_there_are(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", "Problem,Answer\nHow many?,2\n")
    with pytest.raises(DataError, match="It has the keys Problem, Answer"):
        load_problems(file, None)


def test_empty_cells_of_id_and_answer_are_filled(tmp_path: Path) -> None:
    text = "id,problem,answer,solution\n,How many?,,It is \\boxed{2}\n,Which?,3,\n"
    asked = load_problems(written(tmp_path, "a.csv", text), None).asked
    assert [(one.id, one.answer) for one in asked] == [("a-0", "2"), ("a-1", "3")]


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", "\ufeffproblem,answer\nHow many?,2\n")
    assert load_problems(file, None).asked[0].answer == "2"

"""The three points of a run are read back and paired, whatever a model wrote and in whatever
order it was answered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srl_agent.reports.summary import summarize
from srl_agent.runs.answers import answer_of, read_answers, write_answers
from srl_agent.runs.reading import read_run
from srl_envs.errors import DataError


def write(path: Path, answers: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers),
        encoding="utf-8",
    )


def answer(name: str, reward: float, completion: str = "") -> dict[str, Any]:
    return {
        "instance_id": name,
        "error": None,
        "reward": reward,
        "similarity": reward,
        "completion": completion,
    }


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r"])
def test_a_line_ends_with_a_newline_only(tmp_path: Path, separator: str) -> None:
    answers = [answer("a", 0.5, f"two{separator}lines"), answer("b", 0.25)]
    write(tmp_path / "samples" / "base-0.jsonl", answers)
    read = read_answers(tmp_path / "samples" / "base-0.jsonl")
    assert read == [answer_of(row) for row in answers]
    write_answers(tmp_path / "samples" / "base-1.jsonl", read)
    assert read_answers(tmp_path / "samples" / "base-1.jsonl") == read


def test_an_answer_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "base-0.jsonl"
    path.write_text(json.dumps(answer("a", 0.5))[:-5])
    with pytest.raises(DataError, match="damaged"):
        read_answers(path)


def test_answers_are_paired_by_instance_not_by_their_order(tmp_path: Path) -> None:
    write(
        tmp_path / "samples" / "base-0.jsonl",
        [answer("a", 0.1), answer("b", 0.5), answer("c", 0.9)],
    )
    write(
        tmp_path / "samples" / "srl-2.jsonl", [answer("a", 0.2), answer("c", 1.0), answer("b", 0.6)]
    )
    differences = summarize(tmp_path, "srl", 2, 1.0).differences
    assert read_run(tmp_path).differences == differences
    change = differences[0]
    assert change.interval.value == pytest.approx(0.1)
    assert change.interval.high - change.interval.low == pytest.approx(0, abs=1e-9), (
        "each answer improved by the same"
    )


def test_what_a_run_ran_on_is_told_without_git_too(tmp_path: Path) -> None:
    code = "from srl_agent.runs.provenance import environment; print(environment()['git'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr

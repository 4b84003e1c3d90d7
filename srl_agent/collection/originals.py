"""Solutions to rewrite: rows of any set that has problems with solutions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.collection.problems import Problems, sorted_out
from srl_agent.collection.solutions import parts_of
from srl_agent.evaluation.math.benchmarks import Problem
from srl_envs.answers.grading import Grader, extract_answer
from srl_envs.data import gsm8k, s1k
from srl_envs.data.rows import read_rows
from srl_envs.data.step_text import split_steps
from srl_envs.errors import ConfigError, DataError

HUB_SETS = {"s1k": s1k.HUB_NAME, "gsm8k": gsm8k.HUB_NAME}
"""Sets whose rows are read from the hub by name."""

_COLUMNS = ("deepseek_attempt", "solution", "response")
_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True, slots=True)
class Originals:
    """What is rewritten.

    Attributes:
        problems: Whose solutions, with their final answers.
        solutions: By the problem's id, as the source wrote them.
    """

    problems: Problems
    solutions: Mapping[str, str]


def load_originals(
    place: str, column: str | None, every: bool, limit: int | None, grader: Grader
) -> Originals:
    """Solutions whose final answer is known.

    A row has ``problem`` or ``question``, a solution, and ``answer`` if the solution
    does not say its final answer clearly.

    Args:
        place: A file or folder of rows, or a name of :data:`HUB_SETS`.
        column: Of the solution; None takes the first that a row has of
            ``deepseek_attempt``, ``solution``, ``response``, and ``answer`` where it is
            a whole solution as in GSM8K.
        every: Also solutions that are in titled steps already.
        limit: Only the first so many of those that can be rewritten.
        grader: Compares a solution's answer with the row's.

    Raises:
        ConfigError: There is no such file or set.
        DataError: The rows cannot be read, or none is left to rewrite.
    """
    path = Path(place).expanduser()
    if not path.exists() and place not in HUB_SETS:
        raise ConfigError(
            f"{place} is not a file or folder: --solutions takes one, or"
            f" {' or '.join(HUB_SETS)} for the set on the hub."
        )
    hub_name = "" if path.exists() else HUB_SETS[place]
    rows = read_rows(place, hub_name, path if path.exists() else None, "train")
    solutions: dict[str, str] = {}
    refused: list[tuple[Problem, str]] = []

    def readable() -> Iterable[Problem]:
        for number, row in enumerate(rows):
            problem, solution = _read(row, column, f"{place}, row {number + 1}", number)
            if reason := _unfit(problem, solution, every, grader):
                refused.append((problem, reason))
            else:
                solutions[problem.id] = solution
                yield problem

    asked, others = sorted_out(readable(), limit)
    found = Problems.of(asked, [*refused, *others])
    if not found.asked and not found.refused:
        raise DataError(
            f"{place} is empty: each row must have the columns problem (or question),"
            f" {column or 'solution'}, and answer if the solution does not say it clearly."
        )
    if not asked:
        raise DataError(f"{place} has no solution to rewrite ({found.counted()}).")
    return Originals(found, solutions)


def _read(
    row: Mapping[str, Any], column: str | None, where: str, number: int
) -> tuple[Problem, str]:
    text = row.get("problem", row.get("question"))
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the key 'problem' (or 'question') must hold the problem's text.")
    if column is not None and not isinstance(row.get(column), str):
        raise DataError(
            f"{where}: the column {column!r} (--solution_column) must hold the solution. Columns:"
            f" {', '.join(map(str, row))}."
        )
    whole_answer = "\n#### " in str(row.get("answer"))
    names = (column,) if column else (*_COLUMNS, *(("answer",) if whole_answer else ()))
    solution = next((row[one] for one in names if isinstance(row.get(one), str) and row[one]), "")
    if not solution.strip():
        raise DataError(
            f"{where}: there is no solution in {' or '.join(names)}: name the column with"
            " --solution_column."
        )
    solution = _CALCULATOR_MARK.sub("", parts_of(solution)[1])
    answer = "" if whole_answer or row.get("answer") is None else str(row["answer"]).strip()
    if not answer and "deepseek_attempt" in row:
        answer = s1k.reference_answer(row)
    id = row.get("id", row.get("unique_id"))
    name = f"{Path(where.partition(',')[0]).stem}-{number}" if id is None else str(id)
    return Problem("", name, text.strip(), answer or extract_answer(solution) or ""), solution


def _unfit(problem: Problem, solution: str, every: bool, grader: Grader) -> str:
    """Why a solution is not rewritten; empty if it is."""
    if not problem.answer:
        return "no final answer, in the solution or beside it"
    parts = split_steps(solution)
    if not every and parts is not None and all(step.title for step in parts[1]):
        return "in titled steps already"
    answer = extract_answer(solution)
    if answer is not None and not grader.grade([(answer, problem.answer)])[0]:
        return "the solution's answer is not the reference"
    return ""

"""s1K-1.1: the expert's solution is ``deepseek_attempt``, in numbered and titled steps.

The paper trains on it (arXiv 2510.25992, section 4.1).

1,000 rows, all columns strings, no id. Rows whose attempt is not in such steps are
counted and left out. Preamble, steps and tail joined give back the attempt.

The paper does not filter by grade, so neither does this: the steps of an attempt that
``deepseek_grade`` calls wrong serve the step reward as the others do, and the grade is
kept in the metadata. But an episode must not reward a wrong answer. So the reference
answer comes from the data set's ``solution`` where that is, or marks, a final answer;
else from the attempt if its grade is ``Yes``, which says that it agrees with the
solution; else there is none, and no verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.answers.verifier import MAX_ANSWER_CHARACTERS, last_boxed
from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key, unique_id
from srl_envs.data.step_text import split_steps
from srl_envs.trajectory import Trajectory

HUB_NAME = "simplescaling/s1K-1.1"

TRACE = "reasoning_trace"
"""The metadata key of the expert's reasoning, from the column ``deepseek_thinking_trajectory``."""

_MARKED = re.compile(
    r"\s*(?:[-*+\u2022]\s)?(?:[^\w\s(]|\W*step\b|\(?\d+\\?[.)]\s*\*\*)", re.IGNORECASE
)
"""A step that its word, a heading or bold marks, such as a last one that is only a bold line."""
_SHORT, _FEW_WORDS = 100, 3
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")  # not a LaTeX command
_MATH_MODE = re.compile(r"\A(?:\$\$?|\\[(\[])\s*(?P<content>[^$]*?)\s*(?:\$\$?|\\[)\]])\Z")


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"s1k"``: its rows from a local file or the hub, read by :func:`read`."""
    rows = read_rows(
        "s1k", HUB_NAME, request.path, request.file_split, request.config, request.revision
    )
    return read(rows, request.rejected)


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows -> trajectories; what does not parse is counted in ``rejected``."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, attempt = row.get("question"), row.get("deepseek_attempt")
        if not isinstance(question, str) or not isinstance(attempt, str) or not attempt.strip():
            rejected["no question or deepseek_attempt"] += 1
            continue
        if not question.strip():
            rejected["empty question"] += 1
            continue
        parts = split_steps(attempt)
        if parts is None:
            rejected["no numbered steps"] += 1
            continue
        preamble, steps, tail = parts
        if not all(step.title or _MARKED.match(step.text) for step in steps):
            rejected["a step without title"] += 1
            continue
        id = unique_id("s1k", question_key(question), seen)
        metadata = {
            name: row[name]
            for name in ("source_type", "deepseek_grade")
            if isinstance(row.get(name), str)
        }
        trace = row.get("deepseek_thinking_trajectory")
        if isinstance(trace, str) and trace.strip():
            metadata[TRACE] = trace.strip()
        yield Trajectory(
            id, question, steps, reference_answer(row), preamble, tail, metadata=metadata
        )


def reference_answer(row: Mapping[str, Any]) -> str:
    """The row's final answer, or empty; see the module's docstring.

    ``####`` is a heading here, not an answer.
    """
    solution = row.get("solution")
    solution = solution.strip() if isinstance(solution, str) else ""
    answer = last_boxed(solution)
    if answer is None and _is_short(solution):
        answer = _MATH_MODE.sub(r"\g<content>", solution)
    if not answer and row.get("deepseek_grade") == "Yes":
        answer = last_boxed(row["deepseek_attempt"])
    return answer if answer and len(answer) <= MAX_ANSWER_CHARACTERS else ""


def _is_short(solution: str) -> bool:
    """Whether a solution is a final answer by itself: one line with hardly a word."""
    return (
        len(solution) <= _SHORT
        and "\n" not in solution
        and len(_WORD.findall(solution)) <= _FEW_WORDS
    )

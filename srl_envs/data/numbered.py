"""Solutions in numbered steps, as :mod:`srl_envs.data.step_text` reads them.

A step begins with ``Step 3: ...``, ``### Step 3 ...``, ``**Step 3** ...``, ``3. ...``,
``(3) ...`` and their kind.

Rows have ``problem`` (or ``question``), ``solution`` and ``answer``; a row with
``correct: false`` (or "no", "incorrect") is left out, and one whose ``answer`` is an
object or a list of several. Nothing of a solution is lost:
preamble, steps and tail joined give it back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key, unique_id
from srl_envs.data.step_text import split_steps
from srl_envs.trajectory import Trajectory

HUB_NAME = ""
_NOT_CORRECT = ("false", "0", "0.0", "no", "f", "n", "wrong", "incorrect")


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"numbered"``: rows from a local file, read by :func:`read`."""
    rows = read_rows(
        "numbered", HUB_NAME, request.path, request.file_split, request.config, request.revision
    )
    return read(rows, request.rejected)


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows -> trajectories; what does not parse is counted in ``rejected``."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, solution = row.get("problem", row.get("question")), row.get("solution")
        if not isinstance(question, str) or not isinstance(solution, str):
            rejected["no problem or solution"] += 1
            continue
        if not question.strip():
            rejected["empty problem"] += 1
            continue
        if str(row.get("correct")).strip().lower() in _NOT_CORRECT:
            rejected["marked as not correct"] += 1
            continue
        parts = split_steps(solution)
        if parts is None:
            rejected["no numbered steps"] += 1
            continue
        preamble, steps, tail = parts
        answer = _answer(row.get("answer"))
        if answer is None:
            rejected["an answer that is neither text nor a number"] += 1
            continue
        id = unique_id("numbered", question_key(question) + "\0" + solution, seen)
        yield Trajectory(id, question, steps, answer, preamble, tail)


def _answer(value: Any) -> str | None:
    """A final answer as text, also from a list of one; empty for none, such as NaN.

    None for a list of several or an object: which part is the answer is not known.
    """
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if not isinstance(value, str | int | float | Decimal):
        return None
    text = str(value)
    return "" if text.strip().lower() == "nan" else text

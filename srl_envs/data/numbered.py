"""Solutions in numbered steps, as :mod:`srl_envs.data.step_text` reads them.

A step begins with ``Step 3: ...``, ``### Step 3 ...``, ``**Step 3** ...``, ``3. ...``,
``(3) ...`` and their kind.

Rows have ``problem`` (or ``question``), ``solution`` and ``answer``; a row with
``correct: false`` (or "no", "incorrect") is left out. Nothing of a solution is lost:
preamble, steps and tail joined give it back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
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
        id = unique_id("numbered", question_key(question) + "\0" + solution, seen)
        yield Trajectory(id, question, steps, _text(row.get("answer")), preamble, tail)


def _text(answer: Any) -> str:
    """A final answer as text; anything but text and numbers, such as NaN, is none."""
    if isinstance(answer, float) and not math.isfinite(answer):
        return ""
    text = str(answer) if isinstance(answer, str | int | float) else ""
    return "" if text.strip().lower() == "nan" else text

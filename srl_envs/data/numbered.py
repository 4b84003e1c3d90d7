"""Solutions in plain numbered steps.

A step begins with ``Step 3: ...``, ``### Step 3 ...``, ``**Step 3** ...`` or ``3. ...``.

Rows have ``problem`` (or ``question``), ``solution`` and ``answer``; a row with
``correct: false`` is left out. Nothing of a solution is lost: preamble, steps and tail
joined give it back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key, unique_id
from srl_envs.data.step_text import split_steps
from srl_envs.trajectory import Trajectory

HUB_NAME = ""

STYLES = (
    re.compile(
        r"^(?P<indent>[ \t]*)(?:#{1,6} +)?(?:\*\*)?"
        r"(?:Step|(?i:step)(?=[ \t]+\d+[ \t]*(?:[:.)*\u2013\u2014-]|$)))[ \t]+"
        r"(?P<number>\d{1,4})(?!\d)(?:[:.)]|[ \t]*[-\u2013\u2014](?!\d))?(?P<rest>.*)$",
        re.MULTILINE,
    ),
    re.compile(
        r"^(?P<indent>[ \t]*)(?:#{1,6} +)?(?:\*\*)?(?P<number>\d{1,4})[.)]"
        r"(?P<rest>(?:[ \t]|(?=\*\*)).*)$",
        re.MULTILINE,
    ),
)
"""How a step may begin; the first style that gives at least two steps counts."""


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"numbered"``: rows from a local file, read by :func:`read`."""
    rows = read_rows("numbered", HUB_NAME, request.path, request.file_split)
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
        if row.get("correct") is False:
            rejected["marked as not correct"] += 1
            continue
        parts = next(
            (parts for style in STYLES if (parts := split_steps(solution, style)) is not None), None
        )
        if parts is None:
            rejected["no numbered steps"] += 1
            continue
        preamble, steps, tail = parts
        id = unique_id("numbered", question_key(question) + "\0" + solution, seen)
        answer = row.get("answer")
        yield Trajectory(
            id,
            question,
            steps,
            str(answer) if isinstance(answer, (str, int, float)) else "",
            preamble,
            tail,
        )

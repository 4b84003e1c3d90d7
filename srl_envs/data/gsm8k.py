"""GSM8K: every line of ``answer`` is a step, the last line ``#### N`` is the answer.

Calculator marks (``<<48/2=24>>``) are left out. In the socratic set a line is ``title
** step``: a row is read so only if each of its steps has a title, in words, because
``**`` is also a power (``x = 3 ** 2``). The data is MIT-licensed
(openai/grade-school-math).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key, unique_id
from srl_envs.trajectory import ExpertStep, Trajectory

HUB_NAME = "openai/gsm8k"
FILES = {"train": "train.jsonl", "test": "test.jsonl"}

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")
_ANSWER = re.compile(r"^####\s*(\S.*)$")
_TITLED = re.compile(r"\s*(?P<title>[^\W\d_]{2}.*?) \*\* (?P<action>.*)")


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"gsm8k"``: its rows from a local file or the hub, read by :func:`read`."""
    rows = read_rows(
        "gsm8k", HUB_NAME, request.path, request.file_split, request.config, request.revision
    )
    return read(rows, request.rejected)


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows with ``question`` and ``answer`` -> trajectories; rows that do not parse are counted."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, solution = row.get("question"), row.get("answer")
        if not isinstance(question, str) or not isinstance(solution, str):
            rejected["no question or answer"] += 1
            continue
        if not question.strip():
            rejected["empty question"] += 1
            continue
        *lines, last = [line for line in solution.splitlines() if line.strip()] or [""]
        answer = _ANSWER.match(last.strip())
        if answer is None:
            rejected["no final answer"] += 1
            continue
        steps = _steps([_CALCULATOR_MARK.sub("", line) for line in lines])
        if not steps:
            rejected["no steps"] += 1
            continue
        id = unique_id("gsm8k", question_key(question), seen)
        yield Trajectory(id, question, steps, answer=answer[1].replace(",", "").strip())


def _steps(lines: list[str]) -> tuple[ExpertStep, ...]:
    """A step for each line that says anything; with titles if every line has one."""
    titled = [
        (match["title"].strip(), match["action"].strip())
        for line in lines
        if (match := _TITLED.match(line))
    ]
    pairs = titled if len(titled) == len(lines) else [("", line.strip()) for line in lines]
    return tuple(ExpertStep(action, title=title, gap="\n") for title, action in pairs if action)

"""GSM8K: every line of ``answer`` is a step, the last line ``#### N`` is the answer.

Calculator marks (``<<48/2=24>>``) are left out. In the socratic set a line is ``title ** step``. The data is MIT-licensed (openai/grade-school-math).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.splits import question_key, unique_id
from srl_envs.trajectory import ExpertStep, Trajectory

HUB_NAME = "openai/gsm8k"
FILES = {"train": "train.jsonl", "test": "test.jsonl"}

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")
_ANSWER = re.compile(r"^####\s*(\S.*)$")


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows with ``question`` and ``answer`` -> trajectories; what does not parse is counted in ``rejected``."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, solution = row.get("question"), row.get("answer")
        if not isinstance(question, str) or not isinstance(solution, str):
            rejected["no question or answer"] += 1
            continue
        *lines, last = [line for line in solution.splitlines() if line.strip()] or [""]
        answer = _ANSWER.match(last.strip())
        if answer is None:
            rejected["no final answer"] += 1
            continue
        steps = tuple(step for line in lines if (step := _step(line)) is not None)
        if not steps:
            rejected["no steps"] += 1
            continue
        id = unique_id("gsm8k", question_key(question), seen)
        yield Trajectory(id, question, steps, answer=answer[1].replace(",", "").strip())


def _step(line: str) -> ExpertStep | None:
    title, mark, action = _CALCULATOR_MARK.sub("", line).rpartition(" ** ")
    if not action.strip():
        return None
    return ExpertStep(action.strip(), title=title.strip() if mark else "", gap="\n")

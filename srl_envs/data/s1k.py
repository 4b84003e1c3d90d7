"""s1K-1.1: the expert's solution is ``deepseek_attempt``, in numbered and titled steps (arXiv 2510.25992, section 4.1).

1,000 rows, all columns strings, no id. Rows whose attempt is not in such steps are counted and left out. Preamble, steps and tail joined give back
the attempt. The paper does not filter by grade, so neither does this; ``deepseek_grade`` is kept in the metadata.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.splits import question_key, unique_id
from srl_envs.data.step_text import split_steps
from srl_envs.trajectory import Trajectory

HUB_NAME = "simplescaling/s1K-1.1"

STYLES = (
    re.compile(
        r"^(?P<indent>[ \t]*)(?:#{1,6} +)?(?:\*\*)?(?i:step)[ \t]+(?P<number>\d{1,4})(?:[:.)]|[ \t]*[-\u2013\u2014](?!\d)|(?=\*\*)|(?=[ \t\r]*$))(?P<rest>.*)$",
        re.MULTILINE,
    ),
    re.compile(
        r"^(?P<indent>[ \t]*)(?:#{1,6} +\**|\*\*(?=\d)|(?=\d+[.)][ \t]*\*\*))(?P<number>\d{1,4})[.)](?P<rest>(?:[ \t]|(?=\*\*)).*)$",
        re.MULTILINE,
    ),
    re.compile(r"^(?P<indent>[ \t]*)(?P<number>\d{1,4})[.)](?P<rest> .*)$", re.MULTILINE),
)
"""How a step may begin: ``Step 1``, then ``1.`` with a mark of a title, then a plain ``1.``. The first style that gives every step a title counts; else the
first whose steps all have a title or a mark (the word, a heading, bold), such as a last step that is nothing but a bold line."""

_MARKED = re.compile(r"\s*(?:#|\*\*|step\b|\d+[.)][ \t]*\*\*)", re.IGNORECASE)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows -> trajectories; what does not parse is counted in ``rejected``."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, attempt = row.get("question"), row.get("deepseek_attempt")
        if not isinstance(question, str) or not isinstance(attempt, str) or not attempt.strip():
            rejected["no question or deepseek_attempt"] += 1
            continue
        readings = [parts for style in STYLES if (parts := split_steps(attempt, style)) is not None]
        titled = [parts for parts in readings if all(step.title for step in parts[1])]
        titled += [parts for parts in readings if all(step.title or _MARKED.match(step.text) for step in parts[1])]
        if not titled:
            rejected["a step without title" if readings else "no numbered steps"] += 1
            continue
        preamble, steps, tail = titled[0]
        id = unique_id("s1k", question_key(question), seen)
        metadata = {name: row[name] for name in ("source_type", "deepseek_grade") if isinstance(row.get(name), str)}
        answer = last_boxed(attempt) or str(row.get("solution") or "")
        yield Trajectory(id, question, steps, answer, preamble, tail, metadata=metadata)


def last_boxed(text: str) -> str:
    r"""What the last ``\boxed{...}`` with balanced braces holds (``\{`` and ``\}`` do not count); empty if there is none."""
    for start in reversed([match.end() for match in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for mark in _BRACE.finditer(text, start):
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                return text[start : mark.start()].strip()
    return ""

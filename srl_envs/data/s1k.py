"""s1K-1.1: the expert's solution is ``deepseek_attempt``, in numbered and titled steps (arXiv 2510.25992, section 4.1).

1,000 rows, all columns strings, no id. Rows whose attempt is not in such steps are counted and left out. Preamble, steps and tail joined give back
the attempt. The paper does not filter by grade, so neither does this; ``deepseek_grade`` is kept in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.splits import question_key
from srl_envs.data.step_text import split_steps
from srl_envs.trajectory import Trajectory

HUB_NAME = "simplescaling/s1K-1.1"

STYLES = (
    re.compile(r"^(?:#{1,6} +)?(?:\*\*)?Step (?P<number>\d+)[:.)](?P<rest>.*)$", re.MULTILINE),
    re.compile(r"^(?:#{1,6} +)?(?:\*\*)?(?P<number>\d+)[.)](?P<rest> .*)$", re.MULTILINE),
)
"""How a step may begin; the first style that gives at least two steps counts."""


def read(rows: Iterable[Mapping[str, Any]], rejected: Counter[str]) -> Iterable[Trajectory]:
    """Rows -> trajectories; what does not parse is counted in ``rejected``."""
    seen: Counter[str] = Counter()
    for row in rows:
        question, attempt = row.get("question"), row.get("deepseek_attempt")
        if not isinstance(question, str) or not isinstance(attempt, str) or not attempt.strip():
            rejected["no question or deepseek_attempt"] += 1
            continue
        parts = next((parts for style in STYLES if (parts := split_steps(attempt, style)) is not None), None)
        if parts is None:
            rejected["no numbered steps"] += 1
            continue
        preamble, steps, tail = parts
        if not all(step.title for step in steps):
            rejected["a step without title"] += 1
            continue
        digest = hashlib.blake2b(question_key(question).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        seen[digest] += 1
        id = f"s1k-{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else "")
        metadata = {name: row[name] for name in ("source_type", "deepseek_grade") if isinstance(row.get(name), str)}
        answer = last_boxed(attempt) or str(row.get("solution") or "")
        yield Trajectory(id, question, steps, answer, preamble, tail, metadata=metadata)


def last_boxed(text: str) -> str:
    r"""What the last ``\boxed{...}`` with balanced braces holds; empty if there is none."""
    start = text.rfind("\\boxed{")
    depth = 0
    for i in range(start + len("\\boxed"), len(text)) if start >= 0 else ():
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start + len("\\boxed{") : i].strip()
    return ""

"""Answers to held-out instances, and the files of ``samples/`` that hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srl_agent.runs.files import replace_file
from srl_envs.errors import DataError

_NEEDED = {"instance_id", "error", "reward", "similarity"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to one held-out instance.

    Attributes:
        instance_id: Which instance; the same in every stage.
        prompt: The prompt's text.
        title: The title of the step to write; may be empty.
        expert: The expert's action.
        completion: All that the model wrote.
        thought: What it thought before its action; empty if malformed or without a
            thought.
        action: What of it was compared with the expert's; empty if malformed.
        error: None, or which malformation.
        reward: The step's reward; None if it was not recorded.
        similarity: To the expert's action; None if malformed.
        tokens: Length of the completion; None if it was not recorded.
    """

    instance_id: str
    prompt: str
    title: str
    expert: str
    completion: str
    thought: str
    action: str
    error: str | None
    reward: float | None
    similarity: float | None
    tokens: int | None


def answer_of(row: Mapping[str, Any]) -> Answer:
    """The answer of one record; what is missing or of a wrong type is empty or None."""
    texts = ("prompt", "title", "expert", "completion", "thought", "action")
    error, tokens = row.get("error"), _number(row.get("tokens"))
    return Answer(
        instance_id=str(row["instance_id"]),
        **{key: row[key] if isinstance(row.get(key), str) else "" for key in texts},
        error=None if error is None else str(error),
        reward=_number(row.get("reward")),
        similarity=_number(row.get("similarity")),
        tokens=None if tokens is None else int(tokens),
    )


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write a file of ``samples/``, complete or not at all."""
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
    replace_file(path, "".join(lines).encode())


def read_answers(path: Path) -> list[Answer]:
    """The answers in a file of ``samples/``.

    Raises:
        DataError: It is truncated or damaged.
    """
    try:
        # As text, a model's U+2028 would end a line too.
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    except ValueError:
        rows = []
    if not rows or not all(isinstance(row, dict) and row.keys() >= _NEEDED for row in rows):
        raise DataError(f"{path} is damaged: delete it and rerun the same command.")
    return [answer_of(row) for row in rows]


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None

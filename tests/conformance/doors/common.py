"""What all doors share: the task that they are given, and the answer that they give.

A door is run as ``PYTHON door.py TASK OUT`` by the interpreter of its trainer's
environment. ``TASK`` is a folder: ``steps/`` and ``episodes/`` as the export wrote them
for this trainer, ``answers.json`` with an answer to each step, ``turns.json`` with the
answers to each episode by its id. ``OUT`` is a file: ``rewards``, ``prompts``, ``episodes``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TASK, OUT = (Path(argument) for argument in sys.argv[1:3])
ANSWERS: list[dict[str, Any]] = json.loads((TASK / "answers.json").read_text())
TURNS: dict[str, list[str]] = json.loads((TASK / "turns.json").read_text())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def whole(answer: dict[str, Any]) -> str:
    """The answer as one text, for trainers that know no other."""
    thought = answer.get("thought")
    return answer["text"] if thought is None else f"<think>{thought}</think>{answer['text']}"


def script(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The scripted answer to a prompt: of a step, or of the next turn of the episode."""
    prompts = json.loads((TASK / "prompts.json").read_text())
    plain = [{"role": one["role"], "content": _text(one["content"])} for one in messages]
    if plain in prompts:
        return ANSWERS[prompts.index(plain)]
    episodes = json.loads((TASK / "episode_prompts.json").read_text())
    (turns,) = (TURNS[name] for name, prompt in episodes.items() if prompt == plain[:2])
    return {"text": turns[sum(one["role"] == "assistant" for one in plain)]}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def report(rewards: list[float], prompts: list[Any], episodes: list[Any]) -> None:
    """Write what went through the door."""
    out = {"rewards": rewards, "prompts": prompts, "episodes": episodes}
    OUT.write_text(json.dumps(out))

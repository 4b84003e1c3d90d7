"""Pivot rows of NeMo Gym: a prefix and one expected action, one JSON object a line.

    {"uuid": ID, "agent_ref": {...}, "responses_create_params": {"input": [...]},
     "expected_action": {"type": "function_call", "name": ..., "arguments": "<JSON>"},
     "srl": {...}}

``expected_action`` is what NeMo Gym's own verifiers read: a call where the grammar of
commands has one, else ``{"type": "message", "content": ...}``. ``srl`` is our
:class:`~srl_envs.adapters.rows.StepRow` without what the rest says, and lets a row come
back as it was. Rows of others have no ``srl``: their calls become those of the grammar
``tool``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srl_envs.adapters.rows import StepRow
from srl_envs.commands import TOOL_CALLS, CommandError, grammar_named
from srl_envs.data.jsonl import read_lines
from srl_envs.errors import DataError
from srl_envs.prompts.step import Message

STEP_AGENT, EPISODE_AGENT = "srl_step_agent", "srl_episode_agent"
"""Names of the agents in the configuration that the export writes."""


def pivot_row(row: StepRow, **more: Any) -> dict[str, Any]:
    """The pivot row of a step.

    Args:
        row: The step.
        more: Further keys, which NeMo Gym passes through: ``pass_rate``, ``metadata``.
    """
    ours = row.as_dict()
    del ours["messages"]
    return {
        "uuid": row.id,
        "agent_ref": {"type": "responses_api_agents", "name": STEP_AGENT},
        "responses_create_params": {"input": row.messages},
        "expected_action": _expected(row),
        "srl": ours,
        **more,
    }


def _expected(row: StepRow) -> dict[str, Any]:
    if row.grammar:
        try:
            command = grammar_named(row.grammar).parse(row.expert_action)
        except CommandError:
            pass
        else:
            call = json.loads(TOOL_CALLS["tool"].write(command.tool, command.arguments))
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            return {"type": "function_call", "name": command.tool, "arguments": arguments}
    return {"type": "message", "content": row.expert_action}


def read_pivot_rows(path: str | Path) -> Iterator[tuple[StepRow, dict[str, Any]]]:
    """The steps of a file of pivot rows, each with the row it was read from.

    Raises:
        DataError: The file cannot be read, or a line is not a pivot row.
    """
    for number, row in read_lines(Path(path)):
        yield step_of(row, f"{path}, line {number}"), row


def step_of(row: Mapping[str, Any], where: str = "a row") -> StepRow:
    """The step that a pivot row asks for.

    Args:
        row: Ours, or another's.
        where: File and line, for messages.

    Raises:
        DataError: It is not a pivot row.
    """
    try:
        messages = _messages(row["responses_create_params"]["input"])
        if "srl" in row:
            return StepRow.read({**row["srl"], "messages": messages}, where)
        expected = row["expected_action"]
        identity = str(row.get("uuid") or row.get("id") or where)
        if expected["type"] == "message":
            return StepRow(identity, messages, _text(expected["content"]))
        command = TOOL_CALLS["tool"].write(expected["name"], json.loads(expected["arguments"]))
        return StepRow(identity, messages, command, grammar="tool")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{where} is not a pivot row ({said}).") from None


def _messages(given: Any) -> list[Message]:
    """The conversation; calls become text, and what they printed becomes the user's."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    said: list[Message] = []
    for item in given:
        kind = item.get("type", "message")
        if kind == "message":
            said.append({"role": str(item["role"]), "content": _text(item["content"])})
        elif kind == "function_call":
            call = {"name": item["name"], "arguments": json.loads(item["arguments"])}
            content = json.dumps(call, ensure_ascii=False)
            said.append({"role": "assistant", "content": content})
        elif kind == "function_call_output":
            said.append({"role": "user", "content": _text(item["output"])})
        elif kind != "reasoning":
            raise ValueError(f"an item of the input has the unknown type {kind!r}")
    return said


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)

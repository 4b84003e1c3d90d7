"""Writes and reads trajectories in ATIF, the Agent Trajectory Interchange Format of Harbor.

One JSON document a trajectory: the task is the first step, and each of the agent's steps
has one tool call with its observation. What ATIF has no place for is in ``extra``. Documents
of any agent are read as chat messages with tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from srl_envs.commands import grammar_named
from srl_envs.trajectory import ExpertStep, Trajectory

VERSION = "ATIF-v1.6"


def atif_document(trajectory: Trajectory, agent: str, version: str, model: str) -> dict[str, Any]:
    """A trajectory that solves its task as a document.

    Args:
        trajectory: Of the domain ``"swe"``.
        agent: Name of the agent.
        version: Its version.
        model: Name of the model that acted.

    Raises:
        CommandError: A step holds no command of the trajectory's grammar.
    """
    steps = [
        {"step_id": 1, "source": "user", "message": trajectory.prompt},
        *(
            _agent_step(step, number, trajectory.grammar, model)
            for number, step in enumerate(trajectory.steps, start=2)
        ),
    ]
    return {
        "schema_version": VERSION,
        "session_id": trajectory.id,
        "agent": {"name": agent, "version": version, "model_name": model},
        "steps": steps,
        "final_metrics": {"total_steps": len(steps)},
        "extra": {
            "grammar": trajectory.grammar,
            "resolved": True,
            "metadata": _plain(trajectory),
        },
    }


def _agent_step(step: ExpertStep, number: int, grammar: str, model: str) -> dict[str, Any]:
    command = grammar_named(grammar).parse(step.action)
    call = f"call-{number}"
    return {
        "step_id": number,
        "source": "agent",
        "model_name": model,
        "message": step.thought,
        "tool_calls": [
            {
                "tool_call_id": call,
                "function_name": command.tool,
                "arguments": dict(command.arguments),
            }
        ],
        "observation": {"results": [{"source_call_id": call, "content": step.observation}]},
    }


def _plain(trajectory: Trajectory) -> Any:
    return json.loads(json.dumps(dict(trajectory.metadata), default=str))


def is_document(row: Mapping[str, Any]) -> bool:
    """Whether a row is an ATIF document."""
    return str(row.get("schema_version", "")).startswith("ATIF") and isinstance(
        row.get("steps"), list
    )


def row_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document as a row with ``messages``; its ``extra`` gives the verdict and the environment.

    Columns beside the document's own, as ``resolved``, stay.
    """
    extra = document.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    metadata = extra.get("metadata")
    names = (document.get("trajectory_id"), document.get("session_id"))
    name = next((one for one in names if isinstance(one, str) and one), "")
    steps = [step for step in document["steps"] if isinstance(step, dict)]
    return {
        **({"instance_id": name} if name else {}),
        **(metadata if isinstance(metadata, dict) else {}),
        **({"resolved": extra["resolved"]} if "resolved" in extra else {}),
        **{key: value for key, value in document.items() if key not in ("steps", "extra")},
        "messages": [message for step in steps for message in _messages(step)],
    }


def _messages(step: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A step's message and what was seen after it; context copied from another run is left out."""
    if step.get("is_copied_context"):
        return
    source = step.get("source")
    message = {
        "role": "assistant" if source == "agent" else source,
        "content": step.get("message"),
        "reasoning_content": step.get("reasoning_content"),
    }
    calls = [call for call in step.get("tool_calls") or () if isinstance(call, dict)]
    if calls:
        message["tool_calls"] = [
            {
                "id": call.get("tool_call_id"),
                "type": "function",
                "function": {
                    "name": call.get("function_name"),
                    "arguments": json.dumps(call.get("arguments")),
                },
            }
            for call in calls
        ]
    yield message
    seen = step.get("observation")
    for result in (seen.get("results") or ()) if isinstance(seen, dict) else ():
        call = result.get("source_call_id") or (calls[0].get("tool_call_id") if calls else None)
        role = {"role": "tool", "tool_call_id": call} if call else {"role": "user"}
        yield {**role, "content": result.get("content") or ""}

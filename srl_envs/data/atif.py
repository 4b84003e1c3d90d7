"""Writes trajectories in ATIF, the Agent Trajectory Interchange Format of Harbor.

One JSON document a trajectory: the task is the first step, and each of the agent's steps
has one tool call with its observation. What ATIF has no place for is in ``extra``.
"""

from __future__ import annotations

import json
from typing import Any

from srl_envs.commands import grammar_named
from srl_envs.trajectory import ExpertStep, Trajectory

VERSION = "ATIF-v1.6"


def atif_document(trajectory: Trajectory, agent: str, version: str, model: str) -> dict[str, Any]:
    """A trajectory as a document.

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
        "extra": {"grammar": trajectory.grammar, "metadata": _plain(trajectory)},
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

"""Writes trajectories as rows of SWE-smith's trajectories, which ``--source swe_smith`` reads."""

from __future__ import annotations

import json
from typing import Any

from srl_envs.prompts.step import Message
from srl_envs.prompts.swe import swe_step_messages
from srl_envs.trajectory import Trajectory


def swe_smith_row(trajectory: Trajectory, model: str, patch: str = "") -> dict[str, Any]:
    """A solved trajectory as a row: ``messages`` is JSON, as on the hub.

    Args:
        trajectory: Of the domain ``"swe"``.
        model: Who acted.
        patch: What it changed; empty if unknown.
    """
    workdir = trajectory.metadata.get("workdir", "/testbed")
    system = swe_step_messages(trajectory.prompt, [], grammar=trajectory.grammar)[0]["content"]
    messages: list[Message] = [
        {"role": "system", "content": system},
        {
            "role": "user",
            "content": (
                f"<uploaded_files>\n{workdir}\n</uploaded_files>\n\nSolve this task in the"
                f" repository.\n\n<pr_description>\n{trajectory.prompt}\n</pr_description>"
            ),
        },
    ]
    for number, step in enumerate(trajectory.steps, start=1):
        said = "\n\n".join(part for part in (step.thought, step.action) if part)
        messages.append({"role": "assistant", "content": said})
        if step.observation or number < len(trajectory.steps):
            seen = f"OBSERVATION:\n{step.observation}"
            messages.append({"role": "user", "content": seen})
    return {
        "instance_id": str(trajectory.metadata.get("instance_id") or trajectory.id),
        "traj_id": trajectory.id,
        "resolved": True,
        "model": model,
        "patch": patch,
        "messages": json.dumps(messages),
    }

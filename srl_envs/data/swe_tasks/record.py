"""Records the built-in trajectories: runs each expert's commands in a sandbox and writes down what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from srl_envs.commands import Command, grammar_named
from srl_envs.sandbox import Sandbox
from srl_envs.sandbox.edit_tool import EditTool
from srl_envs.swe_tasks import SweTask
from srl_envs.trajectory import ExpertStep, Trajectory

GRAMMAR = "xml"
NO_OUTPUT = "Your command ran successfully and did not produce any output."
_HERE = Path(__file__).parent


def read_experts(path: Path = _HERE / "experts.yaml") -> dict[str, list[tuple[str, Command]]]:
    """Task id -> thought and command of each step."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {row["task"]: [(" ".join(step["thought"].split()), _command(step)) for step in row["steps"]] for row in rows}


def _command(step: dict[str, Any]) -> Command:
    grammar = grammar_named(GRAMMAR)
    if "bash" in step:
        return grammar.command("bash", command=step["bash"])
    return grammar.command("str_replace_editor", **step["edit"]) if "edit" in step else grammar.command("submit")


def record(task: SweTask, steps: list[tuple[str, Command]], sandbox: Sandbox) -> Trajectory:
    """What the expert's commands give in a sandbox that stands at the start of the task, as a trajectory."""
    tool = EditTool(sandbox)
    recorded = tuple(ExpertStep(command.text, thought=thought, observation=_observe(command, sandbox, tool)) for thought, command in steps)
    metadata = {
        "grammar": GRAMMAR,
        "workdir": sandbox.workdir,
        "task": task.id,
        "package": task.package,
        "version": task.base_version,
        "license": task.license,
        "attribution": f"Code in the observations: {task.package}, {task.attribution}, {task.url}",
    }
    return Trajectory(task.id, task.issue.strip(), recorded, domain="swe", metadata=metadata)


def _observe(command: Command, sandbox: Sandbox, tool: EditTool) -> str:
    if command.tool == "str_replace_editor":
        return tool.run(command.arguments)
    if command.tool == "submit":
        return ""
    return sandbox.run(command.arguments["command"]).output.rstrip() or NO_OUTPUT

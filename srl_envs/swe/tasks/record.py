"""Records the built-in trajectories: runs each expert's commands and writes down the output.

    python -m srl_envs.swe.tasks.record [--output FILE]

needs a Docker engine, the base image (``python -m srl_envs.sandbox build-base``) and,
the first time, the package index. Nothing is written unless every expert's patch passes
the hidden tests of its task in a fresh container.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from srl_envs.command_line import exit_status
from srl_envs.commands import Command, grammar_named
from srl_envs.data.jsonl import save_trajectories
from srl_envs.errors import DataError
from srl_envs.sandbox import DockerSandbox, Sandbox
from srl_envs.swe.agent_session import AgentSession
from srl_envs.swe.tasks import SweTask, load_task
from srl_envs.swe.tasks.hidden_tests import task_tests
from srl_envs.swe.tasks.images import task_image
from srl_envs.swe.tasks.verification import judge
from srl_envs.trajectory import ExpertStep, Trajectory

GRAMMAR = "xml"
_HERE = Path(__file__).parent


def read_experts(path: Path = _HERE / "experts.yaml") -> dict[str, list[tuple[str, Command]]]:
    """Task id -> thought and command of each step."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        row["task"]: [(" ".join(step["thought"].split()), _command(step)) for step in row["steps"]]
        for row in rows
    }


def _command(step: dict[str, Any]) -> Command:
    grammar = grammar_named(GRAMMAR)
    if "bash" in step:
        return grammar.command("bash", command=step["bash"])
    return (
        grammar.command("str_replace_editor", **step["edit"])
        if "edit" in step
        else grammar.command("submit")
    )


def record(task: SweTask, steps: list[tuple[str, Command]], sandbox: Sandbox) -> Trajectory:
    """What the expert's commands give in a clean sandbox of the task's image, as a trajectory."""
    session = AgentSession(sandbox, GRAMMAR)
    recorded = tuple(
        ExpertStep(command.text, thought=thought, observation=session.observe(command))
        for thought, command in steps
    )
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


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if every task was solved."""
    parser = argparse.ArgumentParser(
        prog="python -m srl_envs.swe.tasks.record", description="Record the built-in trajectories."
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_HERE / "trajectories.jsonl",
        help="file to write (default: the built-in one)",
    )
    chosen = parser.parse_args(arguments)

    def write() -> int:
        save_trajectories(
            [_solved(task_id, steps) for task_id, steps in read_experts().items()], chosen.output
        )
        return 0

    return exit_status(write)


def _solved(task_id: str, steps: list[tuple[str, Command]]) -> Trajectory:
    task = load_task(task_id)
    image = task_image(task)
    with DockerSandbox(image) as sandbox:
        trajectory = record(task, steps, sandbox)
        patch = sandbox.diff()
    with DockerSandbox(image) as fresh:
        verdict = judge(task_tests(task), patch, fresh)
    if not verdict.resolved:
        raise DataError(
            f"The expert of {task_id} did not solve it; not passing: {', '.join(verdict.failing)}"
        )
    print(f"{task_id}: {len(steps)} steps, solved")
    return trajectory


if __name__ == "__main__":
    sys.exit(main())

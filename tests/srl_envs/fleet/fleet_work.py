"""Work for fleets whose every result can be checked, and the trajectories of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from srl_envs.commands import GRAMMARS
from srl_envs.sandbox import DockerSandbox, SandboxLimits
from srl_envs.sandbox.engine import engine_address
from srl_envs.trajectory import ExpertStep, Trajectory

IMAGE = "srl-fleet:latest"
LIMITS = SandboxLimits(cpus=0.5, memory_mib=256)


def small_sandbox(image: str) -> DockerSandbox:
    return DockerSandbox(image, workdir="/tmp", limits=LIMITS)


def products(image: str, number: int, pause: float) -> tuple[list[str], str | None, int]:
    """Ten products from a sandbox; the engine and the process that they came from."""
    with small_sandbox(image) as sandbox:
        outputs = []
        for factor in range(10):
            outputs.append(sandbox.run(f"echo $(( {number} * {factor} )); sleep {pause}").output)
    return outputs, engine_address(), os.getpid()


def expected(number: int) -> list[str]:
    return [f"{number * factor}\n" for factor in range(10)]


def trajectory(number: int, image: str, pause: float = 0.0) -> Trajectory:
    """A trajectory that its test resolves if the number is even."""
    commands: Sequence[str] = (f"sleep {pause}", f"echo {number} > value.txt")
    wanted = number + number % 2
    return Trajectory(
        f"job-{number}",
        "Write the number.",
        tuple(ExpertStep(GRAMMARS["xml"].command("bash", command=one).text) for one in commands),
        domain="swe",
        metadata={
            "image": image,
            "test_command": f'[ "$(cat value.txt)" = {wanted} ] && echo PASSED t.py::test_value',
            "log_parser": "pytest",
            "FAIL_TO_PASS": ["t.py::test_value"],
            "PASS_TO_PASS": [],
        },
    )

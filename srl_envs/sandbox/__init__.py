"""Sandboxes: where a model's commands run.

:class:`Sandbox` is what an environment needs; :class:`DockerSandbox` and
:class:`BubblewrapSandbox` are built in.
"""

from srl_envs.sandbox.bubblewrap_sandbox import BubblewrapSandbox
from srl_envs.sandbox.docker_sandbox import BASE_IMAGE, DockerSandbox
from srl_envs.sandbox.limits import SandboxLimits
from srl_envs.sandbox.protocol import (
    DamagedRepositoryError,
    ExecResult,
    Sandbox,
    SandboxError,
    SandboxFileError,
)

__all__ = [
    "BASE_IMAGE",
    "BubblewrapSandbox",
    "DamagedRepositoryError",
    "DockerSandbox",
    "ExecResult",
    "Sandbox",
    "SandboxError",
    "SandboxFileError",
    "SandboxLimits",
]

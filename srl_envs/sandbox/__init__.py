"""Sandboxes: where a model's commands run. :class:`Sandbox` is what an environment needs, :class:`DockerSandbox` the one that is built in."""

from srl_envs.sandbox.protocol import DamagedRepositoryError, ExecResult, Sandbox, SandboxError, SandboxFileError

__all__ = ["DamagedRepositoryError", "ExecResult", "Sandbox", "SandboxError", "SandboxFileError"]

"""inspect_ai 0.3: our sandboxes as its ``sandboxenv``: ``Task(sandbox=("srl", "bubblewrap"))``.

The config names one of :data:`srl_envs.sandboxes.SANDBOXES`; a sample's metadata may give
``image`` and ``workdir``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
    sandboxenv,
)

from srl_envs.sandbox import BASE_IMAGE, Sandbox, SandboxFileError, SandboxLimits
from srl_envs.sandboxes import SANDBOXES

T = TypeVar("T")

_FOREVER = 7 * 24 * 3600.0
_ERRORS: dict[int, type[OSError]] = {
    errno.ENOENT: FileNotFoundError,
    errno.EISDIR: IsADirectoryError,
    errno.EACCES: PermissionError,
    errno.EPERM: PermissionError,
}
_LIMITS = SandboxLimits(read_mib=100, file_mib=200)


@sandboxenv(name="srl")
class SRLSandbox(SandboxEnvironment):
    """One sandbox of ours; its calls run one after another.

    Args:
        sandbox: It is closed by :meth:`sample_cleanup`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox, self._lock = sandbox, threading.Lock()

    @classmethod
    async def sample_init(
        cls, task_name: str, config: Any, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """A fresh sandbox for a sample."""
        maker = SANDBOXES.named(str(config or "docker"))
        image, workdir = metadata.get("image", BASE_IMAGE), metadata.get("workdir", "/testbed")
        made = await asyncio.to_thread(maker, image, workdir=workdir, limits=_LIMITS, startup="")
        return {"default": cls(made)}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: Any,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Close it."""
        for one in environments.values():
            await asyncio.to_thread(one.as_type(cls)._sandbox.close)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command, its two outputs apart.

        Raises:
            TimeoutError: It took longer.
            PermissionError: The command may not be run.
            SandboxUserUnsupportedError: A user is named: commands are always run as the
                sandbox's own.
            OutputLimitExceededError: It printed more than inspect's limit.
        """
        if user is not None:
            raise SandboxUserUnsupportedError(f"The sandbox has one user: {user!r} is another.")
        return await self._call(lambda: self._exec(cmd, input, cwd, env or {}, timeout))

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Create or replace a file, and the folders above it."""
        await self._call(lambda: self._sandbox.write_file(file, contents))

    async def read_file(self, file: str, text: bool = True) -> Any:
        """A file's contents."""
        contents = await self._call(lambda: self._read(file))
        return contents.decode() if text else contents

    async def _call(self, work: Callable[[], T]) -> T:
        def locked() -> T:
            with self._lock:
                return work()

        try:
            return await asyncio.to_thread(locked)
        except SandboxFileError as error:
            number = error.errno or errno.EIO
            said = f"{os.strerror(number)}: {error}"
            raise _ERRORS.get(number, OSError)(number, said) from None

    def _read(self, file: str) -> bytes:
        try:
            contents = self._sandbox.read_file(file)
        except SandboxFileError as error:
            if error.errno != errno.EFBIG:
                raise
            contents = b"\0" * (SandboxEnvironmentLimits.MAX_READ_FILE_SIZE + 1)
        if len(contents) > SandboxEnvironmentLimits.MAX_READ_FILE_SIZE:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        return contents

    def _exec(
        self,
        cmd: list[str],
        input: str | bytes | None,
        cwd: str | None,
        env: dict[str, str],
        timeout: int | None,
    ) -> ExecResult[str]:
        folder = f"/tmp/.inspect-{uuid4().hex}"
        script = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
        script += [f"cd {shlex.quote(cwd)} || exit"] if cwd else []
        self._sandbox.write_file(f"{folder}/run", "\n".join([*script, f"exec {shlex.join(cmd)}"]))
        self._sandbox.write_file(f"{folder}/in", input or b"")
        run = f"bash {folder}/run <{folder}/in >{folder}/out 2>{folder}/err"
        result = self._sandbox.run(run, timeout=timeout or _FOREVER)
        try:
            if result.timed_out:
                raise TimeoutError(f"The command took longer than {timeout} s.")
            outputs = [self._printed(f"{folder}/{name}") for name in ("out", "err")]
        finally:
            self._sandbox.run(f"rm -rf {folder}")
        if result.exit_code == 126 and "ermission denied" in outputs[1]:
            raise PermissionError(outputs[1].strip())
        return ExecResult(result.exit_code == 0, result.exit_code, *outputs)

    def _printed(self, file: str) -> str:
        text = self._sandbox.read_file(file).decode(errors="replace")
        if len(text.encode()) > SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE:
            limit = SandboxEnvironmentLimits
            raise OutputLimitExceededError(limit.MAX_EXEC_OUTPUT_SIZE_STR, text)
        return text

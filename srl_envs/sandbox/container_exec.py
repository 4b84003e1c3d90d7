"""One program in a container, apart from the kept shell: for the sandbox's own needs, out of reach of what commands did to their shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srl_envs.sandbox.engine import engine_call
from srl_envs.sandbox.protocol import SandboxError

_MAX_OUTPUT = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Executed:
    """What a program wrote (standard output, then what stands on standard error), and how it ended."""

    text: str
    exit_code: int


def execute(client: Any, container: str, program: Sequence[str]) -> Executed:
    """Run a program to its end, as the container's user, with a plain environment.

    Args:
        client: Of the engine.
        container: Its id.
        program: Name and arguments.

    Returns:
        Its output as UTF-8, where bytes that are none stand as surrogate escapes, so that ``encode("utf-8", "surrogateescape")`` gives them back.

    Raises:
        SandboxError: The engine failed, or the program wrote more than 256 MiB.
    """
    with engine_call(f"run {program[0]} in a container"):
        exec_id = client.api.exec_create(container, list(program))["Id"]
        out, err, size = [], [], 0
        for stdout, stderr in client.api.exec_start(exec_id, stream=True, demux=True):
            out.append(stdout or b"")
            err.append(stderr or b"")
            size += len(out[-1]) + len(err[-1])
            if size > _MAX_OUTPUT:
                raise SandboxError(f"{program[0]} in a container wrote more than {_MAX_OUTPUT} bytes.")
        exit_code = client.api.exec_inspect(exec_id)["ExitCode"]
    return Executed(b"".join((*out, *err)).decode("utf-8", "surrogateescape"), 137 if exit_code is None else int(exit_code))

"""What a sandbox may use, and how closed it is: hardened by default."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from srl_envs.errors import ConfigError

MIB = 1024 * 1024

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
"""What root in a sandbox may do beyond other users: use a repository whose owner it is not."""

_CAPABILITY = re.compile(r"(?!CAP_|ALL$)[A-Z_]{3,}")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Bounds of one sandbox. Each must be positive.

    Attributes:
        memory_mib: Memory, with no swap beyond it, in MiB.
        cpus: Processor cores; fractions are allowed.
        processes: Processes and threads at once.
        disk_mib: What commands may write in all, in MiB. Watched about once a second
            while one runs and before the next, so that a fast writer overshoots by a
            second's writing. Not counted: files that were deleted while they are open,
            empty files, Docker's own three mounts.
        file_mib: Size of a single file, in MiB.
        read_mib: Size of a file that file calls read or write, in MiB; it is held in
            this process's memory.
        open_files: Open files of one process.
        output_kib: Output kept of one command, in KiB: half of its head, half of its
            tail.
    """

    memory_mib: int = 2048
    cpus: float = 1.0
    processes: int = 256
    disk_mib: int = 2048
    file_mib: int = 512
    read_mib: int = 64
    open_files: int = 4096
    output_kib: int = 256

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"{name} of a sandbox is {value!r}: it must be positive.")


def checked_capabilities(capabilities: Sequence[str]) -> tuple[str, ...]:
    """Names of capabilities, each once.

    Raises:
        ConfigError: One cannot be such a name.
    """
    names = () if isinstance(capabilities, str) else tuple(capabilities)
    if isinstance(capabilities, str) or not all(map(_CAPABILITY.fullmatch, names)):
        raise ConfigError(
            f"capabilities of a sandbox are {capabilities!r}: give a sequence of names of "
            f"capabilities(7) without CAP_, such as {CAPABILITIES!r}."
        )
    return tuple(sorted(set(names)))

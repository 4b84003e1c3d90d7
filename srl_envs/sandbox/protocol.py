"""What a sandbox promises. ``tests/conformance`` puts any implementation through these promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from srl_envs.errors import InfrastructureError, SRLError


class SandboxError(InfrastructureError):
    """The machinery failed: daemon down, image missing, a call past its deadline.

    It is never the command's doing, and never a reward.
    """


class SandboxFileError(SRLError, OSError):
    """A file call that the sandbox's contents do not allow.

    There is no such file, a folder is in its place, it is larger than the limit, or the
    shell's user has no right to it.

    Args:
        message: What was wrong.
        number: Which of the kinds of :mod:`errno` (``EFBIG`` if the file is larger than
            the limit), as :attr:`errno`; None if it is none of them.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type[SandboxFileError], tuple[str, int | None]]:
        """From another process it comes with its number, which OSError would lose."""
        return type(self), (str(self), self.errno)


class DamagedRepositoryError(SRLError):
    """Commands destroyed the repository in the sandbox, so there is no diff.

    It is the commands' doing, not a failure of the machinery.
    """


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What one command did.

    Attributes:
        output: Standard output and error, in the order in which they were written, as
            UTF-8 with bytes that are none replaced. Longer output than the limit is cut
            in the middle while it streams.
        exit_code: Of the command, 0 to 255; 124 if it timed out, 137 if it was killed.
        seconds: How long it ran.
        timed_out: It ran past its time and was killed, with everything that it had
            started.
        truncated: The middle of the output is missing.
        restarted: The shell ended (``exit``, ``exec``, killed, timed out), and a new
            one starts in the same folder: variables and functions are gone, and so is
            every process.
        disk_full: It wrote more than the sandbox may hold and was killed.
    """

    output: str
    exit_code: int
    seconds: float
    timed_out: bool = False
    truncated: bool = False
    restarted: bool = False
    disk_full: bool = False


@runtime_checkable
class Sandbox(Protocol):
    """A place with files and one shell, closed off from the rest of the world.

    File calls have the rights of the shell's user. Text that comes out is valid Unicode.

    Folder, variables and functions of the shell last from one command to the next. No
    text of a command can break a promise: the next command works. Every method raises
    :class:`SandboxError` if the machinery fails, and only then.
    """

    workdir: str
    """Absolute path of the repository inside, where the shell starts."""

    def run(self, command: str, *, timeout: float = 60.0) -> ExecResult:
        """Run a command in the shell, at most ``timeout`` seconds, its standard input empty."""
        ...

    def read_file(self, path: str) -> bytes:
        """A file's contents; ``path`` is absolute or relative to :attr:`workdir`.

        Raises:
            SandboxFileError: No such file, a folder, or larger than the limit.
        """
        ...

    def write_file(self, path: str, content: str | bytes) -> None:
        """Create or replace a file, and the folders above it. A file keeps its mode and owner.

        Raises:
            SandboxFileError: There is a folder in its place, or the content, or what it
                would replace, is larger than the limit.
        """
        ...

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        """Absolute paths below a folder, down to ``depth`` levels, sorted.

        The folder itself comes first; folders end in ``/``. One below that the user may
        not read is listed without its content. A file's own path is a list of one.

        Raises:
            SandboxFileError: No such path, or a folder that the user may not read.
        """
        ...

    def diff(self) -> str:
        """All changes since the start as a patch that ``git apply`` takes; empty if there are none.

        New, deleted, renamed and binary files and changed modes are in it. Text that is
        not UTF-8 is in it as a binary file.

        Files that the repository ignores are left out. Nothing that commands can see is
        changed, the index neither.

        Raises:
            DamagedRepositoryError: The repository was destroyed, or the patch is larger
                than an implementation bears.
            SandboxError: There never was a repository, or git is missing.
        """
        ...

    def reset(self) -> None:
        """Back to the state of the start: files, processes, shell."""
        ...

    def close(self) -> None:
        """End everything and free what it held. A second call does nothing."""
        ...

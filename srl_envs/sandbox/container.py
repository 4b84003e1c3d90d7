"""One container of the engine: made, started, measured and ended, every call with a deadline."""

from __future__ import annotations

import contextlib
import os
import re
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import docker.errors

from srl_envs.errors import SRLError
from srl_envs.sandbox import accounts
from srl_envs.sandbox.engine import engine_call
from srl_envs.sandbox.exec_stream import Frames
from srl_envs.sandbox.ownership import (
    held_label,
    let_go,
    owner_labels,
    remove_container,
)
from srl_envs.sandbox.protocol import SandboxError

_MAX_OUTPUT = 96 * 1024 * 1024  # beyond the largest patch; held in memory twice
# What bash and git say when no process is left. Paths in their messages are absolute: a file of
# such a name is none of this.
_CANNOT_FORK = re.compile(
    r"^[^/\n]*(?:Cannot fork|fork: retry|fork: Resource temporarily unavailable"
    r"|unable to create threads)",
    re.MULTILINE | re.IGNORECASE,
)
_CANNOT_RUN = (
    "OCI runtime",
    "executable file not found",
    "no such file or directory",
    "is not running",
)


class BrokenContainerError(SRLError):
    """Commands left the container unable to run a program to its end.

    It is the commands' doing, not a failure of the machinery.
    """


@dataclass(frozen=True, slots=True)
class Executed:
    """What a program wrote, and how it ended.

    Attributes:
        output: Its standard output.
        error: Its standard error as text without white space around it; bytes that are
            not UTF-8 are replaced.
        exit_code: 0 to 255.
    """

    output: bytes
    error: str
    exit_code: int


class Container:
    """A container that was created for this process, and is removed with it.

    Args:
        client: Of the engine.
        image: Its image; a name, or an id.
        name: What messages call the image; None takes ``image``.
        settings: Further arguments of ``create_container``.

    Raises:
        SandboxError: The image is missing, or the engine failed.
    """

    def __init__(self, client: Any, image: str, name: str | None = None, **settings: Any) -> None:
        self.client, self.image = client, name or image
        held = held_label()
        try:
            with engine_call(f"create a container of the image {self.image}"):
                self.id: str = client.api.create_container(
                    image, labels=owner_labels() | held, **settings
                )["Id"]
        except BaseException:
            let_go(held)
            raise
        self._accounts_may_differ = False  # whether a shell ran since they were looked at
        # A child that is forked later inherits this object, and must not remove its parent's
        # container.
        self._finalizer = weakref.finalize(
            self, _remove_if_owner, client, self.id, os.getpid(), held
        )
        self._held = held

    def start(self) -> None:
        """Start it.

        Raises:
            SandboxError: It cannot be started.
        """
        with engine_call(f"start a container of the image {self.image}"):
            try:
                self.client.api.start(self.id)
            except docker.errors.APIError as error:
                if '"bash": executable file not found' not in str(error.explanation):
                    raise
                raise SandboxError(
                    f"The image {self.image} has no bash, which every sandbox needs: install it "
                    "there."
                ) from None

    def restart(self) -> None:
        """End every process in it, whatever they do, and start it again; files stay.

        Raises:
            BrokenContainerError: It was started before and cannot be any more: commands
                removed what it needs.
            SandboxError: The engine failed.
        """
        self.kill()
        with engine_call("restart a container"):
            self.client.api.wait(self.id)
            try:
                accounts.mend(self.client, self.id)
            except docker.errors.APIError as error:
                raise BrokenContainerError(
                    f"The accounts are in the way of a start: {error.explanation}"
                ) from None
            self._accounts_may_differ = False
            try:
                self.client.api.start(self.id)
            except docker.errors.APIError as error:
                raise _broken(error) or error from None

    def attach(
        self,
        program: Sequence[str],
        *,
        stdin: bool = False,
        environment: dict[str, str] | None = None,
    ) -> tuple[str, Any]:
        """Start a program; the id of the exec, and the socket of its input and output.

        Raises:
            BrokenContainerError: It cannot be started, because of what commands did.
            SandboxError: The engine failed.
        """
        if self._accounts_may_differ:
            with engine_call("look at the accounts of a container"):
                plain = accounts.are_plain(self.client, self.id)
            if not plain:
                self.restart()
        self._accounts_may_differ |= stdin
        with engine_call(f"run {program[0]} in a container"):
            try:
                exec_id = str(
                    self.client.api.exec_create(
                        self.id, list(program), stdin=stdin, environment=environment
                    )["Id"]
                )
                stream = self.client.api.exec_start(exec_id, socket=True)
            except docker.errors.APIError as error:
                raise _broken(error) or error from None
        return exec_id, getattr(stream, "_sock", stream)

    def exit_code(self, exec_id: str) -> int:
        """How a program ended; 137 while the engine does not know.

        Raises:
            SandboxError: The engine is gone, or forgot the program because it was
                restarted: no doing of the program.
        """
        with engine_call("learn how a program ended"):
            code = self.client.api.exec_inspect(exec_id)["ExitCode"]
        return 137 if code is None else int(code)

    def is_stopped(self, exec_id: str) -> bool:
        """Whether a program was stopped by a signal, and waits for another one to go on.

        False too where the engine cannot tell.

        Raises:
            SandboxError: The engine failed.
        """
        with engine_call("look at a program"):
            pid = str(self.client.api.exec_inspect(exec_id)["Pid"])
            try:
                listed = self.client.api.top(self.id, "-eo pid,stat")["Processes"]
            except docker.errors.APIError:  # it has ended, or the engine's machine has another ps
                return False
        return any(row[0] == pid and row[1].startswith("T") for row in listed)

    def kill(self) -> None:
        """End every process in it.

        Raises:
            SandboxError: The engine failed.
        """
        with engine_call("end what runs in a container"):
            try:
                self.client.api.kill(self.id)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # it is not running, for whatever reason
                    raise

    def execute(
        self,
        program: Sequence[str],
        timeout: float = 60.0,
        stdin: bytes = b"",
        max_output: int = _MAX_OUTPUT,
    ) -> Executed:
        """Run a program to its end, as the container's user.

        If none can be started, every process in the container is ended, and it is tried
        once more.

        Args:
            program: Its name and arguments.
            timeout: In seconds.
            stdin: Its standard input, which is not closed: the program must know how
                much to read.
            max_output: Bytes that it may write.

        Raises:
            BrokenContainerError: It cannot be started even then, or did not end in
                time, or wrote more than that.
            SandboxError: The engine failed.
        """
        try:
            return self._execute(program, timeout, stdin, max_output)
        except _CannotStartError:
            self.restart()
            return self._execute(program, timeout, stdin, max_output)

    def written_bytes(self) -> int:
        """Size of what was written to its file system, without deleted files that are open."""
        with engine_call("measure a container"):
            listed = self.client.api.containers(all=True, size=True, filters={"id": self.id})
        if not listed:
            raise SandboxError(f"The container {self.id[:12]} was removed from outside.")
        return int(listed[0].get("SizeRw", 0))

    def remove(self) -> None:
        """Remove it. A second call does nothing."""
        if self._finalizer.alive:
            let_go(self._held)
            remove_container(self.client, self.id)
            # Only now: if the engine is gone, the end of the process tries once more.
            self._finalizer.detach()

    def _execute(
        self, program: Sequence[str], timeout: float, stdin: bytes, max_output: int
    ) -> Executed:
        exec_id, connection = self.attach(program, stdin=bool(stdin))
        written: dict[bool, list[bytes]] = {False: [], True: []}  # by whether it is an error
        size = 0
        end = time.monotonic() + timeout
        problem = ""
        with (
            contextlib.closing(Frames(connection)) as frames,
            engine_call(f"run {program[0]} in a container"),
        ):
            if not frames.send(stdin, timeout):
                problem = f"did not read its input in {timeout:g} s"
            while not problem:
                piece = frames.read(max(0.001, end - time.monotonic()))
                if piece is None:
                    problem = f"did not end in {timeout:g} s"
                elif not piece.data:
                    break
                else:
                    written[piece.is_error].append(piece.data)
                    size += len(piece.data)
                    problem = "wrote too much" if size > max_output else ""
            exit_code = self.exit_code(exec_id)  # raises if the engine is what does not answer
            if problem:
                raise BrokenContainerError(f"{program[0]} {problem}")
        output = b"".join(written[False])
        error = b"".join(written[True]).decode("utf-8", "replace").strip()
        no_process_left = exit_code != 0 and _CANNOT_FORK.search(error[-4096:])
        # The engine says on standard output why it could not start a program.
        refused = exit_code in (126, 127) and b"OCI runtime exec failed" in output[:4096]
        if no_process_left or refused:
            reason = error or output.decode("utf-8", "replace").strip()
            raise _CannotStartError(f"no program can be started in the container: {reason[:200]}")
        return Executed(output, error, exit_code)


class _CannotStartError(BrokenContainerError):
    """A program cannot be started."""


def _broken(error: docker.errors.APIError) -> BrokenContainerError | None:
    """What an error of the engine says about the container, if anything."""
    reason = str(error.explanation or error)
    return (
        _CannotStartError(f"no program can be started in the container: {reason.strip()[:200]}")
        if any(sign in reason for sign in _CANNOT_RUN)
        else None
    )


def _remove_if_owner(client: Any, container: str, owner: int, held: dict[str, str]) -> None:
    if os.getpid() == owner:
        let_go(held)
        with contextlib.suppress(SandboxError):  # nobody is left to tell; the next start removes it
            remove_container(client, container)

"""One container of the engine: made, started, measured and ended, every call with a deadline."""

from __future__ import annotations

import contextlib
import os
import secrets
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import docker.errors

from srl_envs.sandbox import accounts
from srl_envs.sandbox.box import (
    MAX_OUTPUT,
    SWARM,
    BrokenBoxError,
    CannotStartError,
    Executed,
    read_to_end,
)
from srl_envs.sandbox.engine import engine_call
from srl_envs.sandbox.limits import MIB, SandboxLimits
from srl_envs.sandbox.ownership import (
    held_label,
    let_go,
    owner_labels,
    remove_container,
)
from srl_envs.sandbox.protocol import SandboxError
from srl_envs.sandbox.streams import Frames

# Engines lose the output of a program now and then, above all on a busy machine, and report a good
# end: an empty file, or an empty patch. So each begins and ends its output with a mark.
_TRIES = 3
_MARKED = 'mark=$1; shift; printf %s "$mark"; "$@"; code=$?; printf %s "$mark"; exit $code'
_CANNOT_RUN = (
    "OCI runtime",
    "executable file not found",
    "no such file or directory",
    "is not running",
)


class Container:
    """A container that was created for this process, and is removed with it.

    Args:
        client: Of the engine.
        image: Its image; a name, or an id.
        name: What messages call the image; None takes ``image``.
        limits: Those that are watched from here: processes, and written data.
        environment: Variables of what runs in it.
        settings: Further arguments of ``create_container``.

    Raises:
        SandboxError: The image is missing, or the engine failed.
    """

    def __init__(
        self,
        client: Any,
        image: str,
        name: str | None = None,
        *,
        limits: SandboxLimits = SandboxLimits(),
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.client, self.image = client, name or image
        self._limits, self._shell = limits, ""
        settings["environment"] = dict(environment or {})
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
            BrokenBoxError: It was started before and cannot be any more: commands
                removed what it needs.
            SandboxError: The engine failed.
        """
        self.kill()
        with engine_call("restart a container"):
            self.client.api.wait(self.id)
            try:
                accounts.mend(self.client, self.id)
            except docker.errors.APIError as error:
                raise BrokenBoxError(
                    f"The accounts are in the way of a start: {error.explanation}"
                ) from None
            self._accounts_may_differ = False
            try:
                self.client.api.start(self.id)
            except docker.errors.APIError as error:
                raise _broken(error) or error from None

    def open_shell(self) -> Frames:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        self._shell, stream = self._attach(["bash", "--noprofile", "--norc"], stdin=True)
        return stream

    def shell_exit_code(self) -> int:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        return self._exit_code(self._shell)

    def shell_is_stopped(self) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`; False too where the engine cannot tell.

        Raises:
            SandboxError: The engine failed.
        """
        with engine_call("look at a program"):
            pid = str(self.client.api.exec_inspect(self._shell)["Pid"])
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
        max_output: int = MAX_OUTPUT,
        repeatable: bool = True,
    ) -> Executed:
        """See :class:`~srl_envs.sandbox.box.Box`.

        A program whose output the engine loses runs again, if it is ``repeatable``.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._execute(program, timeout, stdin, max_output)
            except CannotStartError:
                self.restart()
                break
            except _LostOutputError:
                if not repeatable:
                    raise
        return self._execute(program, timeout, stdin, max_output)

    def is_crowded(self, counted: int) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        return counted > SWARM * self._limits.processes

    def is_full(self) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`; the engine itself bounds memory."""
        return self._written_bytes() > self._limits.disk_mib * MIB

    def remove(self) -> None:
        """Remove it. A second call does nothing."""
        if self._finalizer.alive:
            let_go(self._held)
            remove_container(self.client, self.id)
            # Only now: if the engine is gone, the end of the process tries once more.
            self._finalizer.detach()

    def _written_bytes(self) -> int:
        """Size of what was written to its file system, without deleted files that are open."""
        with engine_call("measure a container"):
            listed = self.client.api.containers(all=True, size=True, filters={"id": self.id})
        if not listed:
            raise SandboxError(f"The container {self.id[:12]} was removed from outside.")
        return int(listed[0].get("SizeRw", 0))

    def _attach(self, program: Sequence[str], *, stdin: bool = False) -> tuple[str, Frames]:
        """Start a program; the id of the exec, and its stream.

        Raises:
            BrokenBoxError: It cannot be started, because of what commands did.
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
                    self.client.api.exec_create(self.id, list(program), stdin=stdin)["Id"]
                )
                stream = self.client.api.exec_start(exec_id, socket=True)
            except docker.errors.APIError as error:
                raise _broken(error) or error from None
        return exec_id, Frames(getattr(stream, "_sock", stream))

    def _exit_code(self, exec_id: str) -> int:
        """How a program ended; 137 while the engine does not know.

        Raises:
            SandboxError: The engine is gone, or forgot the program because it was
                restarted: no doing of the program.
        """
        with engine_call("learn how a program ended"):
            code = self.client.api.exec_inspect(exec_id)["ExitCode"]
        return 137 if code is None else int(code)

    def _execute(
        self, program: Sequence[str], timeout: float, stdin: bytes, max_output: int
    ) -> Executed:
        mark = secrets.token_hex(8)
        marked = ["bash", "-p", "-c", _MARKED, "bash", mark, *program]
        exec_id, stream = self._attach(marked, stdin=bool(stdin))
        with engine_call(f"run {program[0]} in a container"):
            done = read_to_end(
                stream,
                program[0],
                timeout,
                stdin,
                max_output + 2 * len(mark),
                lambda: self._exit_code(exec_id),
            )
        _, began, rest = done.output.partition(mark.encode())
        whole = rest.removesuffix(mark.encode())
        # The engine says on standard output why it could not start a program.
        if done.exit_code in (126, 127) and b"OCI runtime exec failed" in done.output[:4096]:
            reason = done.error or done.output.decode("utf-8", "replace").strip()
            raise CannotStartError(f"no program can be started in the container: {reason[:200]}")
        is_whole = bool(began) and len(whole) < len(rest)
        if not is_whole and done.exit_code < 126:  # else a signal ended bash too
            raise _LostOutputError(f"The engine lost the output of {program[0]} in a container.")
        return replace(done, output=whole)


class _LostOutputError(SandboxError):
    """A program ended by itself, but what it wrote did not arrive whole."""


def _broken(error: docker.errors.APIError) -> BrokenBoxError | None:
    """What an error of the engine says about the container, if anything."""
    reason = str(error.explanation or error)
    return (
        CannotStartError(f"no program can be started in the container: {reason.strip()[:200]}")
        if any(sign in reason for sign in _CANNOT_RUN)
        else None
    )


def _remove_if_owner(client: Any, container: str, owner: int, held: dict[str, str]) -> None:
    if os.getpid() == owner:
        let_go(held)
        with contextlib.suppress(SandboxError):  # nobody is left to tell; the next start removes it
            remove_container(client, container)

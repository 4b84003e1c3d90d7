"""A sandbox in a Docker container: hardened, with one shell kept open."""

from __future__ import annotations

import os
import posixpath
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import docker
import docker.errors
from docker.types import Ulimit

from srl_envs.sandbox import container_files, container_git
from srl_envs.sandbox.engine import connect, engine_call
from srl_envs.sandbox.limits import MIB, SandboxLimits
from srl_envs.sandbox.owner import owner_labels, remove_container
from srl_envs.sandbox.protocol import ExecResult, SandboxError
from srl_envs.sandbox.shell import Shell, ShellResult

BASE_IMAGE = "srl-base:bookworm"
"""What ``python -m srl_envs.sandbox build-base`` makes: Debian with bash, git, Python and pytest."""

# Process 1 of a container, which reaps orphans as Docker's own --init does. That one would end, and the container with it, as soon as its child is
# killed; process 1 itself is out of reach of every kill inside, also of kill -9 -1. It waits on a pipe whose both ends it holds.
_INIT = "trap 'exit 0' TERM; exec 3<> <(:); while :; do read -r -u 3; done"

_ENVIRONMENT = {"TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "MANPAGER": "cat"}


class DockerSandbox:
    """A :class:`~srl_envs.sandbox.Sandbox` in a Docker container.

    Hardened by default: no network, no capabilities, no new privileges, no swap, no mounts of the host, bounds on memory, processors, processes, open
    files, file sizes and written data. What ends the shell ends every process in the container; files stay. With runc, containers share the host's
    kernel: against code that attacks the kernel give a ``runtime`` that does not (gVisor's ``runsc``, Kata).

    Use it in one thread at a time, as a context manager or with :meth:`close`; it is also removed when it is garbage collected and when the process
    ends, however it ends.

    Args:
        image: Any local image with bash; with git, if diffs are wanted.
        workdir: Absolute path of the repository in the image; where shells start.
        limits: What commands may use.
        startup: A command that every new shell runs first (``"source /opt/miniconda3/bin/activate testbed"``); empty runs none.
        environment: Further variables of the shell.
        user: Who runs the commands; None takes the image's user, often root without capabilities.
        runtime: An OCI runtime that the engine knows; None takes its default.
        network: ``"none"``, or a network of the engine.
        deadline: Seconds that the engine may be silent in one call.

    Raises:
        SandboxError: The engine or the image is missing, or the container does not start.
    """

    def __init__(
        self,
        image: str = BASE_IMAGE,
        *,
        workdir: str = "/testbed",
        limits: SandboxLimits = SandboxLimits(),
        startup: str = "",
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        runtime: str | None = None,
        network: str = "none",
        deadline: float = 60.0,
    ) -> None:
        self.image, self.workdir, self.limits = image, workdir, limits
        self._startup, self._user, self._runtime, self._network = startup, user, runtime, network
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._client = connect(deadline)
        self._owner = os.getpid()
        self._closed = False
        self._folder = workdir
        self._shell: Shell | None = None
        self._unwatched_seconds = 0.0
        self._open()

    @property
    def container_id(self) -> str:
        """The engine's id of the container that stands now; :meth:`reset` changes it."""
        return self._container

    # -- Sandbox ---------------------------------------------------------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 60.0) -> ExecResult:
        """Run a command in the shell; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        start = time.monotonic()
        shell, self._shell = self._shell or self._new_shell(), None  # an exception half-way (Ctrl-C) leaves no shell with a command still in it
        result = self._run_in(shell, command, timeout)
        lost_before = result.end == "shell_ended" and not result.started
        if lost_before:  # what an earlier command left behind ended the shell; this command has not run yet
            self._restart(shell)
            shell = self._new_shell()
            result = self._run_in(shell, command, timeout)
            if not result.started:
                raise SandboxError(f"The shell of a container of the image {self.image} ends by itself: {result.output.strip()[-300:]!r}.")
        full = result.end == "stopped" or self._disk_is_full_after(time.monotonic() - start)
        exit_code = 137 if full else self._exit_code(result)
        # A fork bomb ends at once and stays behind: it is ended here, or the next command could start no process until its time is out.
        swarm = result.processes > 0.9 * self.limits.processes
        if result.end == "done" and not full and not swarm:
            self._shell, self._folder = shell, result.folder or self._folder
        else:
            self._restart(shell)
        return ExecResult(
            output=result.output,
            exit_code=exit_code,
            seconds=time.monotonic() - start,
            timed_out=result.end == "timed_out",
            truncated=result.truncated,
            restarted=lost_before or self._shell is None,
            disk_full=full,
        )

    def read_file(self, path: str) -> bytes:
        """A file's contents; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return container_files.read(self._client, self._container, self._absolute(path), self.limits.file_mib * MIB)

    def write_file(self, path: str, content: str | bytes) -> None:
        """Create or replace a file; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        container_files.write(self._client, self._container, self._absolute(path), data, self.limits.file_mib * MIB)

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        """Files and folders below a folder; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return container_files.listing(self._client, self._container, self._absolute(path), depth)

    def diff(self) -> str:
        """All changes since the start as a patch; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return container_git.diff(self._client, self._container, self.workdir)

    def reset(self) -> None:
        """A fresh container in place of this one."""
        self._require_open()
        self._release()
        self._open()

    def close(self) -> None:
        """Remove the container. A second call does nothing, and so does a call in a forked child: the container is its parent's."""
        if not self._closed and os.getpid() == self._owner:
            self._closed = True
            self._release()
            self._client.close()

    def __enter__(self) -> DockerSandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- container and shell -----------------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = self.workdir
        self._unwatched_seconds = 0.0
        with engine_call(f"create a container of the image {self.image}"):
            self._container: str = self._client.api.create_container(
                self.image,
                entrypoint=["bash", "-c", _INIT],
                command=[],
                environment=self._environment,
                labels=owner_labels(),
                user=self._user,
                network_disabled=self._network == "none",
                host_config=self._host_config(),
            )["Id"]
        # A child that is forked later inherits this object, and must not remove its parent's container.
        self._finalizer = weakref.finalize(self, _remove_if_owner, self._client, self._container, self._owner)
        try:
            with engine_call(f"start a container of the image {self.image}"):
                self._client.api.start(self._container)
            container_git.record_start(self._client, self._container, self.workdir)
            self._shell = self._new_shell()
        except BaseException:
            self._release()
            raise

    def _host_config(self) -> Any:
        limits = self.limits
        memory, file_size = limits.memory_mib * MIB, limits.file_mib * MIB
        return self._client.api.create_host_config(
            network_mode=self._network,
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(limits.cpus * 1e9),
            pids_limit=limits.processes,
            ulimits=[
                Ulimit(name="nofile", soft=limits.open_files, hard=limits.open_files),
                Ulimit(name="fsize", soft=file_size, hard=file_size),
                Ulimit(name="core", soft=0, hard=0),
            ],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=False,  # see _INIT; some engines are told to give every container theirs
            runtime=self._runtime,
        )

    def _new_shell(self) -> Shell:
        with engine_call("open a shell in a container"):
            api = self._client.api
            self._exec: str = api.exec_create(self._container, ["bash", "--noprofile", "--norc"], stdin=True, environment=self._environment)["Id"]
            stream = api.exec_start(self._exec, socket=True)
            return Shell(getattr(stream, "_sock", stream), self._folder, self.workdir, self._startup)

    def _run_in(self, shell: Shell, command: str, timeout: float) -> ShellResult:
        with engine_call("talk to the shell in a container"):
            return shell.run(command, timeout, self.limits.output_kib * 1024, self._disk_is_full)

    def _restart(self, shell: Shell) -> None:
        """End the shell and every process in the container, however many there are and whatever they do; files stay. Then start it again."""
        shell.close()
        with engine_call("restart a container"):
            try:
                self._client.api.kill(self._container)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # it is not running, for whatever reason
                    raise
            self._client.api.wait(self._container)
            self._client.api.start(self._container)
        self._unwatched_seconds = 0.0

    def _exit_code(self, result: ShellResult) -> int:
        if result.exit_code is not None:
            return result.exit_code
        if result.end == "timed_out":
            return 124
        # The engine is asked: it fails if it is gone, or was restarted and forgot the exec; that is no doing of the command.
        with engine_call("learn how a shell ended"):
            code = self._client.api.exec_inspect(self._exec)["ExitCode"]
        return 137 if code is None else int(code)

    def _disk_is_full(self) -> bool:
        self._unwatched_seconds = 0.0
        with engine_call("measure a container"):
            listed = self._client.api.containers(all=True, size=True, filters={"id": self._container})
        if not listed:
            raise SandboxError(f"The container {self._container[:12]} was removed from outside.")
        return bool(listed[0].get("SizeRw", 0) > self.limits.disk_mib * MIB)

    def _disk_is_full_after(self, seconds: float) -> bool:
        """Short commands are measured together, about once a second of running, because measuring takes longer than most of them."""
        self._unwatched_seconds += seconds
        return self._unwatched_seconds >= 1.0 and self._disk_is_full()

    def _release(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        if self._finalizer.alive:
            remove_container(self._client, self._container)
            self._finalizer.detach()  # only now: if the engine is gone, the end of the process tries once more

    def _absolute(self, path: str) -> str:
        return posixpath.join(self.workdir, path)

    def _require_open(self) -> None:
        if self._closed:
            raise SandboxError("This sandbox is closed.")


def _remove_if_owner(client: Any, container: str, owner: int) -> None:
    if os.getpid() == owner:
        remove_container(client, container)

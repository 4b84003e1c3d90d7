"""A sandbox in a Docker container: hardened, with one shell kept open."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import posixpath
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from docker.types import Ulimit

from srl_envs.errors import ConfigError
from srl_envs.sandbox import container_files, container_git
from srl_envs.sandbox.container import BrokenContainerError, Container
from srl_envs.sandbox.engine import connect, engine_call, usable_image
from srl_envs.sandbox.limits import CAPABILITIES, MIB, SandboxLimits, checked_capabilities
from srl_envs.sandbox.protocol import ExecResult, SandboxError, SandboxFileError
from srl_envs.sandbox.shell import Shell, ShellResult

BASE_IMAGE = "srl-base:bookworm"
"""Made by ``python -m srl_envs.sandbox build-base``: Debian with bash, git, Python and pytest."""

# Process 1 of a container, which reaps orphans as Docker's own --init does. That one would end, and
# the container with it, as soon as its child is killed; process 1 itself is out of reach of every
# signal from inside. It waits on a pipe whose both ends it holds.
_INIT = "exec 3<> <(:); while :; do read -r -u 3; done"

_TOOLS = ("find", "grep", "head", "mkdir", "mktemp", "stat", "tar")
_LACKS = "srl-envs:"  # before a name: a DEBUG trap of the startup may write too
_ENVIRONMENT = {"TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "MANPAGER": "cat"}
_MAX_TIMEOUT_S = 7 * 86_400.0
_WATCH_PERIOD_S = 1.0
_SWARM = 0.9  # of the processes that are allowed: then a fork bomb is at work, and is ended
_DESTROYED = "[A command destroyed what a shell needs: none can be started here any more.]"


class DockerSandbox:
    """A :class:`~srl_envs.sandbox.Sandbox` in a Docker container.

    Hardened by default: no network, three capabilities, no new privileges, no swap, no
    mounts of the host but Docker's own three (``/etc/hostname``, ``/etc/hosts``,
    ``/etc/resolv.conf``), bounds on memory, processors, processes, open files, file
    sizes and written data. What ends the shell ends every process in the container;
    files stay. With runc, containers share the host's kernel: against code that attacks
    the kernel give a ``runtime`` that does not (gVisor's ``runsc``, Kata).

    Use it in one thread at a time, as a context manager or with :meth:`close`; it is
    also removed when it is garbage collected and when the process ends, however it
    ends.

    Args:
        image: Any local image with bash and the usual tools, busybox's or GNU's; with
            git, if diffs are wanted. One with a ``VOLUME`` is refused: what is written
            there escapes limits.
        workdir: Absolute path of the repository in the image; where shells start.
        limits: What commands may use.
        startup: A command that every new shell runs first (``"source
            /opt/miniconda3/bin/activate testbed"``); empty runs none.
        environment: Further variables of the shell.
        user: Who runs commands and file calls; None takes the image's user, often root.
        capabilities: What root may do beyond other users, by the names of
            capabilities(7) without ``CAP_``. The default lets it write files of any
            owner and change owners and modes, as ``tar xf`` and ``pip install -e .`` do
            in a repository of another user; an empty one gives nothing. Other users
            never have any.
        runtime: An OCI runtime that the engine knows; None takes its default.
        network: ``"none"``, or a network of the engine.
        deadline: Seconds that the engine may be silent in one call.

    Raises:
        ConfigError: There is no such capability.
        SandboxError: The engine or the image is missing, the image lacks what a sandbox
            needs, or the container does not start.
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
        capabilities: Sequence[str] = CAPABILITIES,
        runtime: str | None = None,
        network: str = "none",
        deadline: float = 60.0,
    ) -> None:
        self.image, self.workdir, self.limits = image, workdir, limits
        self._startup, self._user, self._runtime, self._network = startup, user, runtime, network
        self._capabilities = checked_capabilities(capabilities)
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._client = connect(deadline)
        self._owner = os.getpid()
        self._closed = False
        self._folder = workdir
        self._shell: Shell | None = None
        # Every container is of the same image, whatever its name becomes.
        self._image_id = usable_image(self._client, image)
        self._open()

    @property
    def container_id(self) -> str:
        """The engine's id of the present container; :meth:`reset` changes it."""
        return self._container.id

    # -- Sandbox
    # ------------------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 60.0) -> ExecResult:
        """Run a command in the shell; see :class:`~srl_envs.sandbox.Sandbox`.

        In a container in which no shell can be started any more (``rm -rf /``) every
        command has exit code 127 and says so.

        Raises:
            ConfigError: ``timeout`` is not above 0.
        """
        self._require_open()
        if not timeout > 0:
            raise ConfigError(f"timeout of a command is {timeout}: give seconds above 0.")
        start = time.monotonic()
        if self._disk_is_full_by_now():
            # Earlier commands' background processes write on; the command itself may make room.
            self._end_processes()
        try:
            result, is_new = self._run_in_a_shell(command, min(timeout, _MAX_TIMEOUT_S))
        except BrokenContainerError:
            return ExecResult(_DESTROYED, 127, time.monotonic() - start, restarted=True)
        full = result.end == "stopped" or self._disk_is_full_by_now()
        exit_code = 137 if full else self._exit_code(result)
        if full or result.end != "done" or result.processes > _SWARM * self.limits.processes:
            self._end_processes()
        else:
            self._folder = result.folder or self._folder
        return ExecResult(
            output=result.output,
            exit_code=exit_code,
            seconds=time.monotonic() - start,
            timed_out=result.end == "timed_out",
            truncated=result.truncated,
            restarted=is_new or self._shell is None,
            disk_full=full,
        )

    def read_file(self, path: str) -> bytes:
        """A file's contents; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return container_files.read(
            self._container, self._absolute(path), self.limits.read_mib * MIB
        )

    def write_file(self, path: str, content: str | bytes) -> None:
        """Create or replace a file; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        try:
            data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        except UnicodeEncodeError as error:
            raise SandboxFileError(f"{path!r} cannot be written: {error}.", errno.EINVAL) from None
        container_files.write(
            self._container,
            self._absolute(path),
            data,
            min(self.limits.read_mib, self.limits.file_mib) * MIB,
        )

    def list_files(self, path: str, depth: int = 1) -> list[str]:
        """Files and folders below a folder; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        return container_files.listing(self._container, self._absolute(path), depth)

    def diff(self) -> str:
        """All changes since the start as a patch; see :class:`~srl_envs.sandbox.Sandbox`."""
        self._require_open()
        start = (self._client.api.base_url, self._image_id, self._user, self._capabilities)
        return container_git.diff(self._container, self.workdir, start, self._fresh_container)

    def reset(self) -> None:
        """A fresh container in place of this one."""
        self._require_open()
        self._release()
        self._open()

    def close(self) -> None:
        """Remove the container.

        A second call does nothing, and neither does one in a forked child: the container
        is its parent's.
        """
        if not self._closed and os.getpid() == self._owner:
            self._closed = True
            self._release()
            self._client.close()

    def __enter__(self) -> DockerSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- container and shell
    # ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = self.workdir
        self._measured_at = time.monotonic()
        self._container = self._new_container()
        try:
            self._container.start()
            self._shell = self._new_shell()
            self._require_tools(self._shell)
        except BrokenContainerError as error:
            self._release()
            raise SandboxError(
                f"No shell starts in a container of the image {self.image}: {error}"
            ) from None
        except BaseException:
            self._release()
            raise

    def _require_tools(self, shell: Shell) -> None:
        """Run a first command, which says what the image lacks."""
        folder = shlex.quote(self.workdir)
        check = (
            f'for tool in {" ".join(_TOOLS)}; do type -P "$tool" >/dev/null || '
            f'echo "{_LACKS}$tool"; done; [ -d {folder} ] || echo {_LACKS}folder {folder}'
        )
        first = shell.run(f"{{ {check}; }} 2>/dev/null", 600.0, 4096, lambda: False)
        if first.end != "done":
            raise SandboxError(
                f"The shell of a container of the image {self.image} ends by itself: "
                f"{first.output.strip()[-300:]!r}."
            )
        lines = first.output.splitlines()
        if missing := [line.removeprefix(_LACKS) for line in lines if line.startswith(_LACKS)]:
            raise SandboxError(
                f"The image {self.image} has no {', '.join(missing)}, which this sandbox needs: "
                "install it there, or give the workdir of its repository."
            )

    def _new_container(self) -> Container:
        return Container(
            self._client,
            self._image_id,
            self.image,
            entrypoint=["bash", "-p", "-c", _INIT],
            command=[],
            environment=self._environment,
            user=self._user,
            # The image's is often the repository: if that became a file, nothing would start.
            working_dir="/",
            healthcheck={"test": ["NONE"]},
            network_disabled=self._network == "none",
            host_config=self._host_config(),
        )

    @contextmanager
    def _fresh_container(self) -> Iterator[Container]:
        """Another container in the state of the start, for a moment."""
        container = self._new_container()
        try:
            container.start()
            yield container
        finally:
            container.remove()

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
            cap_add=list(self._capabilities),
            security_opt=["no-new-privileges"],
            init=False,  # see _INIT; some engines give every container theirs
            runtime=self._runtime,
        )

    def _new_shell(self) -> Shell:
        self._exec, connection = self._container.attach(
            ["bash", "--noprofile", "--norc"], stdin=True, environment=self._environment
        )
        with engine_call("talk to the shell in a container"):
            return Shell(
                connection,
                self._folder,
                self.workdir,
                self._startup,
                int(_SWARM * self.limits.processes),
            )

    def _run_in_a_shell(self, command: str, timeout: float) -> tuple[ShellResult, bool]:
        """Run a command in the shell, or in a new one if that is gone; whether it is a new one."""
        for attempt in range(2):
            shell, self._shell = (
                self._shell or self._new_shell(),
                None,
            )  # an exception half-way (Ctrl-C) leaves no shell with a command still in it
            with engine_call("talk to the shell in a container"):
                result = shell.run(
                    command,
                    timeout,
                    self.limits.output_kib * 1024,
                    self._watch(),
                    _WATCH_PERIOD_S,
                )
            if result.started or result.end != "shell_ended":
                self._shell = shell
                return result, attempt > 0
            shell.close()
            self._container.restart()
        raise BrokenContainerError("no shell lasts until it comes to a command")

    def _watch(self) -> Callable[[], bool]:
        """Whether a command must be ended, asked again and again while it runs.

        A shell that was stopped by a signal would wait for its time-out: it is killed.
        The engine is asked for that at the 1st, 2nd, 4th, 8th ... time only.
        """
        looks = itertools.count(1)

        def must_end() -> bool:
            if next(looks).bit_count() == 1 and self._container.is_stopped(self._exec):
                self._container.kill()
            return self._disk_is_full()

        return must_end

    def _end_processes(self) -> None:
        """End the shell and everything else; files stay."""
        self._close_shell()
        with contextlib.suppress(BrokenContainerError):  # the next command tells
            self._container.restart()

    def _exit_code(self, result: ShellResult) -> int:
        if result.exit_code is not None:
            return result.exit_code
        return 124 if result.end == "timed_out" else self._container.exit_code(self._exec)

    def _disk_is_full(self) -> bool:
        self._measured_at = time.monotonic()
        return self._container.written_bytes() > self.limits.disk_mib * MIB

    def _disk_is_full_by_now(self) -> bool:
        """Measured at most once a second, because measuring takes longer than most commands."""
        return time.monotonic() - self._measured_at >= _WATCH_PERIOD_S and self._disk_is_full()

    def _release(self) -> None:
        self._close_shell()
        self._container.remove()

    def _close_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _absolute(self, path: str) -> str:
        return posixpath.join(self.workdir, path)

    def _require_open(self) -> None:
        if self._closed:
            raise SandboxError("This sandbox is closed.")

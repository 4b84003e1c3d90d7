"""Namespaces of this machine as the box of a sandbox: made by bubblewrap, without a daemon.

A *keeper* process holds a user namespace and in it all other namespaces but that of
process ids, with a private file system in memory: an overlay over an image's folder, or a
root of its own below which the folders of the host's system are bound read-only. Each
shell, and each program of a file call, is a further ``bwrap`` in these, with a namespace
of process ids of its own: what ends it ends everything that it started, files stay.

Keeper and programs die with the process that owns them (``--die-with-parent``), and the
private files with the last of them, so nothing can be left behind.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Mapping, Sequence

from srl_envs.sandbox.box import (
    MAX_OUTPUT,
    SWARM,
    BrokenBoxError,
    CannotStartError,
    Executed,
    read_to_end,
)
from srl_envs.sandbox.bwrap_program import PATH, Program, tools, user
from srl_envs.sandbox.limits import MIB, SandboxLimits
from srl_envs.sandbox.protocol import SandboxError
from srl_envs.sandbox.streams import Pipes

HOST = "/"
"""The image that is the host's own tree."""

_HOST_FOLDERS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt")
_OWN_PROCESSES = 4  # the keeper's, and those between it and a shell
_SPARE_PROCESSES = 64  # for file calls, while commands use up theirs
_START_S, _END_S = 60.0, 10.0
_ENTERED = ("--user", "--mount", "--net", "--ipc", "--uts", "--cgroup")
_PREFIXES = ("bwrap: ", "nsenter: ", "prlimit: ")

# $1 and $2: bytes and files of the private layer; $3: the work folder if the root is an empty one,
# else ""; then links of the root, name and target in turn.
_KEEPER = """
set -e
size=$1 files=$2 workdir=$3
shift 3
cd /tmp
mount -t tmpfs -o "size=$size,nr_inodes=$files,mode=755" tmpfs private
mkdir private/upper private/work private/shm
chmod 1777 private/shm
if [ -z "$workdir" ]; then
    layers=lowerdir=/tmp/image,upperdir=/tmp/private/upper,workdir=/tmp/private/work
    mount -t overlay overlay -o "$layers,userxattr" root
    for folder in dev proc; do [ -e root/$folder ] || mkdir root/$folder; done
else
    mount --bind private/upper root
    mkdir -p root/dev root/proc root/root root/home root/tmp root/var/tmp root/run "root/$workdir"
    chmod 1777 root/tmp root/var/tmp
    while [ $# -gt 0 ]; do ln -s "$2" "root/$1"; shift 2; done
fi
echo 0 > /proc/sys/user/max_user_namespaces
echo ready
exec cat
"""


class Namespaces:
    """A :class:`~srl_envs.sandbox.box.Box`.

    Args:
        image: A folder with the files of an image, or :data:`HOST`.
        workdir: Where the repository is; made if the image is :data:`HOST`.
        limits: What commands may use.
        capabilities: What root inside may do beyond other users, without ``CAP_``.
        environment: Variables of what runs in it.
        archive: A tar archive, unpacked in ``workdir`` at the start; None for none.
    """

    def __init__(
        self,
        image: str,
        workdir: str,
        limits: SandboxLimits,
        capabilities: Sequence[str],
        environment: Mapping[str, str],
        archive: bytes | None = None,
    ) -> None:
        self.image = image
        self._workdir, self._limits, self._archive = workdir, limits, archive
        self._environment = {"PATH": PATH, "HOME": "/root", **environment}
        self._capabilities = [f"CAP_{name}" for name in capabilities]
        self._keeper: Program | None = None
        self._shell: Program | None = None

    def start(self) -> None:
        """See :class:`~srl_envs.sandbox.box.Box`.

        Raises:
            SandboxError: bubblewrap is missing, this machine does not let it make
                namespaces, or the image cannot be used.
        """
        tools()
        self._keeper = Program(self._keeper_command(), self._environment)
        # A child that is forked later inherits this object, and must not end its parent's.
        self._running = [self._keeper]
        self._finalizer = weakref.finalize(self, _end_if_owner, self._running, os.getpid())
        _require_ready(self._keeper, self.image)
        if self._archive is not None:
            program = ["tar", "--no-same-owner", "-C", self._workdir, "-xf", "-"]
            try:
                done = self.execute(program, timeout=600.0, stdin=self._archive)
            except BrokenBoxError as error:
                raise SandboxError(f"The repository cannot be copied: {error}.") from None
            if done.exit_code:
                raise SandboxError(f"The repository cannot be copied: {done.error[-300:]}")

    def restart(self) -> None:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        if self._shell is not None:
            self._shell.end()

    def kill(self) -> None:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        if self._shell is not None:
            self._shell.kill()

    def open_shell(self) -> Pipes:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        self.restart()
        command = self._command(["bash", "--noprofile", "--norc"], self._limits.processes)
        self._shell = Program(command, self._environment, one_stream=True)
        self._running[1:] = [self._shell]
        return self._shell.stream

    def shell_exit_code(self) -> int:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        return 137 if self._shell is None else self._shell.exit_code(_END_S)

    def shell_is_stopped(self) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        first = self._shell.inner if self._shell is not None else 0
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{first}/task/{first}/children") as children:
                shell = children.read().split()[0]
            with open(f"/proc/{shell}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] in "Tt"
        return False

    def execute(
        self,
        program: Sequence[str],
        timeout: float = 60.0,
        stdin: bytes = b"",
        max_output: int = MAX_OUTPUT,
    ) -> Executed:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        try:
            return self._execute(program, timeout, stdin, max_output)
        except CannotStartError:
            self.restart()
            return self._execute(program, timeout, stdin, max_output)

    def is_crowded(self, counted: int) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`: processes and threads are counted from here."""
        threads = 0
        for process in self._processes():
            with contextlib.suppress(OSError):
                threads += os.stat(f"{process}/task").st_nlink - 2
        return threads > SWARM * self._limits.processes

    def is_full(self) -> bool:
        """See :class:`~srl_envs.sandbox.box.Box`.

        The file system bounds what is written, so that is never more. If all processes
        together use more memory than they may, they are ended.
        """
        pages = 0
        for process in self._processes():
            with contextlib.suppress(OSError), open(f"{process}/statm") as statm:
                _, resident, shared, *_ = map(int, statm.read().split())
                pages += resident - shared
        if pages * os.sysconf("SC_PAGE_SIZE") > self._limits.memory_mib * MIB:
            self.kill()
        return False

    def remove(self) -> None:
        """See :class:`~srl_envs.sandbox.box.Box`."""
        if self._shell is not None:
            self._shell.end()
        if self._keeper is not None and self._finalizer.alive:
            self._finalizer.detach()
            self._keeper.end()

    def _processes(self) -> list[str]:
        """Folders in ``/proc`` of what runs beside the shell, it included."""
        if self._shell is None:
            return []
        inside = f"/proc/{self._shell.inner}/root/proc"
        with contextlib.suppress(OSError):
            return [f"{inside}/{name}" for name in os.listdir(inside) if name.isdecimal()]
        return []

    def _keeper_command(self) -> list[str]:
        bwrap = tools()["bwrap"]
        is_host = self.image == HOST
        links: list[str] = []
        for name in _HOST_FOLDERS if is_host else ():
            if os.path.islink(f"/{name}"):
                links += [name, os.readlink(f"/{name}")]
        limits = self._limits
        files = max(10_000, limits.disk_mib * 256)
        return [
            *(bwrap, "--unshare-user", "--uid", "0", "--gid", "0", "--cap-add", "ALL"),
            *("--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", "sandbox", "--die-with-parent", "--dev-bind", "/", "/"),
            *("--tmpfs", "/tmp", "--dir", "/tmp/private", "--dir", "/tmp/root"),
            *(() if is_host else ("--ro-bind", self.image, "/tmp/image")),
            *(tools()["sh"], "-c", _KEEPER, "sh", str(limits.disk_mib * MIB), str(files)),
            *(self._workdir if is_host else "", *links),
        ]

    def _command(self, program: Sequence[str], processes: int) -> list[str]:
        """A program in these namespaces, with limits of its own."""
        assert self._keeper is not None
        found, limits = tools(), self._limits
        enter = ("-t", str(self._keeper.inner), "--preserve-credentials", *_ENTERED)
        bounds = {
            "nproc": processes + _OWN_PROCESSES,
            "nofile": limits.open_files,
            "fsize": limits.file_mib * MIB,
            "data": limits.memory_mib * MIB,
            "core": 0,
        }
        system = [
            part
            for name in (_HOST_FOLDERS if self.image == HOST else ())
            if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
            for part in ("--ro-bind", f"/{name}", f"/{name}")
        ]
        capabilities = [part for name in self._capabilities for part in ("--cap-add", name)]
        return [
            *(found["nsenter"], *enter),
            *(found["prlimit"], *(f"--{name}={most}:{most}" for name, most in bounds.items())),
            *(found["bwrap"], "--bind", "/tmp/root", "/", *system, "--dev", "/dev"),
            *("--bind", "/tmp/private/shm", "/dev/shm", "--remount-ro", "/dev"),
            *("--proc", "/proc", "--unshare-pid", "--die-with-parent", "--chdir", "/"),
            *("--cap-drop", "ALL", *capabilities, "--", *program),
        ]

    def _execute(
        self, program: Sequence[str], timeout: float, stdin: bytes, max_output: int
    ) -> Executed:
        command = self._command(program, self._limits.processes + _SPARE_PROCESSES)
        running = Program(command, self._environment)
        try:
            done = read_to_end(
                running.stream, program[0], timeout, stdin, max_output, lambda: running.exit_code(1)
            )
        finally:
            running.end()
        if done.exit_code and done.error.startswith(_PREFIXES):
            raise CannotStartError(f"no program can be started: {done.error[:200]}")
        return done


def _require_ready(keeper: Program, image: str) -> None:
    """Wait until the keeper has made its file system.

    Raises:
        SandboxError: It could not; or it took too long.
    """
    end = time.monotonic() + _START_S
    error = b""
    while piece := keeper.stream.read(max(0.001, end - time.monotonic())):
        if not piece.data:
            break
        if not piece.is_error:
            return
        error += piece.data
    keeper.end()
    said = error.decode("utf-8", "replace").strip() or f"nothing happened in {_START_S:g} s"
    who = f", as the user {user().pw_name}," if os.getuid() == 0 else ""
    raise SandboxError(
        f"bubblewrap cannot make a sandbox of {image}: {said}. It needs an image that can be "
        f"read{who} and Linux 5.11 or newer with user namespaces "
        "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)."
    )


def _end_if_owner(running: list[Program], owner: int) -> None:
    if os.getpid() == owner:
        for program in reversed(running):
            with contextlib.suppress(SandboxError):  # nobody is left to tell
                program.end()

"""A sandbox that needs no daemon and no root: bubblewrap's namespaces."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Hashable, Mapping
from pathlib import Path

from srl_envs.errors import ConfigError
from srl_envs.sandbox.archives import owned_by_root
from srl_envs.sandbox.docker_sandbox import BASE_IMAGE
from srl_envs.sandbox.limits import CAPABILITIES, SandboxLimits
from srl_envs.sandbox.namespaces import HOST, Namespaces
from srl_envs.sandbox.protocol import SandboxError
from srl_envs.sandbox.shell_sandbox import ENVIRONMENT, ShellSandbox


class BubblewrapSandbox(ShellSandbox):
    """A :class:`~srl_envs.sandbox.Sandbox` made by ``bwrap``, for machines without Docker.

    Its root is an unpacked image, or the host's own system. Neither is changed: what
    commands write goes to a private layer in memory, which ends with the sandbox. There
    is no network, there are no new privileges and no further user namespaces, and the
    host's home folders, ``/tmp``, ``/var``, ``/run`` and ``/srv`` are not there. Like
    containers, it shares the host's kernel; unlike Docker's, it has no filter of system
    calls.

    Bounds, by what the kernel has without cgroups:

    * ``disk_mib``: the size of the private layer, in memory; a full one refuses writes.
    * ``processes``: ``RLIMIT_NPROC`` in the sandbox's own user namespace.
    * ``memory_mib``: ``RLIMIT_DATA`` of each process; that of all together is looked at
      about once a second while a command runs, and all are ended above it. Memory of
      ``memfd_create`` and System V is in neither.
    * ``file_mib`` (``RLIMIT_FSIZE``), ``open_files`` (``RLIMIT_NOFILE``),
      ``output_kib`` and ``read_mib``: as in Docker.
    * ``cpus`` is not bounded.

    Commands are root inside and whoever started this process outside; root itself
    becomes ``nobody``. They can change what that user owns in the image, and what they
    made; the host's system they can only read. Use it in one thread at a time, as a
    context manager or with :meth:`close`.

    Args:
        image: A folder with the files of an image, or ``"/"`` for the host's own system
            (``/usr``, ``/etc``, ``/opt`` and what belongs to them).
        workdir: Absolute path of the repository inside; where shells start. With the
            host's system, a new folder.
        repository: A folder of this machine that is copied to ``workdir``; None copies
            nothing. It must not change while it is in use.
        limits: What commands may use.
        startup: A command that every new shell runs first; empty runs none.
        environment: Further variables of the shell.

    Raises:
        ConfigError: The image or the repository is not a folder.
        SandboxError: bubblewrap is missing, this machine does not let it make
            namespaces, or the image lacks what a sandbox needs.
    """

    def __init__(
        self,
        image: str = HOST,
        *,
        workdir: str = "/testbed",
        repository: str | Path | None = None,
        limits: SandboxLimits = SandboxLimits(),
        startup: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        for name, folder in (("image", image), ("repository", repository)):
            if folder is not None and not os.path.isdir(folder):
                raise ConfigError(f"{name} of a sandbox is {str(folder)!r}: it is not a folder.")
        super().__init__(os.path.abspath(image), workdir, limits, startup)
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._repository = None if repository is None else Path(repository).absolute()
        self._open()

    def _start_key(self) -> Hashable:
        return "bubblewrap", self.image, self._repository

    def _new_box(self) -> Namespaces:
        return Namespaces(
            self.image,
            self.workdir,
            self.limits,
            CAPABILITIES,
            self._environment,
            None if self._repository is None else _archive_of(self._repository),
        )


def unpacked_image(image: str) -> str:
    """The folder with the files of an image.

    It is ``image`` itself if that is an absolute path, else the folder of this name in
    ``SRL_IMAGES`` (by default ``srl/images`` in ``XDG_CACHE_HOME`` or ``~/.cache``). The
    base image need not be there: then it is the host's own system.

    Raises:
        SandboxError: There is no such folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    images = Path(os.environ.get("SRL_IMAGES") or f"{cache}/srl/images").expanduser()
    folder = images / image
    if folder.is_dir() and ".." not in folder.parts:
        return str(folder)
    if image == BASE_IMAGE:
        return HOST
    raise SandboxError(
        f"The image {image} was not unpacked: there is no folder {folder}. Make it where Docker or "
        f"podman is: mkdir -p {folder}; docker export $(docker create {image}) | tar -x -C {folder}"
    )


def _archive_of(folder: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, ".", filter=owned_by_root)
    return archive.getvalue()

"""A sandbox in a Docker container: hardened, with one shell kept open."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from docker.types import Ulimit

from srl_envs.sandbox.container import Container
from srl_envs.sandbox.engine import connect, usable_image
from srl_envs.sandbox.limits import CAPABILITIES, MIB, SandboxLimits, checked_capabilities
from srl_envs.sandbox.shell_sandbox import ENVIRONMENT, ShellSandbox

BASE_IMAGE = "srl-base:bookworm"
"""Made by ``python -m srl_envs.sandbox build-base``: Debian with bash, git, Python and pytest."""

# Process 1 of a container, which reaps orphans as Docker's own --init does. That one would end, and
# the container with it, as soon as its child is killed; process 1 itself is out of reach of every
# signal from inside. It waits on a pipe whose both ends it holds.
_INIT = "exec 3<> <(:); while :; do read -r -u 3; done"


class DockerSandbox(ShellSandbox):
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
        super().__init__(image, workdir, limits, startup)
        self._user, self._runtime, self._network = user, runtime, network
        self._capabilities = checked_capabilities(capabilities)
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._client = connect(deadline)
        # Every container is of the same image, whatever its name becomes.
        self._image_id = usable_image(self._client, image)
        self._open()

    @property
    def container_id(self) -> str:
        """The engine's id of the present container; :meth:`reset` changes it."""
        assert isinstance(self._box, Container)
        return self._box.id

    def close(self) -> None:
        """Remove the container; see :meth:`ShellSandbox.close`."""
        if not self._closed and os.getpid() == self._owner:
            super().close()
            self._client.close()

    def _start_key(self) -> Hashable:
        return self._client.api.base_url, self._image_id, self._user, self._capabilities

    def _new_box(self) -> Container:
        return Container(
            self._client,
            self._image_id,
            self.image,
            entrypoint=["bash", "-p", "-c", _INIT],
            command=[],
            limits=self.limits,
            environment=self._environment,
            user=self._user,
            # The image's is often the repository: if that became a file, nothing would start.
            working_dir="/",
            healthcheck={"test": ["NONE"]},
            network_disabled=self._network == "none",
            host_config=self._host_config(),
        )

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

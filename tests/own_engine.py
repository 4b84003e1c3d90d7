"""Docker engines that a test starts, kills and starts again, each in a folder of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srl_envs.sandbox.engine import connect, engine_at

DOCKERD = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def processes_of(name: str) -> list[int]:
    """Processes with a name in their command line, or in that of their control groups."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (
                name.encode()
                in (folder / "cmdline").read_bytes() + (folder / "cgroup").read_bytes()
                and "State:\tZ" not in (folder / "status").read_text()
            ):
                found.append(int(folder.name))
    return found


def kill_all(name: str) -> None:
    """Kill the processes with a name, and those they start meanwhile; return when none is left."""
    while left := processes_of(name):
        for process in left:
            with contextlib.suppress(ProcessLookupError):  # it ended since it was listed
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def remove_group(group: Path) -> None:
    """Remove a control group; the kernel, or the engine's runtime, may still be at it."""
    for attempt in range(200):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == 199:
                raise
            time.sleep(0.05)
        else:
            return


class OwnEngine:
    """A Docker engine that a test may kill.

    Args:
        options: Of ``dockerd``, beside those that keep it apart from the machine.
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="srl-"))
        self.address = f"unix://{self.folder}/docker.sock"
        self.start()

    def start(self) -> None:
        options = [
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
        ]
        options += [f"--pidfile={self.folder}/pid", f"--host={self.address}", *self.options]
        log = self.folder / "log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [str(DOCKERD), *options], stdout=file, stderr=file, start_new_session=True
            )
        while "API listen on" not in log.read_text():
            if self.process.poll() is not None:
                pytest.skip(f"a second engine does not start: {log.read_text().splitlines()[-1]}")
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait()

    def remove(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        containers = [path.name for path in (self.folder / "data" / "containers").glob("*")]
        for name in (str(self.folder), *containers):  # what a killed engine leaves running
            kill_all(name)
        for name in containers:
            for pattern in ("docker", "*/docker"):
                for group in Path("/sys/fs/cgroup").glob(f"{pattern}/{name}"):
                    remove_group(group)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted(
            (mount for mount in mounts if mount.startswith(f"{self.folder}/")), reverse=True
        ):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(self.folder)

    def restart(self) -> None:
        """Start it again after :meth:`stop`."""
        (self.folder / "pid").unlink(missing_ok=True)  # of a killed one, that may live by now
        self.start()

    def containers(self) -> list[str]:
        """All that it has, running or not."""
        with self.client() as client:
            return [one["Id"] for one in client.api.containers(all=True)]

    def load(self, image: str) -> None:
        """Copy an image of the engine at ``DOCKER_HOST`` to this one."""
        source = connect(deadline=300)
        with self.client() as client:
            content = b"".join(source.images.get(image).save(named=True))
            client.images.load(content)
        source.close()

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A client of it."""
        with engine_at(self.address):
            client = connect(deadline=300)
        yield client
        client.close()


def require_own_engines() -> None:
    """Skip where a test cannot start engines."""
    if os.geteuid() != 0 or DOCKERD is None:
        pytest.skip("engines of the test's own take root and dockerd")


@contextlib.contextmanager
def own_engines(count: int) -> Iterator[list[OwnEngine]]:
    """So many engines, removed at the end with all that they hold."""
    require_own_engines()
    with contextlib.ExitStack() as stack:
        engines = []
        for _ in range(count):
            engines.append(OwnEngine())
            stack.callback(engines[-1].remove)
        yield engines

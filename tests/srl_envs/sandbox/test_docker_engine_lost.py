"""The engine fails, or somebody removes the container: a SandboxError, never a command's result."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_images import TOOLS, import_image

from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.engine import connect

pytestmark = pytest.mark.docker

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
    """A Docker engine that a test may kill, with an image that holds bash and sleep."""

    def __init__(self) -> None:
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
        options += [f"--pidfile={self.folder}/pid", f"--host={self.address}"]
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

    def import_small_image(self) -> str:
        client = connect()
        image = import_image(client, "small", TOOLS)
        client.close()
        return image


@pytest.fixture
def own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or DOCKERD is None:
        pytest.skip("an engine of the test's own takes root and dockerd")
    engine = OwnEngine()
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    yield engine
    engine.remove()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_an_engine_that_ends_in_mid_command_is_never_a_result(
    own_engine: OwnEngine, number: signal.Signals
) -> None:
    sandbox = DockerSandbox(
        own_engine.import_small_image(),
        workdir="/tmp",
        limits=SandboxLimits(cpus=0.5, memory_mib=256),
        deadline=20,
    )
    assert sandbox.run("echo before").output == "before\n"
    end = threading.Timer(1.0, own_engine.stop, [number])
    end.start()
    with pytest.raises(SandboxError):
        sandbox.run("echo started; while :; do sleep 1; done", timeout=30)
    end.join()
    calls: list[Callable[[], object]] = [
        lambda: sandbox.run("true"),
        lambda: sandbox.read_file("/bin/sh"),
        lambda: sandbox.list_files("/"),
        sandbox.diff,
    ]
    for call in calls:
        with pytest.raises(SandboxError):
            call()
    with pytest.raises(SandboxError, match="engine"):
        DockerSandbox("small:latest")
    with pytest.raises(SandboxError):
        sandbox.close()
    sandbox.close()


def test_an_engine_that_hangs_is_an_error_by_its_deadline(own_engine: OwnEngine) -> None:
    sandbox = DockerSandbox(
        own_engine.import_small_image(),
        workdir="/tmp",
        limits=SandboxLimits(cpus=0.5, memory_mib=256),
        deadline=6,  # also of its start, which takes a busy machine some seconds
    )
    os.kill(own_engine.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(SandboxError, match="did not answer"):
            sandbox.read_file("/bin/sh")
        with pytest.raises(SandboxError, match="did not answer"):
            sandbox.run("exit")
    finally:
        os.kill(own_engine.process.pid, signal.SIGCONT)
    sandbox.close()


def test_no_engine_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    with pytest.raises(SandboxError, match=r"no-engine\.sock") as caught:
        DockerSandbox()
    assert "\n" not in str(caught.value)


def test_a_container_removed_from_outside_is_an_error(
    engine: Any, base_image: str, small_limits: SandboxLimits
) -> None:
    sandbox = DockerSandbox(base_image, workdir="/tmp", limits=small_limits)
    container = engine.containers.get(sandbox.run("cat /etc/hostname").output.strip())
    removal = threading.Timer(0.5, container.remove, kwargs={"force": True})
    removal.start()
    with pytest.raises(SandboxError):
        sandbox.run("sleep 300", timeout=30)
    removal.join()
    calls: list[Callable[[], object]] = [
        lambda: sandbox.run("true"),
        lambda: sandbox.read_file("/etc/passwd"),
        lambda: sandbox.write_file("new.txt", ""),
        lambda: sandbox.list_files("/"),
        sandbox.diff,
    ]
    for call in calls:
        with pytest.raises(SandboxError):
            call()
    sandbox.reset()
    assert sandbox.run("echo again").output == "again\n"
    sandbox.close()

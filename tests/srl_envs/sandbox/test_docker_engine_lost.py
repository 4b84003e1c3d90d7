"""The engine fails, or somebody removes the container: a SandboxError, never a command's result."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_engine import OwnEngine, require_own_engines
from small_images import TOOLS, import_image

from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.engine import connect

pytestmark = pytest.mark.docker


@pytest.fixture
def own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnEngine]:
    require_own_engines()
    engine = OwnEngine()
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    yield engine
    engine.remove()


def small_image() -> str:
    client = connect()
    image = import_image(client, "small", TOOLS)
    client.close()
    return image


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_an_engine_that_ends_in_mid_command_is_never_a_result(
    own_engine: OwnEngine, number: signal.Signals
) -> None:
    sandbox = DockerSandbox(
        small_image(),
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
        small_image(),
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

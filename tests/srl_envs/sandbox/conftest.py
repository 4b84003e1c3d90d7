"""Fixtures for tests that look at a Docker sandbox from the engine's side too."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from srl_envs.sandbox import DockerSandbox, SandboxLimits


@dataclass(frozen=True)
class Contained:
    """A sandbox, and its container as the engine knows it."""

    sandbox: DockerSandbox
    engine: Any

    @property
    def container(self) -> Any:
        """Asked anew, for a reset takes another container."""
        return self.engine.containers.get(self.sandbox.run("cat /etc/hostname").output.strip())


@pytest.fixture(scope="module")
def _module_sandbox(base_image: str, small_limits: SandboxLimits) -> Iterator[DockerSandbox]:
    with DockerSandbox(base_image, workdir="/tmp", limits=small_limits) as sandbox:
        yield sandbox


@pytest.fixture
def contained(engine: Any, _module_sandbox: DockerSandbox) -> Contained:
    """A clean sandbox with small limits in ``/tmp``."""
    _module_sandbox.reset()
    return Contained(_module_sandbox, engine)


@pytest.fixture
def own_containers(engine: Any) -> Callable[[int], list[Any]]:
    """The containers, running or not, whose owner is the process with a given id."""
    return lambda pid=os.getpid(): engine.containers.list(
        all=True, ignore_removed=True, filters={"label": f"srl-envs.sandbox.pid={pid}"}
    )


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """busybox of this machine, or of Debian's package; a test skips where neither is at hand."""
    if found := shutil.which("busybox"):
        return Path(found)
    folder = tmp_path_factory.mktemp("busybox")
    fetch = "apt-get download busybox-static && dpkg -x busybox-static*.deb ."
    try:
        subprocess.run(["sh", "-c", fetch], cwd=folder, capture_output=True, check=True)
    except subprocess.CalledProcessError:
        pytest.skip("there is no busybox here, and Debian's package cannot be fetched")
    return next(folder.glob("**/bin/busybox"))


@pytest.fixture
def image_name(engine: Any) -> Iterator[str]:
    """The name of an image that a test may make; it is removed at the end."""
    name = f"srl-tests-{uuid.uuid4().hex[:12]}"
    yield name
    if engine.images.list(name=name):
        engine.images.remove(f"{name}:latest", force=True)

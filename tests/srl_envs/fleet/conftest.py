"""Engines for the tests of fleets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fleet_work import IMAGE
from own_engine import OwnEngine, own_engines
from small_images import TOOLS, import_image

from srl_envs.sandbox.engine import engine_at
from srl_envs.sandbox.images import image_of_tree

_GIT = ("git", "cat", "rm", "xargs", "env", "sort", "ls", "touch")


@pytest.fixture(scope="session")
def value_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("value")
    (folder / "value.txt").write_text("none\n")
    return folder


@pytest.fixture(scope="session")
def fill(value_repository: Path) -> Callable[[OwnEngine], None]:
    """Gives an engine the image."""
    return partial(_fill, repository=value_repository)


@pytest.fixture(scope="module")
def three_engines(fill: Callable[[OwnEngine], None]) -> Iterator[list[OwnEngine]]:
    """Three engines with an image of git and a repository; tests may kill and restart them."""
    with own_engines(3) as engines:
        for engine in engines:
            fill(engine)
        yield engines


@pytest.fixture
def engines(three_engines: list[OwnEngine]) -> list[OwnEngine]:
    """Three engines that run, and hold no container."""
    for engine in three_engines:
        if engine.process.poll() is not None:
            engine.restart()
        for container in engine.containers():
            subprocess.run(
                ["docker", "-H", engine.address, "rm", "-f", container],
                check=True,
                capture_output=True,
            )
    return three_engines


def _fill(engine: OwnEngine, repository: Path) -> None:
    with engine.client() as client:
        base = import_image(client, "srl-fleet-base", (*TOOLS, *_GIT))
    with engine_at(engine.address):
        image_of_tree(repository, IMAGE, base=base)

"""The sandboxes that the suite puts through the promises of ``srl_envs/sandbox/protocol.py``.

To put another one through: add a factory to :data:`FACTORIES`. It gives a sandbox whose
``workdir`` holds the repository of the fixture ``small_repository``, as files and one
git commit, with bash, git and Python inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from srl_envs.sandbox import DockerSandbox, Sandbox

Factory = Callable[[], Sandbox]


def _docker(request: pytest.FixtureRequest) -> Sandbox:
    return DockerSandbox(
        request.getfixturevalue("repository_image"), limits=request.getfixturevalue("small_limits")
    )


FACTORIES = [pytest.param(_docker, id="docker", marks=pytest.mark.docker)]


@pytest.fixture(scope="module", params=FACTORIES)
def make_sandbox(request: pytest.FixtureRequest) -> Factory:
    """Makes sandboxes of one kind; the test closes what it makes."""
    return lambda: request.param(request)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def used_sandbox(make_sandbox: Factory) -> Iterator[Sandbox]:
    """A sandbox as the test before left it: for promises that hold in any state."""
    sandbox = make_sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(used_sandbox: Sandbox) -> Sandbox:
    """A sandbox in the state of its start."""
    used_sandbox.reset()
    return used_sandbox

"""The sandboxes that the suite puts through the promises of ``srl_envs/sandbox/protocol.py``.

To put another one through: add a factory to :data:`FACTORIES`. It gives a sandbox whose
``workdir`` holds the repository of the fixture ``small_repository``, as files and one
git commit, with bash, git and Python inside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from srl_envs.fleet import Fleet, open_fleet
from srl_envs.sandbox import BubblewrapSandbox, DockerSandbox, Sandbox

Factory = Callable[[], Sandbox]


def _docker(request: pytest.FixtureRequest) -> Sandbox:
    return DockerSandbox(
        request.getfixturevalue("repository_image"), limits=request.getfixturevalue("small_limits")
    )


def _bubblewrap_host(request: pytest.FixtureRequest) -> Sandbox:
    request.getfixturevalue("bubblewrap")
    return BubblewrapSandbox(
        repository=request.getfixturevalue("small_repository"),
        limits=request.getfixturevalue("small_limits"),
    )


def _bubblewrap_image(request: pytest.FixtureRequest) -> Sandbox:
    request.getfixturevalue("bubblewrap")
    return BubblewrapSandbox(
        str(request.getfixturevalue("unpacked_image")),
        limits=request.getfixturevalue("small_limits"),
    )


@pytest.fixture(scope="module")  # a process has one Ray at a time, and other tests need their own
def ray_fleet(engine: object) -> Iterator[Fleet]:
    """A Ray of this machine with one actor, on the engine of the tests."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")
    with open_fleet(os.environ.get("DOCKER_HOST"), "local", places=8) as fleet:
        yield fleet


def _remote(request: pytest.FixtureRequest) -> Sandbox:
    fleet: Fleet = request.getfixturevalue("ray_fleet")
    image = request.getfixturevalue("repository_image")
    limits = request.getfixturevalue("small_limits")
    return fleet.open("sandbox", partial(DockerSandbox, image, limits=limits))


FACTORIES = [
    pytest.param(_docker, id="docker", marks=pytest.mark.docker),
    pytest.param(_bubblewrap_host, id="bubblewrap-host"),
    pytest.param(_bubblewrap_image, id="bubblewrap-image"),
    pytest.param(_remote, id="remote", marks=pytest.mark.docker),
]

PROGRAMS = (
    "basename bash cat chmod chown cp cut date dd df diff dirname du echo env expr false find git "
    "grep head id ln ls md5sum mkdir mkfifo mktemp mv nproc od ps python3 readlink rm rmdir sed "
    "seq setsid sh sleep sort stat tail tar tee test timeout touch tr true truncate uname uniq wc "
    "which xargs"
)


ImageOf = Callable[[Path, Sequence[str]], Path]


@pytest.fixture(scope="session")
def image_of_this_machine() -> Iterator[ImageOf]:
    """Makes a folder with the files of an image: programs of this machine with what they load,
    modules of our Python, and a repository, all owned by whoever runs sandboxes.
    """
    with ExitStack() as made:

        def image(repository: Path, modules: Sequence[str]) -> Path:
            return made.enter_context(_image(repository, modules))

        yield image


@pytest.fixture(scope="session")
def unpacked_image(image_of_this_machine: ImageOf, small_repository: Path) -> Path:
    """An image with the repository of the tests."""
    return image_of_this_machine(small_repository, ())


@contextmanager
def _image(repository: Path, modules: Sequence[str]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="srl-image-"))  # pytest's own no other user may enter
    python = subprocess.run(
        ["/usr/bin/python3", "-c", "import os; print(os.path.dirname(os.__file__))"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    if not python:
        pytest.skip("there is no /usr/bin/python3 to put into an image")
    found = filter(None, (shutil.which(name, path="/usr/bin:/bin") for name in PROGRAMS.split()))
    files = {Path(path) for path in found}
    libraries = Path(python, "lib-dynload").glob("*.so")
    linked = subprocess.run(
        ["ldd", *map(str, files), *map(str, libraries)], capture_output=True, text=True
    )
    files |= set(map(Path, re.findall(r"(/\S+\.so\S*) \(", linked.stdout)))
    for name in ("bin", "lib", "lib64", "sbin"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    for path in files:
        copy = folder / "usr" / str(path).removeprefix("/usr").lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    unwanted = shutil.ignore_patterns("test", "__pycache__", "dist-packages", "site-packages")
    packages = folder / python.lstrip("/")
    shutil.copytree(python, packages, ignore=unwanted)
    for name in modules:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None, name
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, packages / name, ignore=unwanted)
        else:
            shutil.copy(origin, packages)
    shutil.copytree(repository, folder / "testbed", symlinks=True)
    for name in ("etc", "tmp", "usr/share", "var/tmp", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (folder / "tmp").chmod(0o1777)
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "nobody:", str(folder)], check=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


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


@pytest.fixture
def changeable_system(sandbox: Sandbox) -> None:
    """For tests whose commands change programs of the system; skips where they cannot."""
    if sandbox.run("[ -w /usr/bin ]").exit_code:
        pytest.skip("the system is the host's own, which commands of this sandbox only read")

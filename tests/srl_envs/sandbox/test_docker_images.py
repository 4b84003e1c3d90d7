"""Images of others: what a sandbox makes of them, or why it refuses them."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_images import TOOLS, import_image

from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.editor import EditTool
from srl_envs.sandbox.images import sealed_image

pytestmark = pytest.mark.docker

COMMIT = (
    "git config --global user.name T; git config --global user.email t@example.org; "
    "git init -q . && echo one > a.txt && git add -A && git commit -q -m one"
)


def build(engine: Any, image: str, base: str, *lines: str) -> str:
    """An image on another one, by a Dockerfile."""
    file = io.BytesIO("\n".join([f"FROM {base}", *lines]).encode())
    engine.images.build(fileobj=file, tag=image, network_mode="none", rm=True)
    return f"{image}:latest"


@pytest.fixture(scope="module")
def devs_image(engine: Any, base_image: str) -> Iterator[str]:
    """A repository of the user dev in ``/testbed``, and a script that writes noise."""
    name = f"srl-tests-{uuid.uuid4().hex[:12]}"
    yield build(
        engine,
        name,
        base_image,
        "RUN echo 'echo noise; echo noise >&2' > /noise && useradd -m dev",
        "RUN mkdir /testbed && chown dev /testbed",
        f"RUN su dev -c 'cd /testbed && {COMMIT}'",
    )
    engine.images.remove(f"{name}:latest", force=True)


# -- few tools


def test_busybox_tools_do(
    engine: Any, busybox: Path, image_name: str, small_limits: SandboxLimits
) -> None:
    plain = import_image(engine, image_name, ["bash", "git"], busybox)
    image = build(engine, image_name, plain, f"RUN cd /testbed && {COMMIT}")
    with DockerSandbox(image, limits=small_limits) as sandbox:
        assert sandbox.run("ls -l $(type -P find tar)").output.count("busybox") == 2
        assert sandbox.diff() == ""
        sandbox.write_file("new folder/b.txt", "two\n")
        sandbox.run("printf 'caf\\351\\n' > a.txt; mkdir closed; chmod 000 closed")
        assert sandbox.read_file("new folder/b.txt") == b"two\n"
        assert sandbox.list_files("new folder") == [
            "/testbed/new folder/",
            "/testbed/new folder/b.txt",
        ]
        assert "GIT binary patch" in sandbox.diff() and "+two\n" in sandbox.diff()
        sandbox.run("git init -q inside; echo three > inside/c.txt; sleep 300", timeout=1)
        assert "inside/c.txt" in sandbox.diff()
        shown = EditTool(sandbox).run({"command": "view", "path": "/testbed"})
        assert "/testbed/new folder/b.txt" in shown


def test_an_image_without_bash_is_refused_by_name(
    engine: Any, busybox: Path, image_name: str
) -> None:
    image = import_image(engine, image_name, [], busybox)
    with pytest.raises(SandboxError, match=f"{image} has no bash"):
        DockerSandbox(image)


def test_an_image_without_the_usual_tools_is_refused_by_name(engine: Any, image_name: str) -> None:
    image = import_image(engine, image_name, [name for name in TOOLS if name not in ("find",)])
    with pytest.raises(SandboxError, match=f"{image} has no find,"):
        DockerSandbox(image)


def test_an_image_without_the_repository_is_refused_by_name(base_image: str) -> None:
    with pytest.raises(SandboxError, match="has no folder /no/such folder"):
        DockerSandbox(base_image, workdir="/no/such folder")


def test_an_image_without_git_works_and_says_why_it_has_no_diff(
    engine: Any, image_name: str, small_limits: SandboxLimits
) -> None:
    image = import_image(engine, image_name, TOOLS)
    with DockerSandbox(image, limits=small_limits) as sandbox:
        sandbox.write_file("a.txt", "one\n")
        assert sandbox.run("echo $(< a.txt)").output == "one\n"
        with pytest.raises(SandboxError, match=f"{image} has no git"):
            sandbox.diff()


def test_a_folder_that_never_was_a_repository_has_no_diff(
    base_image: str, small_limits: SandboxLimits
) -> None:
    with (
        DockerSandbox(base_image, workdir="/srv", limits=small_limits) as sandbox,
        pytest.raises(SandboxError, match=r"/srv in the image .* is not a git repository"),
    ):
        sandbox.diff()


# -- settings


def test_a_volume_is_refused_by_name(engine: Any, base_image: str, image_name: str) -> None:
    image = build(engine, image_name, base_image, "VOLUME /testbed/data /cache")
    with pytest.raises(SandboxError, match=r"declares volumes \(/cache, /testbed/data\)"):
        DockerSandbox(image, workdir="/srv")
    with pytest.raises(SandboxError, match="declares volumes"):
        sealed_image(image, "srl-tests:never")


@pytest.mark.parametrize(
    "line",
    [
        'ENTRYPOINT ["sleep", "1"]',
        'ENTRYPOINT ["/no/such/program"]',
        "ENTRYPOINT exit 3",
        'CMD ["/no/such/program"]',
        "HEALTHCHECK --interval=1s CMD touch /srv/checked",
        'SHELL ["/no/such/shell"]',
        "WORKDIR /no/such/folder",
        "STOPSIGNAL SIGKILL",
        "ONBUILD RUN exit 1",
        "ENV GIT_DIR=/nowhere GIT_INDEX_FILE=/nowhere GIT_WORK_TREE=/nowhere",
        "ENV LC_ALL=en_US.UTF-8 LANG=xx_XX",
        "ENV BASH_ENV=/noise",
        "ENV CDPATH=/usr:/ GLOBIGNORE=* IFS=/ POSIXLY_CORRECT=1 HOME=/nowhere",
        "ENV BASH_FUNC_cd%%='() { echo no; }' BASH_FUNC_git%%='() { echo no; }'",
        "ENV TMPDIR=/nowhere",
        "LABEL srl-envs.sandbox.pid=1",
        "USER dev",
    ],
)
def test_settings_of_an_image_do_not_show(
    engine: Any, devs_image: str, image_name: str, small_limits: SandboxLimits, line: str
) -> None:
    image = build(engine, image_name, devs_image, line)
    with DockerSandbox(image, limits=small_limits) as sandbox:
        assert sandbox.run("pwd; sleep 1.5; ls /srv").output == "/testbed\n"
        assert sandbox.diff() == ""
        sandbox.write_file("b.txt", "two\n")
        assert sandbox.list_files(".") == [
            "/testbed/",
            *(f"/testbed/{name}" for name in (".git/", "a.txt", "b.txt")),
        ]
        assert sandbox.read_file("b.txt") == b"two\n"
        patch = sandbox.diff()
        assert patch.startswith("diff --git a/b.txt b/b.txt\n") and patch.endswith("+two\n")


def test_an_image_keeps_its_name_while_its_name_is_taken_by_another(
    engine: Any, base_image: str, image_name: str, small_limits: SandboxLimits
) -> None:
    first = build(engine, image_name, base_image, "RUN echo first > /srv/which")
    with DockerSandbox(first, workdir="/srv", limits=small_limits) as sandbox:
        build(engine, image_name, base_image, "RUN echo second > /srv/which")
        sandbox.reset()
        assert sandbox.run("cat which").output == "first\n"


def test_a_user_that_the_image_does_not_know_is_refused_by_name(base_image: str) -> None:
    with pytest.raises(SandboxError, match="unable to find user nobody-here"):
        DockerSandbox(base_image, workdir="/srv", user="nobody-here")


def test_programs_for_the_tests_are_at_hand() -> None:
    assert all(shutil.which(name) for name in (*TOOLS, "git"))

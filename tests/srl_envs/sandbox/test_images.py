from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox import DockerSandbox, SandboxError
from srl_envs.sandbox.images import (
    build_base,
    has_image,
    image_of_commit,
    image_of_tree,
    sealed_image,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgSign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, str, str, str]:
    """A repository whose second commit is the start of a task and whose third is the fix; folder,
    start, fix, blob of the fix.
    """
    folder = tmp_path_factory.mktemp("project")
    git(folder, "init", "-q", "-b", "main")
    (folder / "app.py").write_text("value = 0\n")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "kept.log").write_text("tracked though ignored\n")
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "app.py").write_text("value = 1  # bug\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_hidden.py").write_text("def test_it(): assert True\n")
    (folder / "link").symlink_to("app.py")
    (folder / "outside").symlink_to("/etc/hostname")
    (folder / "above").symlink_to("../../../etc/hostname")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "start")
    start = git(folder, "rev-parse", "HEAD")
    (folder / "app.py").write_text("value = 2  # the fix\n")
    git(folder, "commit", "-q", "-a", "-m", "the fix")
    git(folder, "tag", "v2")
    return folder, start, git(folder, "rev-parse", "HEAD"), git(folder, "rev-parse", "HEAD:app.py")


@pytest.fixture
def name(engine) -> str:
    tag = f"srl-tests-{uuid.uuid4().hex[:12]}:a"
    yield tag
    for image in (tag, tag.replace(":a", ":b")):
        if has_image(image, engine):
            engine.images.remove(image, force=True)


def has_no_future(sandbox: DockerSandbox, fix: str, blob: str) -> None:
    assert sandbox.run("git rev-list --all --count").output == "1\n"
    for thing in (fix, blob, "v2", "origin/main"):
        assert sandbox.run(f"git cat-file -e {thing}").exit_code != 0
    leftovers = sandbox.run(
        "git remote; git stash list; git tag; git reflog | grep -c fix; "
        "ls .git/packed-refs .git/ORIG_HEAD .git/FETCH_HEAD 2>/dev/null; "
        "grep -r 'the fix' . "
    )
    assert leftovers.output == "0\n"
    assert sandbox.run("git status --porcelain").output == ""
    assert sandbox.diff() == ""


@pytest.mark.docker
def test_a_commit_becomes_an_image_without_a_future(base_image, project, name) -> None:
    folder, start, fix, blob = project
    image_of_commit(folder, start, name, leave_out=["tests/*"])
    with DockerSandbox(name) as sandbox:
        has_no_future(sandbox, fix, blob)
        assert sandbox.run(
            "cat app.py kept.log; readlink link outside; ls tests"
        ).output.startswith("value = 1  # bug\ntracked though ignored\napp.py\n/etc/hostname\n")
        assert sandbox.run("test -e tests/test_hidden.py").exit_code == 1


@pytest.mark.docker
def test_an_address_is_cloned_and_the_same_commit_gives_the_same_hash(
    base_image, project, name
) -> None:
    folder, start, *_ = project
    image_of_commit(folder, start, name)
    image_of_commit(f"file://{folder}", start[:12], name.replace(":a", ":b"))
    hashes = []
    for image in (name, name.replace(":a", ":b")):
        with DockerSandbox(image) as sandbox:
            hashes.append(sandbox.run("git rev-parse HEAD").output)
    assert hashes[0] == hashes[1]


@pytest.mark.docker
def test_a_foreign_image_is_sealed(base_image, project, name, engine, tmp_path) -> None:
    folder, start, fix, blob = project
    (folder.parent / "Dockerfile").write_text(
        f"FROM {base_image}\nCOPY {folder.name} /testbed\nRUN cd /testbed && git "
        f"checkout -q {start} && echo built > made.log\n"
    )
    engine.images.build(path=str(folder.parent), tag=name, network_mode="none", rm=True)
    with DockerSandbox(name) as sandbox:
        assert sandbox.run(f"git cat-file -e {fix}").exit_code == 0
    sealed_image(name, name.replace(":a", ":b"))
    with DockerSandbox(name.replace(":a", ":b")) as sandbox:
        has_no_future(sandbox, fix, blob)
        assert sandbox.run("cat made.log; git ls-files kept.log").output == "built\nkept.log\n"


@pytest.mark.docker
def test_repositories_inside_a_sealed_one_lose_their_past_too(
    base_image, name, engine, tmp_path
) -> None:
    tree = tmp_path / "tree"
    for folder in (tree, tree / "library", tree / "vendor" / "cloned"):
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        (folder / "code.py").write_text("value = 1\n")
        git(folder, "add", "code.py")
        git(folder, "commit", "-q", "-m", "one")
    (tree / ".gitignore").write_text("vendor/\n")
    git(
        tree, "-c", "advice.addEmbeddedRepo=false", "add", "library", ".gitignore"
    )  # as a submodule
    git(tree, "commit", "-q", "-m", "two")
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nCOPY tree /testbed\n")
    engine.images.build(path=str(tmp_path), tag=name, network_mode="none", rm=True)
    sealed_image(name, name.replace(":a", ":b"))
    with DockerSandbox(name.replace(":a", ":b")) as sandbox:
        assert sandbox.run(
            "find / -xdev -name .git; git ls-files; ls vendor/cloned; git status --short"
        ).output.split() == [
            "/testbed/.git",
            ".gitignore",
            "code.py",
            "library/code.py",
            "code.py",
        ]


@pytest.mark.docker
def test_repositories_that_a_setup_clones_are_closed(base_image, tmp_path, name) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    image_of_tree(tmp_path, name, setup="git init -q library && echo b > library/b.txt")
    with DockerSandbox(name) as sandbox:
        assert sandbox.run("git ls-files; ls -A library").output == "a.txt\nlibrary/b.txt\nb.txt\n"


@pytest.mark.docker
def test_a_name_without_a_tag_is_the_latest(base_image, tmp_path, engine) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    plain = f"localhost:5000/srl-tests-{uuid.uuid4().hex[:12]}"
    image_of_tree(tmp_path, plain)
    try:
        assert engine.images.get(f"{plain}:latest").tags == [f"{plain}:latest"]
    finally:
        engine.images.remove(f"{plain}:latest", force=True)


@pytest.mark.docker
def test_a_tree_is_set_up_before_its_commit(base_image, tmp_path, name) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "secret").write_text("no\n")
    image_of_tree(tmp_path, name, workdir="/work", setup="echo made > b.txt")
    with DockerSandbox(name, workdir="/work") as sandbox:
        assert (
            sandbox.run("git ls-files; cat b.txt; test -e .git/secret").output
            == "a.txt\nb.txt\nmade\n"
        )


@pytest.mark.docker
def test_failures_say_what_failed(base_image, project, tmp_path) -> None:
    folder, *_ = project
    with pytest.raises(ConfigError, match="commit nope"):
        image_of_commit(folder, "nope", "srl-tests:x")
    with pytest.raises(ConfigError, match="is not a folder"):
        image_of_tree(tmp_path / "nope", "srl-tests:x")
    with pytest.raises(SandboxError, match="set up srl-tests:x: no such thing"):
        image_of_tree(folder, "srl-tests:x", setup="echo no such thing >&2; exit 7")
    with pytest.raises(SandboxError, match="Pull or build the image first"):
        DockerSandbox("srl-no-such-image:1")
    with pytest.raises(SandboxError, match="repository in /nowhere"):
        sealed_image(base_image, "srl-tests:x", workdir="/nowhere")
    assert not has_image("srl-tests:x")


@pytest.mark.docker
def test_the_base_image_is_made_once(base_image) -> None:
    assert build_base() is False


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() == 0, reason="only a user who is not root is refused")
def test_debootstrap_needs_root(engine) -> None:
    with pytest.raises(ConfigError, match="as root"):
        build_base("srl-no-such-base:1")

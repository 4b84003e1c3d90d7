"""Mirrors, and files read from them, with real git repositories and a real image."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from swebench_clones import instance_at, run_git
from swebench_registry import serving

from srl_agent.evaluation.swebench.repositories import Repositories, RepositoryError, why_not_text
from srl_agent.rollouts.image_budget import ImageBudget
from srl_envs.errors import ConfigError, InfrastructureError

FILES = {
    "src/tool.py": b"VALUE = 1\n",
    "src/deep/latin.py": b"# -*- coding: latin-1 -*-\nNAME = 'caf\xe9'\n",
    "run me.sh": b"#!/bin/sh\r\n",
    "picture.png": b"\x89PNG\0\1",
    "model.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "données.txt": b"un\n",
}


def test_files_of_a_commit(clones: Path, tmp_path: Path) -> None:
    repositories = Repositories(tmp_path / "cache", clones)
    instance = instance_at(clones / "acme" / "tool", "main")
    files = repositories.files(instance)
    assert dict(files) == FILES
    assert sorted(repositories.tree(instance)) == sorted(FILES)
    assert repositories.read(instance, "src/tool.py") == b"VALUE = 1\n"
    assert files.special == {"link.py": "symbolic link", "vendor/library": "submodule"}
    assert {path for path in files if files.mode(path) == "100755"} == {"run me.sh"}
    assert {
        path: reason for path, content in files.items() if (reason := why_not_text(content))
    } == {
        "picture.png": "binary file",
        "model.bin": "Git LFS pointer",
    }
    for absent in ("link.py", "src", "absent.py", "", "../secret", "./src/tool.py"):
        assert absent not in files
        with pytest.raises(KeyError):
            repositories.read(instance, absent)
    assert [path.name for path in (tmp_path / "cache").glob("*.git")] == ["acme__tool.git"]


def test_a_commit_that_came_later_is_fetched_into_the_same_mirror(
    clones: Path, tmp_path: Path
) -> None:
    repositories = Repositories(tmp_path / "cache", clones)
    assert (
        repositories.read(instance_at(clones / "acme" / "tool", "main"), "src/tool.py")
        == b"VALUE = 1\n"
    )
    assert (
        repositories.read(instance_at(clones / "acme" / "tool", "HEAD"), "src/tool.py")
        == b"VALUE = 2\n"
    )
    assert len(list((tmp_path / "cache").glob("*.git"))) == 1


def test_a_mirror_serves_without_its_source(clones: Path, tmp_path: Path) -> None:
    instance = instance_at(clones / "acme" / "tool", "main")
    Repositories(tmp_path / "cache", clones).tree(instance)
    shutil.rmtree(clones / "acme")
    assert dict(Repositories(tmp_path / "cache", clones).files(instance)) == FILES


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bare", "acme__tool.git"),
        ("bare", "acme/tool.git"),
        ("bare", "tool.git"),
        ("shared", "acme__tool"),
        ("shallow", "tool"),
        ("shallow", "acme/tool"),
    ],
)
def test_folders_of_clones(clones: Path, tmp_path: Path, kind: str, name: str) -> None:
    origin = clones / "acme" / "tool"
    others = tmp_path / "others"
    (others / name).parent.mkdir(parents=True)
    options = {
        "bare": ["--bare"],
        "shallow": ["--depth=1", "--no-single-branch"],
        "shared": ["--shared"],
    }[kind]
    run_git(
        tmp_path,
        "clone",
        "-q",
        *options,
        origin.as_uri() if kind == "shallow" else str(origin),
        str(others / name),
    )
    assert (
        dict(Repositories(tmp_path / "cache", str(others)).files(instance_at(origin, "main")))
        == FILES
    )


def test_branches_and_single_commits_from_a_server(clones: Path, tmp_path: Path) -> None:
    server = tmp_path / "server" / "acme" / "tool.git"
    run_git(tmp_path, "clone", "-q", "--mirror", str(clones / "acme" / "tool"), str(server))
    repositories = Repositories(tmp_path / "cache", github=server.parents[1].as_uri())
    assert dict(repositories.files(instance_at(clones / "acme" / "tool", "main"))) == FILES
    run_git(server, "fetch", "-q", str(clones / "acme" / "tool"), "HEAD:refs/pull/1/head")
    assert (
        repositories.read(instance_at(clones / "acme" / "tool", "HEAD"), "src/tool.py")
        == b"VALUE = 2\n"
    )


def test_what_is_missing_is_said(clones: Path, tmp_path: Path) -> None:
    instance = instance_at(clones / "acme" / "tool", "main")
    repositories = Repositories(tmp_path / "cache", clones)
    with pytest.raises(
        RepositoryError,
        match=r"acme__tool-1: commit f{40} of acme/tool cannot be fetched from .*not our ref",
    ) as raised:
        repositories.tree(replace(instance, base_commit="f" * 40))
    assert isinstance(raised.value, InfrastructureError)
    with pytest.raises(
        RepositoryError, match=r"holds no clone of acme/other: name its folder acme__other"
    ):
        repositories.tree(replace(instance, repo="acme/other"))
    with pytest.raises(
        RepositoryError,
        match=r"acme__tool-1: acme/other cannot be fetched from file:.*does not (exist|appear "
        r"to be a git repository)",
    ):
        Repositories(tmp_path / "cache", github=clones.as_uri()).tree(
            replace(instance, repo="acme/other")
        )
    (clones / "broken" / "objects").mkdir(parents=True)
    (clones / "broken" / "HEAD").write_text("nothing")
    with pytest.raises(RepositoryError, match=r"acme__tool-1: .*broken cannot be cloned: fatal: "):
        repositories.tree(replace(instance, repo="acme/broken"))
    assert [path.name for path in (tmp_path / "cache").glob("*.git")] == ["acme__tool.git"], (
        "one missing commit does not cost the mirror"
    )
    assert not list((tmp_path / "cache").glob(".*")), "nothing is left of what failed"
    assert dict(repositories.files(instance)) == FILES, "the next instance is served"
    with pytest.raises(ConfigError, match="use 'github', 'image', or a folder"):
        Repositories(tmp_path / "cache", tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="cannot be written"):
        Repositories(tmp_path / "file", clones).tree(instance)


def test_a_tree_or_a_blob_is_no_commit(clones: Path, tmp_path: Path) -> None:
    instance = instance_at(clones / "acme" / "tool", "main:src/tool.py")
    with pytest.raises(
        RepositoryError, match=r"acme__tool-1: .* (is not a commit of|cannot be fetched)"
    ):
        Repositories(tmp_path / "cache", clones).tree(instance)


def test_variables_of_another_git_have_no_say(
    clones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run_git(other, "init", "-q")
    instance = instance_at(clones / "acme" / "tool", "main")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert dict(Repositories(tmp_path / "cache", clones).files(instance)) == FILES


def test_a_machine_without_git(clones: Path, tmp_path: Path) -> None:
    arguments = [
        sys.executable,
        "-c",
        READ,
        str(tmp_path / "cache"),
        str(clones),
        json.dumps(asdict(instance_at(clones / "acme" / "tool", "main"))),
    ]
    done = subprocess.run(
        arguments, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].endswith("git is not installed, or not on PATH.")


READ = """
import json, sys
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.repositories import Repositories
print(Repositories(sys.argv[1], sys.argv[2]).read(SweBenchInstance(**json.loads(sys.argv[3])), "src/tool.py"))
"""


def test_processes_and_threads_share_a_cache(clones: Path, tmp_path: Path) -> None:
    instance = instance_at(clones / "acme" / "tool", "main")
    left = tmp_path / "cache" / ".acme__tool.git.killed"
    left.mkdir(parents=True)
    arguments = [
        sys.executable,
        "-c",
        READ,
        str(tmp_path / "cache"),
        str(clones),
        json.dumps(asdict(instance)),
    ]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0] for process in running} == {"b'VALUE = 1\\n'\n"}
    assert not left.exists(), "what a killed process left is removed"

    repositories = Repositories(tmp_path / "cache2", clones)
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda _: dict(repositories.files(instance)), range(16)))
    assert contents == [FILES] * 16


@pytest.fixture
def archive(clones: Path) -> bytes:
    """What is in an image with a repository and nothing else: no shell, nothing that could be
    started.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(clones / "acme" / "tool" / ".git", "testbed/.git")
        hook = tarfile.TarInfo("testbed/.git/objects/../../escape")
        tar.addfile(hook, io.BytesIO())
    return buffer.getvalue()


@pytest.fixture
def image(archive: bytes, engine: Any) -> Any:
    name = f"srl-tests:{uuid.uuid4().hex[:12]}"
    repository, tag = name.split(":")
    engine.api.import_image_from_data(archive, repository=repository, tag=tag)
    yield name
    engine.images.remove(name, force=True)


@pytest.mark.docker
def test_the_repository_of_an_image(clones: Path, image: str, engine: Any, tmp_path: Path) -> None:
    instance = replace(instance_at(clones / "acme" / "tool", "main"), image=image)
    before = {container.id for container in engine.containers.list(all=True, ignore_removed=True)}
    repositories = Repositories(tmp_path / "cache", "image")
    assert dict(repositories.files(instance)) == FILES
    assert (
        repositories.read(
            replace(instance_at(clones / "acme" / "tool", "HEAD"), image=image), "src/tool.py"
        )
        == b"VALUE = 2\n"
    )
    assert not [
        one
        for one in engine.containers.list(all=True, ignore_removed=True)
        if one.id not in before and one.attrs["Config"]["Image"] == image
    ]
    assert sorted(os.listdir(tmp_path / "cache")) == ["acme__tool.git", "acme__tool.lock"]

    other = Repositories(tmp_path / "cache2", "image")
    with pytest.raises(RepositoryError, match=r"acme__tool-1: The row names no image"):
        other.tree(replace(instance, image=""))
    with pytest.raises(
        RepositoryError,
        match=r"acme__tool-1: Could not create a container of srl-tests:absent.* Pull or "
        r"build the image first",
    ):
        other.tree(replace(instance, image="srl-tests:absent"))
    with pytest.raises(RepositoryError, match=r"commit f{40} of acme/tool cannot be fetched"):
        other.tree(replace(instance, base_commit="f" * 40))
    assert sorted(os.listdir(tmp_path / "cache2")) == ["acme__tool.git", "acme__tool.lock"]


@pytest.mark.docker
def test_the_repository_of_an_image_that_is_fetched_first(
    clones: Path, archive: bytes, engine: Any, tmp_path: Path
) -> None:
    with serving(engine.version()["Arch"]) as registry:
        instance = replace(
            instance_at(clones / "acme" / "tool", "main"),
            image=registry.add_archive("repository", archive),
        )
        with pytest.raises(RepositoryError, match="Pull or build the image first"):
            Repositories(tmp_path / "cache", "image").tree(instance)
        with ImageBudget(1, tmp_path / "fetched_images.txt") as images:
            repositories = Repositories(tmp_path / "cache", "image", images=images)
            assert dict(repositories.files(instance)) == FILES
            absent = replace(
                instance, image=instance.image.replace("repository", "absent"), base_commit="f" * 40
            )
            with pytest.raises(
                RepositoryError, match=r"acme__tool-1: Could not fetch the image .*/absent:latest"
            ):
                repositories.tree(absent)
            engine.images.get(instance.image)
        with pytest.raises(docker.errors.ImageNotFound):
            engine.images.get(instance.image)


@pytest.mark.docker
def test_an_image_without_a_repository(
    engine: Any, base_image: str, clones: Path, tmp_path: Path
) -> None:
    instance = replace(instance_at(clones / "acme" / "tool", "main"), image=base_image)
    with pytest.raises(
        RepositoryError, match=r"holds no /testbed/\.git: take the repository from another source"
    ):
        Repositories(tmp_path / "cache", "image").tree(instance)

"""The repository inside an instance's own Docker image, read without starting anything."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import docker.errors

from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_envs.sandbox.engine import connect, engine_call
from srl_envs.sandbox.ownership import owner_labels, remove_container
from srl_envs.sandbox.protocol import SandboxError

GIT_FOLDER = "/testbed/.git"


@contextmanager
def objects_of_image(
    instance: SweBenchInstance, scratch: Path, git: Callable[..., bytes]
) -> Iterator[Path]:
    """A bare repository with only the git objects of the image.

    It has no settings, hooks or references of the image.

    Args:
        instance: Its ``image`` must be held by the engine.
        scratch: Folder with room for the objects; they are gone at the end.
        git: Runs a git command on a bare repository.

    Raises:
        SandboxError: Engine or image is missing, or the image has no repository.
    """
    if not instance.image:
        raise SandboxError(
            "The row names no image, because it is of the old schema: take the repository from"
            " another source."
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".image.") as folder:
        repository = Path(folder) / "objects.git"
        git(repository.parent, "init", "-q", "--bare", str(repository))
        with tempfile.TemporaryFile(dir=scratch) as archive:
            _copy_git_folder(instance.image, archive)
            archive.seek(0)
            _unpack_objects(archive, repository)
        yield repository


def _copy_git_folder(image: str, target: Any) -> None:
    client = connect()
    try:
        with engine_call(f"create a container of {image}"):
            container = client.api.create_container(
                image, ["true"], labels=owner_labels(), network_disabled=True
            )["Id"]
        try:
            with engine_call(f"read {GIT_FOLDER} of {image}"):
                try:
                    chunks, _ = client.api.get_archive(container, GIT_FOLDER)
                except docker.errors.NotFound:
                    raise SandboxError(
                        f"The image {image} holds no {GIT_FOLDER}: take the repository from another"
                        " source."
                    ) from None
                for chunk in chunks:
                    target.write(chunk)
        finally:
            remove_container(client, container)
    finally:
        client.close()


def _unpack_objects(archive: Any, repository: Path) -> None:
    """The regular files of ``objects``, and a shallow repository's boundary commits.

    These are the commits whose parents are missing.
    """
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
            wanted = parts == ("shallow",) or (
                parts[:1] == ("objects",) and parts[1:2] != ("info",) and ".." not in parts
            )
            content = tar.extractfile(member) if wanted and member.isreg() else None
            if content is not None:
                target = repository.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)

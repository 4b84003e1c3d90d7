"""Which image a trajectory's commands run in, and where in it.

Images of the built-in tasks are built on first use.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from srl_envs.errors import ConfigError
from srl_envs.sandbox import BASE_IMAGE, Sandbox, SandboxLimits
from srl_envs.sandbox.engine import connect, engine_answers
from srl_envs.sandbox.images import has_image, image_id, image_of_tree, sealed_image
from srl_envs.sandboxes import SandboxMaker
from srl_envs.swe.tasks.releases import GITIGNORE, base_tree
from srl_envs.swe.tasks.tasks import SweTask, load_task
from srl_envs.trajectory import Trajectory


def image_of(trajectory: Trajectory) -> str:
    """The image with the repository as it was when the trajectory began.

    It is named by the trajectory's metadata: ``image``, or ``task`` for a built-in
    task, whose image is built if the engine does not hold it. Where the metadata have a
    ``setup_patch``, or ``test_files`` that the agent must not see, an image with them
    applied is built of ``image``, with one commit.

    Raises:
        ConfigError: The trajectory names neither.
        SandboxError: The engine or an image is missing, or the set-up does not fit.
        InfrastructureError: The package index cannot be reached.
    """
    metadata = trajectory.metadata
    if "image" in metadata:
        image, made = str(metadata["image"]), set_up_image(trajectory)
        if made and not has_image(made):
            patch, hidden = _set_up(trajectory)
            sealed_image(image, made, workdir=workdir_of(trajectory), patch=patch, leave_out=hidden)
        return made or image
    if "task" not in metadata:
        raise ConfigError(
            f"Trajectory {trajectory.id!r} names no image to run its commands in: put one into its "
            "metadata as 'image', join the tasks that name it (tasks=..., --tasks), or use "
            "recorded observations."
        )
    return task_image(load_task(str(metadata["task"])))


def set_up_image(trajectory: Trajectory) -> str:
    """The name of the image that is built of a trajectory's ``image``; empty if none is.

    Raises:
        SandboxError: The engine cannot be reached, or does not hold ``image``.
    """
    patch, hidden = _set_up(trajectory)
    if "image" not in trajectory.metadata or not (patch or hidden):
        return ""
    base, workdir = image_id(str(trajectory.metadata["image"])), workdir_of(trajectory)
    content = json.dumps([base, workdir, patch, sorted(hidden)])
    return f"srl-setup:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def with_tests(trajectory: Trajectory) -> Trajectory:
    """The trajectory in its image as it is, for the hidden tests: without set-up."""
    without = {"setup_patch", "test_files"}
    if "task" in trajectory.metadata:
        without.add("image")  # another one serves the agent; the tests fit the task's own
    kept = {key: value for key, value in trajectory.metadata.items() if key not in without}
    return replace(trajectory, metadata=kept)


def workdir_of(trajectory: Trajectory) -> str:
    """The repository's folder in the image: ``workdir`` in the metadata, or ``/testbed``."""
    return str(trajectory.metadata.get("workdir") or "/testbed")


def sandbox_of(
    trajectory: Trajectory, maker: SandboxMaker, limits: SandboxLimits = SandboxLimits()
) -> Sandbox:
    """A clean sandbox of a trajectory's image, set up, its shell in the repository.

    Raises:
        ConfigError: See :func:`image_of`.
        SandboxError: The machinery failed.
    """
    return maker(
        image_of(trajectory),
        workdir=workdir_of(trajectory),
        limits=limits,
        startup=str(trajectory.metadata.get("startup") or ""),
    )


def task_image(task: SweTask) -> str:
    """The name of a built-in task's image, built from the source archive if the engine lacks it.

    Raises:
        SandboxError: The engine or the base image is missing.
        InfrastructureError: The package index cannot be reached.
    """
    name = _task_image_name(task)
    if not has_image(name):
        with tempfile.TemporaryDirectory(prefix="srl-task-") as scratch:
            image_of_tree(base_tree(task, cache_folder(), Path(scratch) / "tree"), name)
    return name


def images_at_hand(trajectories: Iterable[Trajectory]) -> bool:
    """Whether an engine answers that holds, or can build, the images of all these trajectories."""
    trajectories = list(trajectories)
    if (
        not all({"image", "task"} & set(trajectory.metadata) for trajectory in trajectories)
        or not engine_answers()
    ):
        return False
    client = connect()
    names = {
        _task_image_name(load_task(t.metadata["task"]))
        if "task" in t.metadata
        else t.metadata["image"]
        for t in trajectories
    }
    buildable = has_image(BASE_IMAGE, client) and all(
        "task" in trajectory.metadata for trajectory in trajectories
    )
    return buildable or all(has_image(name, client) for name in names)


def cache_folder() -> Path:
    """Where source archives are kept: ``srl`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "srl" / "swe_tasks"


def _set_up(trajectory: Trajectory) -> tuple[str, tuple[str, ...]]:
    """The patch that is applied to ``image``, and the files that the agent must not see."""
    metadata = trajectory.metadata
    hidden = metadata.get("test_files") or ()
    return str(metadata.get("setup_patch") or ""), tuple(map(str, hidden))


def _task_image_name(task: SweTask) -> str:
    content = hashlib.sha256(f"{task.base_sha256}\n{GITIGNORE}".encode()).hexdigest()
    return f"srl-task:{task.id}-{content[:8]}"

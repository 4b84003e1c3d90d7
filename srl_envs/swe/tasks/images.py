"""Which image a trajectory's commands run in, and where in it.

Images of the built-in tasks are built on first use.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from srl_envs.errors import ConfigError
from srl_envs.sandbox import BASE_IMAGE
from srl_envs.sandbox.engine import connect, engine_answers
from srl_envs.sandbox.images import has_image, image_of_tree
from srl_envs.swe.tasks import SweTask, base_tree, load_task
from srl_envs.swe.tasks.releases import GITIGNORE
from srl_envs.trajectory import Trajectory


def image_of(trajectory: Trajectory) -> str:
    """The image with the repository as it was when the trajectory began.

    It is named by the trajectory's metadata: ``image``, or ``task`` for a built-in
    task, whose image is built if the engine does not hold it.

    Raises:
        ConfigError: The trajectory names neither.
        SandboxError: The engine or the base image is missing.
        InfrastructureError: The package index cannot be reached.
    """
    if "image" in trajectory.metadata:
        return str(trajectory.metadata["image"])
    if "task" not in trajectory.metadata:
        raise ConfigError(
            f"Trajectory {trajectory.id!r} names no image to run its commands in: put one into its "
            "metadata as 'image', or use recorded observations."
        )
    return task_image(load_task(str(trajectory.metadata["task"])))


def workdir_of(trajectory: Trajectory) -> str:
    """The repository's folder in the image: ``workdir`` in the metadata, or ``/testbed``."""
    return str(trajectory.metadata.get("workdir") or "/testbed")


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


def _task_image_name(task: SweTask) -> str:
    content = hashlib.sha256(f"{task.base_sha256}\n{GITIGNORE}".encode()).hexdigest()
    return f"srl-task:{task.id}-{content[:8]}"

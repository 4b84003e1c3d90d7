"""Environments of software engineering whose images are fetched within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srl_envs.swe.env import SWEEnv
from srl_envs.swe.tasks.images import image_of, set_up_image
from srl_envs.trajectory import Trajectory

if TYPE_CHECKING:
    from srl_agent.rollouts.image_budget import ImageBudget

_MADE_HERE = "srl-"  # the base image, built-in tasks, set-ups: no registry has them


class HeldImageEnv(SWEEnv):
    """An environment of one task that keeps its image on the engine until it is closed.

    Args:
        images: Fetches it; None: it is there.
        settings: Of :class:`~srl_envs.swe.env.SWEEnv`; its only trajectory names the image.
    """

    def __init__(self, images: ImageBudget | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._images, self._held = images, ExitStack()

    def reset(self, **how: Any) -> Any:
        """See :class:`~srl_envs.env.ExpertStepEnv`; what the task needs is fetched first."""
        self._held.close()
        (task,) = self.trajectories
        image = fetched_image(task)
        if self._images is not None and image:
            self._held.enter_context(self._images.holding(image))
            if made := set_up_image(task):
                build = partial(image_of, task)
                self._held.enter_context(self._images.making(made, image, build))
        return super().reset(**how)

    def close(self) -> None:
        """Give back the sandbox, and then the image."""
        super().close()
        self._held.close()


def fetched_image(task: Trajectory) -> str:
    """The image that a registry has; empty if the task's is made on this machine."""
    image = str(task.metadata.get("image") or "")
    return "" if "task" in task.metadata or image.startswith(_MADE_HERE) else image


def image_budget(
    tasks: Sequence[Trajectory], sandbox: str, max_gib: float, ledger: Path
) -> ImageBudget | None:
    """What fetches the images of tasks; None if no image of theirs is fetched.

    Raises:
        SandboxError: No engine answers.
    """
    wanted = {image for task in tasks if (image := fetched_image(task))}
    if sandbox != "docker" or not wanted:
        return None
    from srl_agent.rollouts.image_budget import ImageBudget  # the engine's client is an extra

    images = ImageBudget(max_gib, ledger)
    images.log_need(wanted)
    return images

"""Sandboxes by name: who makes the place in which a model's commands run.

``"docker"`` and ``"bubblewrap"`` are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from srl_envs.errors import ConfigError
from srl_envs.registry import Registry

if TYPE_CHECKING:  # the engine's client takes its time to import
    from srl_envs.sandbox import Sandbox, SandboxLimits


class SandboxMaker(Protocol):
    """Gives a clean sandbox; whoever asked for it closes it."""

    def __call__(
        self, image: str, /, *, workdir: str, limits: SandboxLimits, startup: str
    ) -> Sandbox:
        """A sandbox of an image, its shell in the folder ``workdir``, bounded by ``limits``.

        Every new shell runs ``startup`` first, a command; an empty one is none.
        """


MakerT = TypeVar("MakerT", bound=SandboxMaker)


def _checked(name: str, maker: Any) -> SandboxMaker:
    if not callable(maker):
        raise ConfigError(f"The sandbox {name!r} is {maker!r}: give a function that makes one.")
    return maker  # type: ignore[no-any-return]


SANDBOXES: Registry[SandboxMaker] = Registry("sandbox", "srl_envs.sandboxes", _checked)
"""All makers of sandboxes by name."""


def register_sandbox(name: str) -> Callable[[MakerT], MakerT]:
    """Register a maker of sandboxes: a decorator of a :class:`SandboxMaker`.

    Args:
        name: A new name, for ``--sandbox``.

    Raises:
        ConfigError: The name is taken.
    """

    def decorated(maker: MakerT) -> MakerT:
        SANDBOXES.register(name, maker)
        return maker

    return decorated


@register_sandbox("docker")
def docker(image: str, /, *, workdir: str, limits: SandboxLimits, startup: str) -> Sandbox:
    """:class:`~srl_envs.sandbox.DockerSandbox`, of the engine at ``DOCKER_HOST``."""
    from srl_envs.sandbox import DockerSandbox

    return DockerSandbox(image, workdir=workdir, limits=limits, startup=startup)


@register_sandbox("bubblewrap")
def bubblewrap(image: str, /, *, workdir: str, limits: SandboxLimits, startup: str) -> Sandbox:
    """:class:`~srl_envs.sandbox.BubblewrapSandbox`, of the unpacked image of this name.

    Raises:
        SandboxError: The image was not unpacked; see
            :func:`~srl_envs.sandbox.bubblewrap_sandbox.unpacked_image`.
    """
    from srl_envs.sandbox.bubblewrap_sandbox import BubblewrapSandbox, unpacked_image

    return BubblewrapSandbox(unpacked_image(image), workdir=workdir, limits=limits, startup=startup)

"""The part of judging that runs beside an engine, on this machine or another one.

A process has one harness and one bound on images for each engine, made on first use.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srl_agent.evaluation.swebench.builtin import build_images
from srl_agent.evaluation.swebench.harness import Harness, HarnessSettings
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.rollouts.image_budget import ImageBudget
from srl_envs.errors import InfrastructureError
from srl_envs.sandbox.engine import engine_address
from srl_envs.sandbox.protocol import SandboxError

LOGS = ("report.json", "test_output.txt", "run_instance.log")
"""What the harness writes of an instance."""

_CACHE = Path("~/.cache/srl/swebench")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host judges.

    Attributes:
        folder: The run's; a host that is another machine keeps its files in its cache.
        is_here: Whether hosts see that folder.
        is_alone: Whether there is one engine only, that of ``DOCKER_HOST``.
        jobs: Instances at a time on each engine.
        harness: How patches are judged. Each try is another call of :func:`judge`.
        max_image_gib: What fetched images may take on each engine, in GiB.
    """

    folder: str
    is_here: bool
    is_alone: bool
    jobs: int
    harness: HarnessSettings
    max_image_gib: float


class UnjudgedError(InfrastructureError):
    """The machinery failed; :attr:`judgement` says how, and is not a verdict."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement)  # so that it comes whole from another process
        self.judgement = judgement

    def __str__(self) -> str:
        return self.judgement.reason


class _Here:
    """What this process has for one engine."""

    def __init__(self, settings: HostSettings, address: str | None) -> None:
        key = hashlib.sha256(f"{settings.folder}\n{address}".encode()).hexdigest()[:12]
        self.folder = Path(settings.folder)
        if not settings.is_here:
            self.folder = _CACHE.expanduser() / key
            self.folder.mkdir(parents=True, exist_ok=True)
        ledger = "fetched_images.txt" if settings.is_alone else f"fetched_images-{key}.txt"
        self.images = ImageBudget(settings.max_image_gib, self.folder / ledger)
        self._settings = settings
        self._harness: Harness | None = None
        self._lock = threading.Lock()

    def harness(self) -> Harness:
        """The harness, made when it is needed: reading images needs none."""
        with self._lock:
            if self._harness is None:
                self._harness = Harness(
                    self.folder / "harness", self._settings.jobs, self._settings.harness
                )
            return self._harness

    def close(self) -> None:
        """End what is being judged or fetched, and remove fetched images."""
        self.images.stop()
        if self._harness is not None:
            self._harness.close()
        self.images.__exit__()


_HERE: dict[tuple[str | None, HostSettings], _Here] = {}
_MAKING = threading.Lock()


def _here(settings: HostSettings) -> _Here:
    address = engine_address()
    with _MAKING:
        if (address, settings) not in _HERE:
            _HERE[address, settings] = _Here(settings, address)
        return _HERE[address, settings]


def images_of(settings: HostSettings) -> ImageBudget:
    """The images of this engine."""
    return _here(settings).images


def image_id(settings: HostSettings, image: str) -> str:
    """The engine's id of an image; empty if it is not there."""
    return images_of(settings).id_of(image)


def prepare(settings: HostSettings, images: Sequence[str], builtin: Sequence[str]) -> None:
    """Get an engine ready: say what must be fetched, and build what can be built.

    Args:
        settings: How to judge.
        images: All that instances need.
        builtin: Ids of built-in instances, whose images are built.

    Raises:
        MissingDependencyError: swebench is not installed.
        InfrastructureError: The engine or the package index failed.
    """
    here = _here(settings)
    here.harness()
    build_images(builtin)
    here.images.log_need(images)


def judge(
    settings: HostSettings, row: Mapping[str, Any], patch: str, model: str
) -> tuple[Judgement, dict[str, bytes]]:
    """Judge one patch; the verdict, and the harness's files if the run's folder is elsewhere.

    Raises:
        UnjudgedError: The machinery failed.
        SandboxError: The image cannot be fetched.
    """
    here = _here(settings)
    verdict: Judgement | None = None
    try:
        with here.images.holding(str(row["image"])) as identity:
            verdict = here.harness().judge(row, patch, model, identity)
    except SandboxError:  # once there is a verdict, of an image that cannot be removed
        if verdict is None:
            raise
    if verdict.outcome == "infrastructure_failure":
        raise UnjudgedError(verdict)
    if settings.is_here or not verdict.log:
        return verdict, {}
    log = Path(verdict.log)
    files = {name: (log / name).read_bytes() for name in LOGS if (log / name).is_file()}
    relative = log.relative_to((here.folder / "harness").resolve())
    return replace(verdict, log=str(relative)), files


def close(settings: HostSettings) -> None:
    """End what this process has for this engine; nothing if it has nothing."""
    with _MAKING:
        here = _HERE.pop((engine_address(), settings), None)
    if here is not None:
        here.close()

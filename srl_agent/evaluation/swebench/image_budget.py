"""Images fetched, used and removed within a bound, so that 500 instances do not need terabytes."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker.errors

from srl_envs.sandbox.engine import connect, engine_call

GIB = 1024**3


class ImageBudget:
    """Fetches images when they are needed, and removes those that it fetched when they take more than the bound.

    Images that were there before are used and stay. The size of an image is known only once it is there: a fetch waits until what was fetched takes less than
    the bound, so that the disk holds at most the bound and the images that are being fetched. Layers that images share are counted with each of them.

    Args:
        max_gib: Of all fetched images together, in GiB.
        deadline: Seconds that the engine may be silent while it fetches.
    """

    def __init__(self, max_gib: float, deadline: float = 1800.0) -> None:
        self.max_bytes = int(max_gib * GIB)
        self._client = connect(deadline)
        self._fetched: OrderedDict[str, int] = OrderedDict()  # name -> size; the least recently used first
        self._users: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._fetching: dict[str, threading.Lock] = {}

    @property
    def held_bytes(self) -> int:
        """Size of all images that were fetched and not removed yet."""
        return sum(self._fetched.values())

    @contextmanager
    def holding(self, image: str) -> Iterator[None]:
        """The image is there in the body of the ``with``; several threads may hold the same one.

        Raises:
            SandboxError: It cannot be fetched.
        """
        with self._changed:
            self._users[image] += 1
            lock = self._fetching.setdefault(image, threading.Lock())
        try:
            with lock:
                if not self._size(image):
                    self._wait_for_room()
                    self._fetch(image)
            yield
        finally:
            with self._changed:
                self._users[image] -= 1
                if image in self._fetched:
                    self._fetched.move_to_end(image)
                self._make_room(self.max_bytes)
                self._changed.notify_all()

    def close(self) -> None:
        """Remove all images that were fetched and are not in use."""
        with self._changed:
            self._make_room(-1)
        self._client.close()

    def _wait_for_room(self) -> None:
        with self._changed:
            self._make_room(self.max_bytes - 1)
            self._changed.wait_for(lambda: self.held_bytes < self.max_bytes or not any(self._users[name] for name in self._fetched))
            self._make_room(self.max_bytes - 1)

    def _fetch(self, image: str) -> None:
        name, tag = (image, "latest") if ":" not in image.rsplit("/", 1)[-1] else image.rsplit(":", 1)
        with engine_call(f"fetch the image {image}"):
            self._client.images.pull(name, tag=tag)
        with self._changed:
            self._fetched[image] = self._size(image)

    def _make_room(self, target: int) -> None:
        """Remove unused images, the longest unused first, until the others take no more than the target; the caller holds the lock."""
        for image in list(self._fetched):
            if self.held_bytes <= target:
                return
            if not self._users[image]:
                with engine_call(f"remove the image {image}"):
                    try:
                        self._client.api.remove_image(image)
                    except docker.errors.APIError as error:
                        if error.status_code not in (404, 409):  # gone, or somebody else uses it
                            raise
                del self._fetched[image]

    def _size(self, image: str) -> int:
        """In bytes; 0 if it is not there."""
        with engine_call(f"look for the image {image}"):
            try:
                size: Any = self._client.api.inspect_image(image)["Size"]
            except docker.errors.ImageNotFound:
                return 0
        return max(1, int(size))

"""Images fetched, used and removed within a bound, so that 500 instances do not need terabytes."""

from __future__ import annotations

import logging
import math
import re
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker.errors
from docker.utils import parse_repository_tag

from srl_agent.runs.files import replace_file
from srl_envs.sandbox.engine import connect, engine_call
from srl_envs.sandbox.protocol import SandboxError

GIB = 1024**3
_RATE_LIMIT = re.compile(r"toomanyrequests|rate limit|too many requests|\b429\b", re.IGNORECASE)
_logger = logging.getLogger(__name__)


class ImageBudget:
    """Fetches images on demand and keeps them within a disk bound; a context manager.

    When fetched images exceed the bound, some of them are removed.

    Images that were there before are used and stay. The size of an image is known only
    once it is there: a fetch waits until what was fetched takes less than the bound, so
    that the disk holds at most the bound and the images that are being fetched. Layers
    that images share are counted with each of them.

    Args:
        max_gib: Of all fetched images together, in GiB.
        ledger: File that names what was fetched and not removed yet. What a killed
            process left is taken over from it.
        deadline: Seconds that the engine may be silent while it fetches.
        first_pause: Seconds before a fetch that the registry refused for its rate limit
            is tried again; each further pause is twice as long. Registries count for
            hours.
        longest_pause: Seconds; after a pause as long as this the refusal is final.

    Raises:
        SandboxError: No engine answers.
    """

    def __init__(
        self,
        max_gib: float,
        ledger: Path,
        deadline: float = 1800.0,
        *,
        first_pause: float = 60.0,
        longest_pause: float = 4 * 3600.0,
    ) -> None:
        self.max_bytes = int(max_gib * GIB)
        self._client, self._ledger = connect(deadline), ledger
        left = ledger.read_text(encoding="utf-8").split() if ledger.is_file() else []
        self._fetched = OrderedDict(
            (image, size) for image in left if (size := self._size(image))
        )  # the least recently used first
        self._users: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._fetching: dict[str, threading.Lock] = {}
        self._is_stopped = False
        self._first_pause, self._longest_pause = first_pause, longest_pause

    def __enter__(self) -> ImageBudget:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        with suppress(
            SandboxError
        ):  # the engine is gone: the next run removes what the ledger names
            self.close()

    @property
    def held_bytes(self) -> int:
        """Size of all images that were fetched and not removed yet."""
        return sum(self._fetched.values())

    def log_need(self, images: Collection[str]) -> None:
        """Log how many images must be fetched, and warn if the disk has less than the bound.

        Args:
            images: All that a run needs.
        """
        missing = [image for image in set(images) if not self.id_of(image)]
        if not missing:
            return
        with engine_call("ask the engine for its folder"):
            root = Path(str(self._client.info()["DockerRootDir"]))
        free = shutil.disk_usage(root).free / GIB if root.is_dir() else math.inf
        bound = self.max_bytes / GIB
        level = logging.WARNING if free < bound else logging.INFO
        _logger.log(
            level,
            "%d of %d images must be fetched. They may take %.0f GiB at a time"
            " (--max_image_disk_gb), and %s has %.0f GiB free.",
            len(missing),
            len(set(images)),
            bound,
            root,
            free,
        )

    @contextmanager
    def holding(self, image: str) -> Iterator[str]:
        """The image is there in the body of the ``with``; several threads may hold the same one.

        Yields:
            The engine's id of it.

        Raises:
            SandboxError: It cannot be fetched, or :meth:`stop` was called.
        """
        with self._in_use(image, lambda: self._fetch(image)):
            yield self.id_of(image)

    @contextmanager
    def making(self, image: str, of: str, make: Callable[[], object]) -> Iterator[None]:
        """An image that is built on one in use is there in the body of the ``with``.

        It is built if it is not there, and removed as a fetched one is. It waits for no
        room: what it is built on would not make any.

        Args:
            image: Its name.
            of: The image that it is built on; the caller holds it.
            make: Builds it.
        """

        def build() -> None:
            self._get(image, make, lambda: max(1, self._size(image) - self._size(of)))

        with self._in_use(image, build):
            yield

    @contextmanager
    def _in_use(self, image: str, get: Callable[[], None]) -> Iterator[None]:
        with self._changed:
            self._users[image] += 1
            lock = self._fetching.setdefault(image, threading.Lock())
        try:
            with lock:
                if not self._size(image):
                    get()
            yield
        finally:
            with self._changed:
                self._users[image] -= 1
                if image in self._fetched:
                    self._fetched.move_to_end(image)
                self._make_room(self.max_bytes)
                self._changed.notify_all()

    def stop(self) -> None:
        """Fetch no more: whoever waits for an image, or for room, gives up."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Remove all images that were fetched and are not in use."""
        with self._changed:
            self._make_room(-1)
        self._client.close()

    def _wait_for_room(self) -> None:
        with self._changed:
            self._make_room(self.max_bytes - 1)
            self._changed.wait_for(
                lambda: (
                    self._is_stopped
                    or self.held_bytes < self.max_bytes
                    or not any(self._users[name] for name in self._fetched)
                )
            )
            self._make_room(self.max_bytes - 1)

    def _fetch(self, image: str) -> None:
        """Fetch in a separate thread.

        A registry may be silent for long, and a program that ends does not wait for it.
        """

        def fetch() -> None:
            done: Future[None] = Future()
            threading.Thread(
                target=self._pull, args=(image, done), name=f"fetch {image}", daemon=True
            ).start()
            with self._changed:
                self._changed.wait_for(lambda: done.done() or self._is_stopped)
            if not done.done():
                raise SandboxError(f"Fetching the image {image} was broken off.")
            done.result()

        self._wait_for_room()
        self._get(image, fetch, lambda: self._size(image))

    def _get(self, image: str, get: Callable[[], object], size: Callable[[], int]) -> None:
        """Note what is fetched or built; its size is known once it is there."""
        with self._changed:
            # Named on disk before it is there, so that a kill leaves nothing unnamed.
            self._fetched[image] = 0
            self._write_ledger()
        try:
            get()
            taken = size()
        except BaseException:
            with self._changed:
                del self._fetched[image]
                self._write_ledger()
            raise
        with self._changed:
            self._fetched[image] = taken

    def _pull(self, image: str, done: Future[None]) -> None:
        try:
            pause = self._first_pause
            while not self._is_stopped:
                try:
                    self._pull_once(image)
                    break
                except SandboxError as error:
                    if not _RATE_LIMIT.search(str(error)) or pause > self._longest_pause:
                        raise
                    _logger.warning("%s Trying again in %.0f s.", error, pause)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_stopped, timeout=pause)
                pause *= 2
            done.set_result(None)
        except SandboxError as error:
            done.set_exception(error)
        with self._changed:
            self._changed.notify_all()

    def _pull_once(self, image: str) -> None:
        name, tag = parse_repository_tag(image)  # the tag may be a digest
        with engine_call(f"fetch the image {image}"):
            for step in self._client.api.pull(name, tag=tag or "latest", stream=True, decode=True):
                # Of a layer, or of a full disk: the answer had begun, so its status says nothing.
                if "error" in step:
                    raise SandboxError(f"Could not fetch the image {image}: {step['error']}")
                if self._is_stopped:
                    break

    def _make_room(self, target: int) -> None:
        """Remove unused images, the least recently used first.

        Stops when the rest takes no more than the target; the caller must have the
        lock.
        """
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
                self._write_ledger()

    def _write_ledger(self) -> None:
        replace_file(self._ledger, "".join(f"{image}\n" for image in self._fetched).encode())

    def id_of(self, image: str) -> str:
        """The engine's id of an image; empty if it is not there."""
        return str(self._inspected(image).get("Id", ""))

    def _size(self, image: str) -> int:
        """In bytes; 0 if it is not there."""
        found = self._inspected(image)
        return max(1, int(found["Size"])) if found else 0

    def _inspected(self, image: str) -> dict[str, Any]:
        with engine_call(f"look for the image {image}"):
            try:
                return dict(self._client.api.inspect_image(image))
            except docker.errors.ImageNotFound:
                return {}

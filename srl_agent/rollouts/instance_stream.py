"""An endless, seeded stream of training instances whose whole state is one number."""

from __future__ import annotations

import numpy as np


class InstanceStream:
    """Walks through ``0 .. size-1`` in a new random order each epoch.

    Every process holds the same stream and takes the same numbers from it; a process
    picks its share afterwards.

    Args:
        size: How many instances there are; at least 1.
        seed: Decides the orders.
        shuffle: False walks through them as they stand.

    Attributes:
        position: How many have been drawn; setting it moves the stream there.
    """

    def __init__(self, size: int, seed: int, shuffle: bool = True) -> None:
        if size < 1:
            raise ValueError("a stream needs at least one instance")
        self.size, self.seed, self.shuffle, self.position = size, seed, shuffle, 0
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def epoch(self) -> float:
        """How often the whole set has been drawn."""
        return self.position / self.size

    def take(self, count: int) -> list[int]:
        """The next ``count`` indices."""
        drawn = []
        for _ in range(count):
            epoch, place = divmod(self.position, self.size)
            drawn.append(int(self._order_of(epoch)[place]) if self.shuffle else place)
            self.position += 1
        return drawn

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(self.size))
        return self._order[1]

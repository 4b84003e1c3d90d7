"""An endless, seeded stream of training instances whose whole state is one number.

Also the prompts of these instances that are short enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from srl_agent.inference.chat import ChatEncoder, Prompt
from srl_agent.rollouts.scorers import Instance
from srl_envs.errors import ConfigError
from srl_envs.response import ResponseFormat


class InstanceStream:
    """Walks through ``0 .. size-1`` in a new random order each epoch.

    Every process holds the same stream and takes the same numbers from it; a process
    picks its share afterwards.

    Args:
        size: How many instances there are; at least 1.
        seed: Decides the orders.
        shuffle: False walks through them in order.

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


class PromptStream:
    """The instances of a stream with their prompts, without prompts that are too long.

    Args:
        instances: What the stream's numbers are indices of.
        stream: Decides the order.
        chat: Of the model.
        format: Which shape answers must have.
        max_length: The most tokens of a prompt; None sets no limit.

    Attributes:
        skipped: How many prompts were too long so far.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        stream: InstanceStream,
        chat: ChatEncoder,
        format: ResponseFormat | None,
        max_length: int | None,
    ) -> None:
        self.instances, self.stream, self.max_length = instances, stream, max_length
        self._chat, self._format = chat, format
        self.skipped = 0

    def take(self, count: int) -> list[tuple[Instance, Prompt]]:
        """The next ``count`` instances whose prompts are short enough.

        Raises:
            ConfigError: No prompt is.
        """
        drawn: list[tuple[Instance, Prompt]] = []
        skipped = 0
        while len(drawn) < count:
            instance = self.instances[self.stream.take(1)[0]]
            prompt = self._chat(instance.messages, self._format)
            if self.max_length is None or len(prompt.ids) <= self.max_length:
                drawn.append((instance, prompt))
                skipped = 0
                continue
            self.skipped += 1
            skipped += 1
            if skipped >= self.stream.size:
                raise ConfigError(
                    f"Every prompt has more than max_prompt_length = {self.max_length} tokens:"
                    " raise it."
                )
        return drawn

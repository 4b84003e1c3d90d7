"""GPUs of other machines that a run can be planned for.

It imports nothing large, so that a wrong name is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from srl_envs.errors import ConfigError

_GIB = 2**30
_MOST_GIB = 10_000


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU.

    Attributes:
        gib: What programs can use of its memory.
        tflops: Dense bf16, as its maker says.
        bandwidth: Of its memory, GB/s.
    """

    gib: float
    tflops: float
    bandwidth: float


CARDS = {
    "a10g": Card(22, 70, 600),
    "l4": Card(22, 121, 300),
    "rtx4090": Card(23.5, 165, 1008),
    "a100-40": Card(39.4, 312, 1555),
    "l40s": Card(44.4, 362, 864),
    "a100": Card(79.2, 312, 2039),
    "h100": Card(79.2, 989, 3350),
    "h200": Card(139.8, 989, 4800),
    "b200": Card(178, 2250, 8000),
}
"""What ``--gpu`` takes."""


def room_of(gpu: str) -> int:
    """Bytes of a GPU, by a name of :data:`CARDS` or its GiB.

    Raises:
        ConfigError: Neither.
    """
    if card := CARDS.get(gpu.lower()):
        return int(card.gib * _GIB)
    try:
        gib = float(gpu)
    except ValueError:
        gib = 0.0
    if not 0 < gib <= _MOST_GIB:
        raise ConfigError(
            f"gpu is {gpu!r}: use one of {', '.join(CARDS)}, or the GiB that one GPU has, at"
            f" most {_MOST_GIB:,}."
        )
    return int(gib * _GIB)

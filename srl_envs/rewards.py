"""Rewards by name: how similar a model's action is to the expert's, from 0 to 1.

``"similarity"`` is the paper's. A malformed answer is not scored here: its reward is
always -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from srl_envs.errors import ConfigError
from srl_envs.registry import Registry

Reward = Callable[[str, str], float]
"""Takes the model's action and the expert's, both stripped; returns a similarity in [0, 1]."""

RewardT = TypeVar("RewardT", bound=Reward)


def _checked(name: str, reward: Any) -> Reward:
    if not callable(reward):
        raise ConfigError(f"The reward {name!r} is {reward!r}: give a function of two texts.")
    return reward  # type: ignore[no-any-return]


REWARDS: Registry[Reward] = Registry("reward", "srl_envs.rewards", _checked)
"""All rewards by name."""


def register_reward(name: str) -> Callable[[RewardT], RewardT]:
    """Register a reward: a decorator. ``--reward NAME`` then trains with it.

    >>> @register_reward("same_length")
    ... def same_length(model: str, expert: str) -> float:
    ...     return float(len(model) == len(expert))

    Args:
        name: A new name.

    Returns:
        A decorator of a function like :data:`Reward`.

    Raises:
        ConfigError: The name is taken.
    """

    def decorated(reward: RewardT) -> RewardT:
        REWARDS.register(name, reward)
        return reward

    return decorated


def rewarded(name: str, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The named reward of each (model, expert) pair.

    Raises:
        ConfigError: There is no such reward, or it gave a value outside [0, 1].
    """
    reward = REWARDS.named(name)
    values = [float(reward(model, expert)) for model, expert in pairs]
    for value in values:
        if not 0 <= value <= 1:  # so is NaN refused
            raise ConfigError(f"The reward {name!r} gave {value}: it must be from 0 to 1.")
    return values

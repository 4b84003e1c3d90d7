"""Rewards by name: how similar a model's action is to the expert's, from 0 to 1.

``"similarity"`` is the paper's. ``"execution"`` runs both commands and compares what came
of them. A malformed answer is not scored here: its reward is always -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar

from srl_envs.errors import ConfigError
from srl_envs.registry import Registry
from srl_envs.trajectory import Trajectory

Reward = Callable[[str, str], float]
"""Takes the model's action and the expert's, both stripped; returns a similarity in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A well-formed answer to one step, for rewards that look at the state.

    Attributes:
        action: The model's action, whole.
        scored: The part of it that a similarity compares.
        expert: The same part of the expert's action.
        trajectory: The expert's.
        index: Of the step, from 0: the expert's steps before it made the state.
    """

    action: str
    scored: str
    expert: str
    trajectory: Trajectory
    index: int


@dataclass(frozen=True, slots=True)
class StateReward:
    """A reward that needs the state in which an action was written, not only two texts.

    Attributes:
        score: Takes a sequence of :class:`Attempt` and the
            :class:`~srl_envs.reward.RewardSettings`; returns a list of values in [0, 1].
            Either the function, or its place as ``"module:name"``, which is imported
            when it is first used.
        check: Takes trajectories and the settings, and raises
            :class:`~srl_envs.errors.ConfigError` where they do not fit; written alike.
    """

    score: Callable[..., list[float]] | str
    check: Callable[..., None] | str


RewardT = TypeVar("RewardT", bound=Reward | StateReward)


def _checked(name: str, reward: Any) -> Reward | StateReward:
    if not isinstance(reward, StateReward) and not callable(reward):
        raise ConfigError(f"The reward {name!r} is {reward!r}: give a function of two texts.")
    return reward  # type: ignore[no-any-return]


REWARDS: Registry[Reward | StateReward] = Registry("reward", "srl_envs.rewards", _checked)
"""All rewards by name."""


def register_reward(name: str) -> Callable[[RewardT], RewardT]:
    """Register a reward: a decorator. ``--reward NAME`` then trains with it.

    >>> @register_reward("same_length")
    ... def same_length(model: str, expert: str) -> float:
    ...     return float(len(model) == len(expert))

    Args:
        name: A new name.

    Returns:
        A decorator of a function like :data:`Reward`; call it to register a
        :class:`StateReward`.

    Raises:
        ConfigError: The name is taken.
    """

    def decorated(reward: RewardT) -> RewardT:
        REWARDS.register(name, reward)
        return reward

    return decorated


def rewarded(
    name: str,
    pairs: Sequence[tuple[str, str]],
    attempts: Sequence[Attempt] | None = None,
    settings: object = None,
) -> list[float]:
    """The named reward of each (model, expert) pair.

    Args:
        name: A registered one.
        pairs: What is compared.
        attempts: The same with their states; None where these are unknown.
        settings: Handed to a :class:`StateReward`.

    Raises:
        ConfigError: There is no such reward, it needs the states, or it gave a value
            outside [0, 1].
        InfrastructureError: The machinery of a :class:`StateReward` failed.
    """
    reward = REWARDS.named(name)
    if not isinstance(reward, StateReward):
        values = [float(reward(model, expert)) for model, expert in pairs]
    elif attempts is None:
        raise ConfigError(
            f"The reward {name!r} needs the state of each step: give at=[(trajectory, index), ...]."
        )
    else:
        values = list(_function(reward.score)(attempts, settings))
    for value in values:
        if not 0 <= value <= 1:  # so is NaN refused
            raise ConfigError(f"The reward {name!r} gave {value}: it must be from 0 to 1.")
    return values


def needs_state(name: str) -> bool:
    """Whether the named reward looks at the state in which an action was written."""
    return isinstance(REWARDS.named(name), StateReward)


def check_reward(name: str, trajectories: Sequence[Trajectory], settings: object) -> None:
    """Check, before any work, that a reward can score the steps of these trajectories.

    Raises:
        ConfigError: It cannot.
    """
    reward = REWARDS.named(name)
    if isinstance(reward, StateReward):
        _function(reward.check)(trajectories, settings)


def _function(given: Callable[..., Any] | str) -> Callable[..., Any]:
    return resolve_name(given) if isinstance(given, str) else given

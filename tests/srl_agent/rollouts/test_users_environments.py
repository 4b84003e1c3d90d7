"""A user's environment that does something wrong: refused, or its own episode is left out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from test_episodes import Counter, Scripted

from srl_agent.rollouts.episode_records import Episode, EpisodeLimits
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.places import Task
from srl_envs.errors import ConfigError

UP = "<think></think>up"


class Odd(Counter):
    """Counts, but gives back something else at its start or in its first step."""

    def __init__(self, reset: Any = None, step: Any = None) -> None:
        super().__init__()
        self._reset, self._step = reset, step

    def reset(self, **how: Any) -> Any:
        right = super().reset(**how)
        return right if self._reset is None else self._reset

    def step(self, action: str) -> Any:
        right = super().step(action)
        return right if self._step is None else self._step


def beside_a_good_one(make: Callable[[], Any]) -> Episode:
    """The episode of this environment, which holds up no other."""
    policy = Scripted(lambda text, turn: UP)
    odd, good = Episodes(policy).roll_out([Task("odd", make), Task("good", Counter)])
    assert (good.end, good.reward) == ("ended", 1.0)
    return odd


def masked(make: Callable[[], Any], message: str) -> None:
    odd = beside_a_good_one(make)
    assert (odd.end, odd.reward, odd.outcome) == ("machinery", None, None)
    assert message in odd.failure


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        ("ok", "Odd gave a str in reset: it must be (observation, info)"),
        (np.zeros(2), "a ndarray in reset"),
        (("a", {}, 1), "3 values in reset"),
        ((np.zeros(2), {}), "an observation of type ndarray"),
        ((None, {}), "an observation of type NoneType"),
        (("a", None), "info None in reset"),
        (("a", {"messages": "Go."}), "info[\"messages\"] 'Go.'"),
        (("a", {"messages": []}), 'info["messages"] []'),
        (("a", {"messages": [{"role": "user", "content": None}]}), 'info["messages"]'),
    ],
)
def test_a_wrong_start_is_a_failure_of_the_machinery(reset: Any, message: str) -> None:
    masked(partial(Odd, reset=reset), message)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (("a", 1.0, True, {}), "4 values in step: it must be (observation, reward, terminated, "),
        ("done", "a str in step"),
        (("a", "1.0", True, False, {}), "the reward '1.0': it must be a finite number"),
        (("a", None, True, False, {}), "the reward None"),
        (("a", float("nan"), True, False, {}), "the reward nan"),
        (("a", np.inf, True, False, {}), "the reward inf"),
        (("a", np.zeros(2), True, False, {}), "the reward array"),
        (("a", 1.0, "False", False, {}), "terminated 'False': it must be true or false"),
        (("a", 1.0, False, None, {}), "truncated None"),
        (("a", 1.0, True, False, {"correct": "no"}), "info[\"correct\"] 'no'"),
        (("a", 1.0, True, False, []), "info [] in step"),
        ((1, 1.0, True, False, {}), "an observation of type int"),
    ],
)
def test_a_wrong_step_is_a_failure_of_the_machinery(step: Any, message: str) -> None:
    masked(partial(Odd, step=step), message)


@pytest.mark.parametrize(
    ("reward", "value"), [(1, 1.0), (True, 1.0), (np.float32(0.5), 0.5), (np.array(2.0), 2.0)]
)
def test_any_finite_number_is_a_reward(reward: Any, value: float) -> None:
    step = ("a", reward, np.True_, False, {"correct": None})
    odd = beside_a_good_one(partial(Odd, step=step))
    assert (odd.end, odd.reward, odd.outcome.correct) == ("ended", value, None)


@pytest.mark.parametrize("error", [RuntimeError("no display"), SystemExit(2)])
def test_one_that_cannot_be_made_or_exits_is_a_failure_of_the_machinery(
    error: BaseException,
) -> None:
    def raising(*_: Any) -> None:
        raise error

    name = type(error).__name__
    masked(raising, f"Making the environment of the task 'odd' raised {name}: {error}")
    masked(partial(Counter, raising), f"Counter.step raised {name}")


def test_one_that_never_ends_is_judged_at_its_bound() -> None:
    never = partial(Odd, step=("on", 0.25, False, False, {}))
    policy = Scripted(lambda text, turn: UP)
    (episode,) = Episodes(policy, EpisodeLimits(turns=5)).roll_out([Task("never", never)])
    assert (episode.end, episode.reward, len(episode.turns)) == ("turns", 1.25, 5)


def test_text_that_no_tokenizer_takes_is_mended() -> None:
    reset = ("a\ud800", {"messages": [{"role": "user", "content": "b\ud800"}]})
    policy = Scripted(lambda text, turn: UP)
    odd = partial(Odd, reset=reset, step=("c\ud800", 1.0, True, False, {}))
    (episode,) = Episodes(policy).roll_out([Task("odd", odd)])
    assert policy.asked == ["b\ufffd"] and episode.turns[0].observation == "c\ufffd"


def test_what_cannot_take_part_is_refused_before_any_answer() -> None:
    def refused(tasks: list[Task], message: str) -> None:
        policy = Scripted(lambda text, turn: UP)
        with pytest.raises(ConfigError, match=message):
            Episodes(policy).roll_out(tasks)
        assert not policy.asked

    refused([Task("none", lambda: None)], "task 'none' makes a NoneType")
    discrete = type("Lever", (Counter,), {"action_space": gym.spaces.Discrete(2)})
    refused([Task("lever", discrete)], r"Lever.action_space is Discrete\(2\)")


def test_one_environment_serves_one_episode_at_a_time() -> None:
    closed = threading.Event()

    class Shared(Counter):
        def close(self) -> None:
            closed.set()

    shared = Shared(lambda: None if closed.wait(60) else pytest.fail("it was not closed"))
    both = [Task("first", lambda: shared), Task("second", lambda: shared)]
    policy = Scripted(lambda text, turn: UP)
    with pytest.raises(ConfigError, match="one and the same Shared"):
        Episodes(policy).roll_out(both)
    for episode in Episodes(policy, EpisodeLimits(at_once=1)).roll_out(both):
        assert episode.reward == 1.0

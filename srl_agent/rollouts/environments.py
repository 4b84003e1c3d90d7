"""Environments as places of episodes: ours, or any of Gymnasium with texts in and out.

Where a user's environment raises, or gives back what Gymnasium does not allow, that is a
failure of the machinery. It ends this one episode only.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast
from weakref import WeakValueDictionary

import gymnasium as gym
from gymnasium import spaces

from srl_agent.rollouts.places import Outcome, Place, Seen, Task, conversation
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError, InfrastructureError, SRLError
from srl_envs.prompts.step import Message
from srl_envs.response import ResponseFormat, parse_response
from srl_envs.sandbox.output import valid_unicode

AGENT_SYSTEM_PROMPT = (
    "You act in an environment until your task is done. First think inside <think> </think>, "
    "freely and as long as you like. After </think>, write your next action and nothing else."
)
"""For a Gymnasium environment whose ``info`` has no ``messages``."""

_NOT_TEXTS = (
    *(spaces.Box, spaces.Dict, spaces.Discrete, spaces.Graph, spaces.MultiBinary),
    *(spaces.MultiDiscrete, spaces.OneOf, spaces.Sequence, spaces.Tuple),
)
_RESET = ("observation", "info")
_STEP = ("observation", "reward", "terminated", "truncated", "info")
_TAKING = threading.Lock()
_IN_USE: WeakValueDictionary[int, gym.Env[Any, Any]] = WeakValueDictionary()


def place_of(task: Task, format: ResponseFormat, history_turns: int) -> Place:
    """The place of one episode of a task.

    Args:
        task: What it is about.
        format: Which shape answers have.
        history_turns: For a Gymnasium environment: how many of the latest turns a prompt
            shows. Ours have a setting for it.

    Raises:
        ConfigError: The task does not make an environment, or makes one that cannot be
            used: one of ours without ``follow="agent"``, or another whose spaces are not
            of texts or that another episode uses.
        InfrastructureError: It cannot be made.
    """
    with _failures_in(f"Making the environment of the task {task.id!r}"):
        env = task.make()
    if not isinstance(env, gym.Env):
        raise ConfigError(
            f"The task {task.id!r} makes a {type(env).__name__}: give a function that makes a"
            " Gymnasium environment."
        )
    if not isinstance(env.unwrapped, ExpertStepEnv):
        return GymnasiumPlace(env, format, history_turns)
    if env.unwrapped.follow != "agent":
        raise ConfigError("follow is 'expert': an episode needs follow='agent'.")
    return ExpertStepPlace(env.unwrapped)


class ExpertStepPlace:
    """A place of our own environments.

    Args:
        env: With ``follow="agent"``.
    """

    def __init__(self, env: ExpertStepEnv) -> None:
        self._env = env

    def begin(self, task: Task) -> tuple[Message, ...]:
        """See :meth:`Place.begin`."""
        _, info = self._env.reset(seed=task.seed, options=dict(task.options) or None)
        return tuple(info["messages"])

    def act(self, text: str, truncated: bool) -> Seen:
        """See :meth:`Place.act`."""
        env = self._env
        has_step = env.expert_action is not None
        answer = env.read(text, truncated=truncated)
        score = env.score(answer)
        _, _, terminated, out_of_turns, info = env.advance(answer, score, verify=False)
        return Seen(
            tuple(info["messages"]),
            str(getattr(env.domain, "observation", "")),
            answer.response,
            score.similarity if has_step else None,
            ended=terminated or out_of_turns,
            out_of_turns=out_of_turns,
        )

    def outcome(self) -> Outcome:
        """See :meth:`Place.outcome`."""
        info = self._env.outcome()
        correct = info.get("correct")
        failing = tuple(info.get("failing_tests", ()))
        reward = None if correct is None else float(correct)
        return Outcome(reward, correct, failing, str(info.get("patch", "")))

    def close(self) -> None:
        """See :meth:`Place.close`."""
        self._env.close()


class GymnasiumPlace:
    """A place of any environment with text observations and text actions.

    The environment gets the action without the thought. A malformed answer does not
    reach it; the next prompt says so.

    Args:
        env: Of one episode alone. Its rewards are summed up. Where ``info`` has
            ``messages``, these are the prompt; ``info["correct"]`` is a verdict.
        format: Which shape answers have.
        history_turns: How many of the latest turns a prompt shows.

    Raises:
        ConfigError: Its spaces are not of texts, or another episode uses it.
    """

    def __init__(self, env: gym.Env[Any, Any], format: ResponseFormat, history_turns: int) -> None:
        self._env, self._format, self._history_turns = env, format, history_turns
        self._name = type(env.unwrapped).__name__
        self._start: list[Message] = []
        self._turns: list[tuple[str, str]] = []
        self._return, self._correct = 0.0, cast("bool | None", None)
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)  # a user's environment may declare none
            if isinstance(space, _NOT_TEXTS):
                raise ConfigError(
                    f"{self._name}.{name} is {space}: episodes need an environment whose"
                    " observations and actions are texts (gymnasium.spaces.Text)."
                )
        self._take()

    def _take(self) -> None:
        own = self._env.unwrapped
        with _TAKING:
            if id(own) in _IN_USE:
                raise ConfigError(
                    f"Two episodes were given one and the same {self._name}: a task's function"
                    " must make a new environment each time."
                )
            _IN_USE[id(own)] = own

    def begin(self, task: Task) -> tuple[Message, ...]:
        """See :meth:`Place.begin`."""
        with self._failures_in("reset"):
            result = self._env.reset(seed=task.seed, options=dict(task.options) or None)
            observation, info = self._parts("reset", result, _RESET)
            self._start = [
                {"role": "system", "content": AGENT_SYSTEM_PROMPT},
                {"role": "user", "content": self._text(observation)},
            ]
            return self._messages(info)

    def act(self, text: str, truncated: bool) -> Seen:
        """See :meth:`Place.act`."""
        response = parse_response(text, self._format, truncated=truncated)
        if response.error is not None:
            note = f"Your answer was malformed ({response.error}): nothing was done."
            self._turns.append((text, note))
            return Seen(self._messages({}), note, response)
        with self._failures_in("step"):
            result = self._env.step(response.action)
            observation, reward, terminated, out_of_turns, info = self._parts("step", result, _STEP)
            seen = self._text(observation)
            ended = self._flag("terminated", terminated)
            cut_off = self._flag("truncated", out_of_turns)
            self._return += self._number(reward)
            if info.get("correct") is not None:
                self._correct = self._flag('info["correct"]', info["correct"])
            self._turns.append((response.action, seen))
            return Seen(
                self._messages(info),
                seen,
                response,
                ended=ended or cut_off,
                out_of_turns=cut_off and not ended,
            )

    def outcome(self) -> Outcome:
        """See :meth:`Place.outcome`."""
        return Outcome(self._return, self._correct)

    def close(self) -> None:
        """See :meth:`Place.close`."""
        _IN_USE.pop(id(self._env.unwrapped), None)
        with self._failures_in("close"):
            self._env.close()

    # ------------------------------------------------- what the environment gives back

    def _messages(self, info: Mapping[str, Any]) -> tuple[Message, ...]:
        if "messages" not in info:
            shown = self._turns[max(0, len(self._turns) - self._history_turns) :]
            return conversation(self._start, shown)
        messages = info["messages"]
        if (
            not isinstance(messages, list | tuple)
            or not messages
            or not all(map(_is_one, messages))
        ):
            raise self._wrong(
                f'info["messages"] {_short(messages)}',
                "a list of dicts with texts role and content",
            )
        return tuple(
            {"role": one["role"], "content": valid_unicode(one["content"])} for one in messages
        )

    def _parts(self, method: str, result: Any, names: Sequence[str]) -> tuple[Any, ...]:
        if not isinstance(result, tuple) or len(result) != len(names):
            is_tuple = isinstance(result, tuple)
            found = f"{len(result)} values" if is_tuple else f"a {type(result).__name__}"
            raise self._wrong(f"{found} in {method}", f"({', '.join(names)})")
        if not isinstance(result[-1], Mapping):
            raise self._wrong(f"info {_short(result[-1])} in {method}", "a dict")
        return result

    def _text(self, observation: Any) -> str:
        if not isinstance(observation, str):
            raise self._wrong(f"an observation of type {type(observation).__name__}", "a text")
        return valid_unicode(observation)

    def _flag(self, name: str, value: Any) -> bool:
        if value not in (True, False):
            raise self._wrong(f"{name} {_short(value)}", "true or false")
        return bool(value)

    def _number(self, reward: Any) -> float:
        try:
            value = math.nan if isinstance(reward, str | bytes) else float(reward)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise self._wrong(f"the reward {_short(reward)}", "a finite number")
        return value

    def _wrong(self, given: str, wanted: str) -> InfrastructureError:
        return InfrastructureError(f"{self._name} gave {given}: it must be {wanted}.")

    def _failures_in(self, method: str) -> AbstractContextManager[None]:
        return _failures_in(f"{self._name}.{method}")


def _is_one(message: Any) -> bool:
    return isinstance(message, Mapping) and all(
        isinstance(message.get(key), str) for key in ("role", "content")
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def _failures_in(what: str) -> Iterator[None]:
    """Whatever a user's code raises, except our own errors, as InfrastructureError."""
    try:
        yield
    except SRLError:
        raise
    except (Exception, SystemExit) as error:
        raise InfrastructureError(f"{what} raised {type(error).__name__}: {error}") from error

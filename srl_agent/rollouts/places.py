"""Where an episode takes place: an environment of ours, or any with texts in and out.

A place says what the model reads next and what became of its answer. It verifies when it
is asked to, so that acting and verifying are timed apart and an episode that hits a bound
is verified as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import gymnasium as gym

from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError, InfrastructureError, SRLError
from srl_envs.prompts.step import Message
from srl_envs.response import Response, ResponseFormat, parse_response
from srl_envs.reward import response_rewards

AGENT_SYSTEM_PROMPT = (
    "You act in an environment until your task is done. First think inside <think> </think>, "
    "freely and as long as you like. After </think>, write your next action and nothing else."
)
"""Of a Gymnasium environment whose ``info`` has no ``messages``."""


@dataclass(frozen=True, slots=True)
class Task:
    """What an episode is about.

    Attributes:
        id: Unique among the tasks.
        make: Makes an environment for one episode, which closes it: one of ours with
            ``follow="agent"``, or any other with text observations and text actions.
        options: For its ``reset``.
        seed: For its ``reset``.
    """

    id: str
    make: Callable[[], gym.Env[Any, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer led to.

    Attributes:
        messages: The next prompt, if the episode goes on.
        observation: What the model saw of its action alone.
        response: The answer, parsed.
        similarity: To the expert's step; None if malformed or without such a step.
        ended: The episode is over.
        out_of_turns: It is over because the environment allows no further turn.
    """

    messages: tuple[Message, ...]
    observation: str
    response: Response
    similarity: float | None = None
    ended: bool = False
    out_of_turns: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an episode came to.

    Attributes:
        reward: The verdict as 1 or 0, or the sum of a Gymnasium environment's rewards;
            None where nobody can tell.
        correct: The verdict, where there is one.
        failing: Tests that should pass and do not.
        patch: What the agent changed, where tests judge a patch.
    """

    reward: float | None
    correct: bool | None = None
    failing: tuple[str, ...] = ()
    patch: str = ""


class Place(Protocol):
    """An environment during one episode; all of it may raise InfrastructureError."""

    def begin(self, task: Task) -> tuple[Message, ...]:
        """Start; the first prompt."""

    def act(self, text: str, truncated: bool) -> Seen:
        """Do what the answer says."""

    def outcome(self) -> Outcome:
        """Verify the episode as it stands, which ends it."""

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""


def place_of(env: gym.Env[Any, Any], format: ResponseFormat, history_turns: int) -> Place:
    """The place that an environment is.

    Args:
        env: Its episode is this place's.
        format: Which shape answers have.
        history_turns: Of a Gymnasium environment: how many of the latest turns a prompt
            shows. Ours have a setting for it.

    Raises:
        ConfigError: An environment of ours does not follow the agent.
    """
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
        (score,) = response_rewards(
            [answer.response], [answer.reading.scored], [answer.expert], env.reward_settings
        )
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
    reach it; the next prompt says so. What it raises is a failure of the machinery.

    Args:
        env: Its rewards are summed up. Where ``info`` has ``messages``, these are the
            prompt; ``info["correct"]`` is a verdict.
        format: Which shape answers have.
        history_turns: How many of the latest turns a prompt shows.
    """

    def __init__(self, env: gym.Env[Any, Any], format: ResponseFormat, history_turns: int) -> None:
        self._env, self._format, self._history_turns = env, format, history_turns
        self._start: list[Message] = []
        self._turns: list[tuple[str, str]] = []
        self._return, self._correct = 0.0, cast("bool | None", None)

    def begin(self, task: Task) -> tuple[Message, ...]:
        """See :meth:`Place.begin`."""
        with _failures_of(self._env, "reset"):
            observation, info = self._env.reset(seed=task.seed, options=dict(task.options) or None)
        self._start = [
            {"role": "system", "content": AGENT_SYSTEM_PROMPT},
            {"role": "user", "content": _text(observation)},
        ]
        return self._messages(info)

    def act(self, text: str, truncated: bool) -> Seen:
        """See :meth:`Place.act`."""
        response = parse_response(text, self._format, truncated=truncated)
        if response.error is not None:
            note = f"Your answer was malformed ({response.error}): nothing was done."
            self._turns.append((text, note))
            return Seen(self._messages({}), note, response)
        with _failures_of(self._env, "step"):
            observation, reward, terminated, out_of_turns, info = self._env.step(response.action)
        self._return += float(reward)
        self._correct = bool(info["correct"]) if "correct" in info else self._correct
        self._turns.append((response.action, _text(observation)))
        return Seen(
            self._messages(info),
            _text(observation),
            response,
            ended=terminated or out_of_turns,
            out_of_turns=out_of_turns and not terminated,
        )

    def outcome(self) -> Outcome:
        """See :meth:`Place.outcome`."""
        return Outcome(self._return, self._correct)

    def close(self) -> None:
        """See :meth:`Place.close`."""
        with _failures_of(self._env, "close"):
            self._env.close()

    def _messages(self, info: Mapping[str, Any]) -> tuple[Message, ...]:
        if "messages" in info:
            return tuple(info["messages"])
        shown = self._turns[max(0, len(self._turns) - self._history_turns) :]
        return conversation(self._start, shown)


def conversation(
    start: Sequence[Message], turns: Sequence[tuple[str, str]], go_on: str = "Go on."
) -> tuple[Message, ...]:
    """A first prompt, and after it each answer with what the model saw then.

    Args:
        start: The first prompt.
        turns: Answers with their observations.
        go_on: What is said where nothing was seen.
    """
    said: list[Message] = list(start)
    for answer, seen in turns:
        said.append({"role": "assistant", "content": answer})
        said.append({"role": "user", "content": seen or go_on})
    return tuple(said)


def _text(observation: Any) -> str:
    if not isinstance(observation, str):
        raise ConfigError(
            f"The environment's observation is a {type(observation).__name__}: episodes need an"
            " environment whose observations and actions are texts."
        )
    return observation


@contextmanager
def _failures_of(env: gym.Env[Any, Any], method: str) -> Iterator[None]:
    """Whatever the environment raises, except our own errors, as InfrastructureError."""
    try:
        yield
    except SRLError:
        raise
    except Exception as error:
        name = type(env.unwrapped).__name__
        raise InfrastructureError(
            f"{name}.{method} raised {type(error).__name__}: {error}"
        ) from error

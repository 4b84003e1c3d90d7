"""Where an episode takes place: the nouns; :mod:`srl_agent.rollouts.environments` makes one.

A place says what the model reads next and what became of its answer. It verifies when it
is asked to, so that acting and verifying are timed apart and an episode that hits a bound
is verified as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym

from srl_envs.prompts.step import Message
from srl_envs.response import Response


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

"""What evaluation asks of a language model, stated once: prompts in, completions out, whoever runs the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from srl_envs.prompts import Message

FinishReason = Literal["stop", "length"]
"""The model ended by itself (or wrote a stop string), or it was cut off at the token limit."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How completions are drawn.

    Attributes:
        max_new_tokens: At most this many tokens are written; at least 1.
        temperature: Of the softmax; 0 means greedy.
        top_p: Nucleus sampling, in (0, 1]; 1 keeps every token.
        stop: A completion ends before the first of these strings that it writes; none of them empty.
        seed: Decides every draw together with a request's own number; the same request gives the same completion again from the same backend,
            whatever else is asked beside it, as far as the backend can promise that.
    """

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    Attributes:
        messages: The conversation that the model answers, system message first if there is one.
        number: Tells samples of the same conversation apart: sample 0, 1, 2 ...
    """

    messages: tuple[Message, ...]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: Without special tokens and without the stop string.
        tokens: How many tokens were written, the end token included.
        finish: Why it ended.
    """

    text: str
    tokens: int
    finish: FinishReason


@runtime_checkable
class Generator(Protocol):
    """Runs a language model. ``tests/conformance`` puts any implementation through these promises."""

    name: str
    """Of the model, for reports."""

    def generate(self, requests: Sequence[Request], settings: GenerationSettings) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request, each as soon as it is finished: in any order, every index once.

        Raises:
            InfrastructureError: The model cannot be reached or failed; what was given before stays valid.
            ConfigError: The settings or a conversation do not fit the model (a prompt longer than its context, for example).
        """
        ...

    def close(self) -> None:
        """Free the model. A second call does nothing."""
        ...

"""What evaluation asks of a language model, whoever runs it: prompts in, completions out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message
from srl_envs.response import ResponseFormat

FinishReason = Literal["stop", "length", "context"]
"""Why a completion ended.

``stop``: the model ended it or wrote a stop string. ``length``: it reached the token limit
or the end of the context. ``context``: the prompt already filled the context.
"""


Batching = Literal["one", "engine", "server"]
"""How answers are written side by side; a generator says it as ``batching``, else ``one``.

``one``: a batch at a time, in the caller's thread. ``engine``: several batches may be open
in one thread, and each step of the engine serves all. ``server``: elsewhere, so a thread
may wait for each batch.
"""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How completions are drawn.

    Attributes:
        max_new_tokens: At most this many tokens are written; at least 1. A model whose
            context ends earlier is cut off there.
        temperature: Of the softmax; 0 means greedy.
        top_p: Nucleus sampling, in (0, 1]; 1 keeps every token.
        stop: A completion ends before the first of these strings that it writes; none
            of them empty.
        seed: Decides every draw together with a request's conversation and number, see
            :func:`request_seed`: the same request gives the same completion again from
            the same backend, whatever is asked beside it. What can still differ is
            arithmetic: side by side, a model's logits differ from those of a single
            prompt in their last bits, and a draw or a tie that hangs on such a bit
            falls the other way (hardly ever in fp32, now and then over a thousand
            tokens of bf16). Servers promise less: OpenAI calls its seed best effort.
    """

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}: give at least 1.")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}: give 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(
                f"top_p is {self.top_p}: give more than 0 and at most 1 (which keeps every token)."
            )
        if isinstance(self.stop, str) or "" in self.stop:
            raise ConfigError(
                f"stop is {self.stop!r}: give a tuple of strings, none of them empty."
            )


@dataclass(frozen=True, slots=True)
class Request:
    """One completion that is wanted.

    Attributes:
        messages: The conversation that the model answers, system message first if there
            is one.
        number: Tells samples of the same conversation apart: sample 0, 1, 2 ...
        format: Which shape the answer must have, and so how the prompt ends: see
            :class:`~srl_agent.inference.chat.ChatEncoder`. None leaves it to the chat
            template.
    """

    messages: tuple[Message, ...]
    number: int = 0
    format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: The whole answer, without special tokens and without the stop string. It
            begins with ``<think>`` where the prompt opened the think block, and holds
            the block where a server gives the thought apart.
        tokens: How many tokens were written, the end token included.
        finish: Why it ended; with ``"context"`` nothing was written.
        prompt_tokens: How many tokens the prompt took; None where nobody says.
    """

    text: str
    tokens: int
    finish: FinishReason
    prompt_tokens: int | None = field(default=None, compare=False)


@runtime_checkable
class Generator(Protocol):
    """Runs a language model. ``tests/conformance`` checks these promises on any implementation."""

    name: str
    """Of the model, for reports."""

    def generate(
        self, requests: Sequence[Request], settings: GenerationSettings
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with the index of their request, each as soon as it is finished.

        They come in any order, every index once.

        A prompt that leaves no room for an answer in the model's context gets an empty
        completion that says so: the others are answered. Several iterators may be open
        at once, in one thread; each gives its own completions.

        Raises:
            InfrastructureError: The model cannot be reached or failed; what was given
                before stays valid.
            ConfigError: The settings or a conversation do not fit the model (roles that
                its chat template refuses, for example).
        """
        ...

    def close(self) -> None:
        """Free the model. A second call does nothing."""
        ...


@runtime_checkable
class MeasuresPrompts(Protocol):
    """A generator that knows the tokenizer and the context of its model.

    It runs the model on this machine; one that asks a server does not know them.
    """

    context: int | None
    """Tokens of prompt and answer together, at most; None if the model does not say."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        ...

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation, with everything that the chat template adds."""
        ...


def request_seed(request: Request, seed: int) -> int:
    """A number in [0, 2**31), which every server takes, for one request.

    It depends on the run's seed, the conversation, and the sample's number.

    Without the conversation in it, sample 0 of every problem would be drawn with the
    same random numbers.
    """
    identity = json.dumps(
        [
            seed,
            request.number,
            [[message["role"], message["content"]] for message in request.messages],
        ]
    )
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big") >> 1


def before_stop(text: str, stop: Sequence[str]) -> str | None:
    """The text before the first of the stop strings, or None if there is none in it."""
    places = [place for string in stop if (place := text.find(string)) >= 0]
    return text[: min(places)] if places else None

"""Who answers in an episode: any ``Generator``, or a model with the sampler of training.

A policy takes all prompts that wait for an answer and gives each answer as soon as it is
written. What an answer draws depends on its own prompt and number, not on which prompts
are answered beside it: that changes with how long commands take.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from srl_agent.inference.chat import ChatEncoder
from srl_agent.inference.generator import (
    Batching,
    FinishReason,
    GenerationSettings,
    Generator,
    Request,
    request_seed,
)
from srl_agent.inference.sampling import SamplingSettings, write_rows


@dataclass(frozen=True, slots=True)
class Written:
    """An answer.

    Attributes:
        text: Whole, from the think block on that its prompt opened.
        tokens: How many were written, the end token included.
        finish: Why it ended; with ``"context"`` nothing was written.
        prompt_ids: The tokens that the model read; empty where a policy does not say.
        completion_ids: The tokens that it wrote; empty where a policy does not say.
        logps: The sampler's log-probability of each token, where it gives them.
    """

    text: str
    tokens: int
    finish: FinishReason
    prompt_ids: Sequence[int] = ()
    completion_ids: Sequence[int] = ()
    logps: Sequence[float | None] | None = None

    @property
    def truncated(self) -> bool:
        """Whether it ended before the model ended it."""
        return self.finish != "stop"


@dataclass(frozen=True, slots=True)
class Ask:
    """An answer that is wanted.

    Attributes:
        request: The whole conversation.
        after: The answer that stands before the conversation's last message, where the
            prompt goes on from that answer's tokens; None where it is written anew.
    """

    request: Request
    after: Written | None = None


class Policy(Protocol):
    """Answers the prompts of episodes."""

    batching: Batching

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        """Each answer with the index of its ask, as soon as it is written, every index once.

        Raises:
            InfrastructureError: The model cannot be reached or failed.
        """


class GeneratorPolicy:
    """Answers with a :class:`~srl_agent.inference.generator.Generator`.

    Args:
        generator: It stays its caller's to close.
        settings: How answers are drawn.
    """

    def __init__(self, generator: Generator, settings: GenerationSettings) -> None:
        self._generator, self._settings = generator, settings
        self.batching: Batching = getattr(generator, "batching", "one")

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        """See :meth:`Policy.write`."""
        for index, completion in self._generator.generate(
            [ask.request for ask in asks], self._settings
        ):
            yield index, Written(completion.text, completion.tokens, completion.finish)


class SamplerPolicy:
    """Answers with a model of transformers, and keeps the tokens for training.

    Args:
        model: What to sample from, in evaluation mode.
        tokenizer: Of the model.
        eos_token_ids: Any of these ends an answer.
        settings: How to draw.
        seed: Decides every draw together with an ask's conversation and number.
        context: Most tokens of a prompt with its answer; None sets no bound.
    """

    batching: Batching = "one"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        eos_token_ids: Sequence[int],
        settings: SamplingSettings,
        seed: int,
        context: int | None = None,
    ) -> None:
        self._model, self._tokenizer, self._eos = model, tokenizer, list(eos_token_ids)
        self._settings, self._seed, self._context = settings, seed, context
        self.chat = ChatEncoder(tokenizer)

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        """See :meth:`Policy.write`; prompts of similar length are written side by side."""
        prompts = [self._prompt(ask) for ask in asks]
        fitting = []
        for index, (ids, opened) in enumerate(prompts):
            if self._context is not None and len(ids) >= self._context:
                yield index, Written(opened, 0, "context", ids)
            else:
                fitting.append(index)
        fitting.sort(key=lambda index: -len(prompts[index][0]))
        size = self._settings.max_rows
        for start in range(0, len(fitting), size):
            yield from self._write(fitting[start : start + size], asks, prompts)

    def _write(
        self,
        batch: Sequence[int],
        asks: Sequence[Ask],
        prompts: Sequence[tuple[list[int], str]],
    ) -> Iterator[tuple[int, Written]]:
        different = {tuple(prompts[index][0]): place for place, index in enumerate(batch)}
        order = list(dict.fromkeys(different))
        owners = [order.index(tuple(prompts[index][0])) for index in batch]
        sources = [random.Random(request_seed(asks[index].request, self._seed)) for index in batch]
        most = self._settings.max_new_tokens
        room = [
            most if self._context is None else min(most, self._context - len(prompts[index][0]))
            for index in batch
        ]

        def uniforms(rows: Sequence[int]) -> torch.Tensor:
            drawn = [[sources[row].random()] for row in rows]
            return torch.tensor(drawn, dtype=torch.float32, device=self._model.device)

        for row, ids in write_rows(
            self._model,
            [list(prompt) for prompt in order],
            owners,
            self._settings,
            eos_token_ids=self._eos,
            pad_token_id=self._tokenizer.pad_token_id,
            uniforms=uniforms,
            limits=room,
        ):
            prompt, opened = prompts[batch[row]]
            yield batch[row], written(self.chat, prompt, opened, ids, self._eos)

    def _prompt(self, ask: Ask) -> tuple[list[int], str]:
        return prompt_of(self.chat, ask)


def prompt_of(chat: ChatEncoder, ask: Ask) -> tuple[list[int], str]:
    """The tokens that ask for an answer, and what its text begins with."""
    request = ask.request
    if ask.after is None:
        prompt = chat(request.messages, request.format)
        return prompt.ids, prompt.opened
    before = [*ask.after.prompt_ids, *ask.after.completion_ids]
    ended = None if ask.after.truncated else ask.after.completion_ids[-1]
    prompt = chat.continued(request.messages[-1], request.format, ended=ended)
    return [*before, *prompt.ids], prompt.opened


def written(
    chat: ChatEncoder,
    prompt_ids: Sequence[int],
    opened: str,
    ids: Sequence[int],
    eos_token_ids: Sequence[int],
    logps: Sequence[float | None] | None = None,
) -> Written:
    """The answer that a model wrote as tokens."""
    ended = bool(ids) and ids[-1] in eos_token_ids
    # What ends an answer is not part of it, also where it is not a special token.
    text = opened + chat.decoded(ids[:-1] if ended else ids)
    return Written(text, len(ids), "stop" if ended else "length", prompt_ids, ids, logps)

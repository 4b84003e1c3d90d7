"""What a model of the tiny study is scored on, all of it with problems that no arm has seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from srl_agent.inference.chat import ChatEncoder, end_token_ids
from srl_agent.inference.sampling import SamplingSettings, sample
from srl_agent.models.loading import load_model_and_tokenizer
from srl_envs.answers.grading import extract_answer
from srl_envs.prompts.step import Message, step_messages
from srl_envs.response import parse_response

from .plan import Tiny
from .world import PROMPT, WORKING, Chain

Row = dict[str, Any]


class Model:
    """A model that answers conversations.

    Args:
        folder: Where it is.

    Attributes:
        parameters: How many it has.
    """

    def __init__(self, folder: str) -> None:
        self._model, self._tokenizer = load_model_and_tokenizer(folder, dtype="float32")
        self._chat = ChatEncoder(self._tokenizer)
        self._ends = end_token_ids(self._model, self._tokenizer)
        self.parameters = int(self._model.num_parameters())

    def __call__(
        self,
        conversations: Sequence[Sequence[Message]],
        max_new_tokens: int,
        *,
        samples: int = 1,
        temperature: float = 0.0,
    ) -> list[tuple[str, bool, int]]:
        """Each answer's text, whether it was cut off, and its tokens."""
        prompts = [self._chat(messages) for messages in conversations]
        with torch.no_grad():
            written = sample(
                self._model,
                [prompt.ids for prompt in prompts],
                samples,
                SamplingSettings(max_new_tokens, temperature, max_rows=256),
                eos_token_ids=self._ends,
                pad_token_id=self._tokenizer.pad_token_id,
                generator=torch.Generator().manual_seed(0),
            )
        answers = []
        for number, ids in enumerate(written):
            is_cut = not ids or ids[-1] not in self._ends
            text = self._chat.answer(prompts[number // samples], ids if is_cut else ids[:-1])
            answers.append((text, is_cut, len(ids)))
        return answers


def score(folder: str, chains: Sequence[Chain], tiny: Tiny) -> dict[str, list[Row]]:
    """All scores of a model, one row a problem."""
    return {
        "whole": whole(folder, chains, tiny),
        "passk": pass_at_k(folder, chains[: tiny.test_passk], tiny, k=8),
        "stepwise": stepwise(folder, chains, tiny),
        "steps": single_steps(folder, chains, tiny),
    }


def curve_point(folder: str, chains: Sequence[Chain], tiny: Tiny) -> dict[str, float]:
    """The means of three scores."""
    rows = {
        "whole": (whole(folder, chains, tiny), "correct"),
        "stepwise": (stepwise(folder, chains, tiny), "correct"),
        "working": (single_steps(folder, chains, tiny), "working"),
    }
    return {name: fmean(row[key] for row in found) for name, (found, key) in rows.items()}


def whole(folder: str, chains: Sequence[Chain], tiny: Tiny) -> list[Row]:
    """The whole solution in one answer, greedily: whether its final answer is right."""
    answers = Model(folder)([_asked(chain) for chain in chains], tiny.whole_tokens)
    return [
        {
            "correct": not is_cut and extract_answer(text) == chain.answer,
            "working": text.count(WORKING) / len(chain.steps),
            "tokens": tokens,
        }
        for chain, (text, is_cut, tokens) in zip(chains, answers, strict=True)
    ]


def pass_at_k(folder: str, chains: Sequence[Chain], tiny: Tiny, k: int) -> list[Row]:
    """The same, sampled at temperature 1: whether one of ``k`` answers is right."""
    conversations = [_asked(chain) for chain in chains]
    answers = Model(folder)(conversations, tiny.whole_tokens, samples=k, temperature=1.0)
    rows = []
    for number, chain in enumerate(chains):
        mine = answers[number * k : (number + 1) * k]
        right = [not is_cut and extract_answer(text) == chain.answer for text, is_cut, _ in mine]
        tokens = sum(count for _, _, count in mine) / k
        rows.append({"correct": any(right), "share": sum(right) / k, "tokens": tokens})
    return rows


def stepwise(folder: str, chains: Sequence[Chain], tiny: Tiny) -> list[Row]:
    """Step by step, each asked for after the model's own steps: whether it ends right.

    A malformed step ends the attempt.
    """
    model = Model(folder)
    done: list[list[str]] = [[] for _ in chains]
    given: list[str | None] = [None] * len(chains)
    going = list(range(len(chains)))
    for _ in range(tiny.length + 2):
        asked = [step_messages(chains[one].text, done[one], settings=PROMPT) for one in going]
        answers = model(asked, tiny.step_tokens) if going else []
        still = []
        for one, (text, is_cut, _) in zip(going, answers, strict=True):
            response = parse_response(text, truncated=is_cut)
            if response.error:
                continue
            done[one].append(response.action)
            given[one] = extract_answer(response.action)
            if given[one] is None:
                still.append(one)
        going = still
    return [
        {"correct": answer == chain.answer, "steps": len(steps)}
        for chain, answer, steps in zip(chains, given, done, strict=True)
    ]


def single_steps(folder: str, chains: Sequence[Chain], tiny: Tiny) -> list[Row]:
    """One step of each problem after the expert's: whether it is exactly the expert's."""
    rng = random.Random("steps")
    numbers = [rng.randrange(len(chain.steps)) for chain in chains]
    asked = [
        step_messages(chain.text, chain.actions[:number], settings=PROMPT)
        for chain, number in zip(chains, numbers, strict=True)
    ]
    rows = []
    answers = Model(folder)(asked, tiny.step_tokens)
    for chain, number, (text, is_cut, _) in zip(chains, numbers, answers, strict=True):
        response = parse_response(text, truncated=is_cut)
        exact = response.error is None and response.action == chain.actions[number]
        rows.append({"exact": exact, "working": WORKING in response.thought})
    return rows


def _asked(chain: Chain) -> list[Message]:
    return [{"role": "user", "content": chain.text}]

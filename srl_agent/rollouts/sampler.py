"""Prompts to tokens, and tokens to scored groups: what the trainer and the validation share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from srl_agent.inference.chat import ChatEncoder, Prompt
from srl_agent.inference.sampling import SamplingSettings, sample
from srl_agent.rollouts.scorers import Instance, Scorer
from srl_envs.reward import StepReward


def score(
    chat: ChatEncoder,
    prompts: Sequence[Prompt],
    instances: Sequence[Instance],
    completion_ids: Sequence[Sequence[int]],
    eos_token_ids: Sequence[int],
    scorer: Scorer,
) -> tuple[list[str], list[StepReward]]:
    """Decode completions and score each against its instance, in one batch.

    Args:
        chat: Of the model.
        prompts: One for each completion, as its instance.
        instances: What each completion answers.
        completion_ids: The tokens that the model wrote.
        eos_token_ids: Any of these ends a completion.
        scorer: How answers are scored.

    Returns:
        The texts, from the think block on that a prompt opened, and their rewards.
    """
    truncated = [is_truncated(ids, eos_token_ids) for ids in completion_ids]
    # What ends an answer is not part of it, also where it is not a special token.
    written = [ids if cut else ids[:-1] for ids, cut in zip(completion_ids, truncated, strict=True)]
    texts = [chat.answer(prompt, ids) for prompt, ids in zip(prompts, written, strict=True)]
    return texts, scorer.score(instances, texts, truncated)


def is_truncated(completion_ids: Sequence[int], eos_token_ids: Sequence[int]) -> bool:
    """Whether a completion hit the token limit before any end token."""
    return not completion_ids or completion_ids[-1] not in eos_token_ids


class Sampler:
    """Draws completions with one model and one tokenizer.

    Args:
        tokenizer: Of the model.
        eos_token_ids: Any of these ends a completion.
        settings: How to draw.
    """

    def __init__(
        self, tokenizer: Any, eos_token_ids: Sequence[int], settings: SamplingSettings
    ) -> None:
        self.tokenizer, self.eos_token_ids, self.settings = tokenizer, list(eos_token_ids), settings

    def __call__(
        self, model: Any, prompts: Sequence[Sequence[int]], num_samples: int, seed: Sequence[int]
    ) -> list[list[int]]:
        """Completions of each prompt; the same seed and the same weights give the same completions.

        Args:
            model: What to sample from.
            prompts: Token ids.
            num_samples: Completions of each prompt.
            seed: Any non-negative numbers.
        """
        if not prompts:
            return []
        generator = torch.Generator(model.device).manual_seed(_mixed(seed))
        return sample(
            model,
            prompts,
            num_samples,
            self.settings,
            eos_token_ids=self.eos_token_ids,
            pad_token_id=self.tokenizer.pad_token_id,
            generator=generator,
        )


def _mixed(seed: Sequence[int]) -> int:
    import numpy as np

    return int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> 1)

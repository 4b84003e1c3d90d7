"""Prompts with an expert's answer, as tokens.

Supervised learning (the method ``sft``, the format warm-up) uses them.
"""

from __future__ import annotations

from typing import Any

from srl_agent.rollouts.sampler import encode_prompt
from srl_agent.rollouts.scorers import Instance
from srl_agent.training.config import SRLConfig
from srl_agent.training.methods import METHODS


def expert_example(tokenizer: Any, instance: Instance, args: SRLConfig) -> dict[str, list[int]]:
    """Prompt and expert answer as tokens.

    ``input_ids``, and a ``completion_mask`` that is 1 where they are learned.

    Args:
        tokenizer: Of the model.
        instance: A step, or a whole problem.
        args: The run's settings.
    """
    answer = METHODS.named(args.method).expert_answer(instance, args)
    prompt = encode_prompt(tokenizer, instance.messages, args.think_prefilled)
    learned = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {
        "input_ids": prompt + learned,
        "completion_mask": [0] * len(prompt) + [1] * len(learned),
    }

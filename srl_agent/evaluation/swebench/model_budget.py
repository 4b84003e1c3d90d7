"""How long the prompts of a model may be."""

from __future__ import annotations

import logging
from collections.abc import Callable

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.localize import MAX_FILES
from srl_agent.evaluation.swebench.prompt_budget import PromptBudget, estimated_tokens
from srl_agent.evaluation.swebench.prompts import localize_messages, repair_messages
from srl_agent.inference.generator import Generator, MeasuresPrompts
from srl_agent.inference.openai_generator import OpenAIGenerator
from srl_envs.errors import ConfigError

_logger = logging.getLogger(__name__)

_SPARE = 16
"""Tokens that are left free.

A tokenizer may split a text differently next to the chat template's marks.
"""
_SERVED_MARKS = 64
"""Tokens that are left for the marks of a chat template that a server writes."""


def model_budget(config: SweBenchConfig, generator: Generator) -> PromptBudget:
    """How long prompts may be.

    At most ``max_prompt_tokens``, and what the model's context has room for beside the
    answer.

    A server's list of models may give the context. Its tokenizer counts if it is on this
    machine, else an estimate does; what the server refuses is reported with its instance.

    Raises:
        ConfigError: Not even the instructions have room.
    """
    asked = config.max_prompt_tokens
    instructions = [repair_messages("", [])] + (
        [localize_messages("", "", MAX_FILES)] if config.mode == "end-to-end" else []
    )
    context, count_tokens = _measures(generator)
    budget = PromptBudget(asked, count_tokens)
    needed = max(map(budget.count, instructions))
    if asked < needed:
        raise ConfigError(
            f"max_prompt_tokens is {asked}, but the instructions of a prompt alone take {needed}:"
            " allow more."
        )
    if context is None:
        return budget
    marks = _SERVED_MARKS
    if isinstance(generator, MeasuresPrompts):
        marks = max(
            generator.prompt_tokens(messages) - budget.count(messages) for messages in instructions
        )
    room = context - config.max_new_tokens - marks - _SPARE
    if room < needed:
        raise ConfigError(
            f"The context of {generator.name!r} holds {context} tokens, max_new_tokens"
            f" {config.max_new_tokens} of them: {max(room, 0)} are left for a prompt, and its"
            f" instructions alone take {needed}. Lower --max_new_tokens, or take a model with a"
            " longer context."
        )
    if room < asked:
        _logger.warning(
            "Prompts have %d tokens at most, not %d: the model's context (%d) holds no more"
            " beside the answer.",
            room,
            asked,
            context,
        )
    return PromptBudget(min(room, asked), budget.count_tokens)


def _measures(generator: Generator) -> tuple[int | None, Callable[[str], int]]:
    """The model's context, if it is known, and what counts tokens."""
    if isinstance(generator, MeasuresPrompts):
        return generator.context, generator.count_tokens
    if not isinstance(generator, OpenAIGenerator):
        return None, estimated_tokens
    served = generator.served_model()
    if (tokenizer := served.tokenizer) is None:
        return served.context, estimated_tokens
    return served.context, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

"""Prompts of software-engineering steps that never take more tokens than the model is to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from srl_agent.rollouts.sampler import encode_prompt
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, PromptSettings
from srl_envs.prompts.swe import cut_middle, swe_step_messages
from srl_envs.prompts.swe_system import swe_system_prompt


def fitted_to(
    settings: PromptSettings,
    tokenizer: Any,
    max_prompt_length: int,
    think_prefilled: bool,
    grammars: Iterable[str],
) -> PromptSettings:
    """The settings that keep prompts of software-engineering steps in bounds.

    Each has at most ``max_prompt_length`` tokens, including the chat template.

    Counted is the whole prompt as the model reads it, not its parts: how many tokens a
    template adds can depend on the text that it surrounds.

    Args:
        settings: How prompts are rendered otherwise.
        tokenizer: Of the model, with its chat template.
        max_prompt_length: In tokens.
        think_prefilled: See :func:`~srl_agent.rollouts.sampler.encode_prompt`.
        grammars: Those of the trajectories (:data:`srl_envs.commands.GRAMMARS`); at
            least one. The longest of their system messages is allowed for.

    Raises:
        ConfigError: The system message leaves no room.
    """

    def length(messages: list[Message]) -> int:
        return len(encode_prompt(tokenizer, messages, think_prefilled))

    own = settings.swe_system_prompt
    systems = [
        swe_system_prompt(grammar) if own is None else own for grammar in sorted(set(grammars))
    ]
    starts: list[list[Message]] = [
        [{"role": "system", "content": text}] if text else [] for text in systems
    ]
    start = max(starts, key=lambda messages: length([*messages, {"role": "user", "content": ""}]))

    def count_tokens(text: str) -> int:
        # The system message is counted together with the user message, whose share of the tokens it
        # cannot be told apart from.
        return 0 if text in systems else length([*start, {"role": "user", "content": text}])

    barest = swe_step_messages(
        cut_middle(" " * 1_000_000, 0),
        [("", "")] * 1000,
        replace(settings, history_turns=0, swe_system_prompt=""),
    )
    least = length([*start, *barest])
    if least > max_prompt_length:
        raise ConfigError(
            f"max_prompt_length is {max_prompt_length}, but a prompt without issue and commands"
            f" takes {least} tokens: raise it, or give a shorter --system_prompt."
        )
    return replace(settings, max_prompt_tokens=max_prompt_length, count_tokens=count_tokens)

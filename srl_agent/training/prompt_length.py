"""Prompts and answers that fit: into ``max_prompt_length``, and into a model's positions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain as joined
from itertools import islice
from typing import Any

from srl_agent.inference.chat import ChatEncoder, Prompt
from srl_agent.rollouts.scorers import Instance
from srl_agent.training.config import SRLConfig
from srl_agent.training.methods import METHODS
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, PromptSettings, cut_middle
from srl_envs.prompts.swe import swe_step_messages
from srl_envs.prompts.swe_system import swe_system_prompt
from srl_envs.response import ResponseFormat

_logger = logging.getLogger(__name__)

_TABLE = re.compile(r"wpe|pos")
"""Names of position tables: ``transformer.wpe``, ``embed_positions``, ``pos_encoding``."""


def within_length(
    settings: PromptSettings,
    tokenizer: Any,
    max_prompt_length: int,
    format: ResponseFormat | None,
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
        format: Which shape answers must have.
        grammars: Those of the trajectories (:data:`srl_envs.commands.GRAMMARS`); at
            least one. The longest of their system messages is allowed for.

    Raises:
        ConfigError: The system message leaves no room.
    """
    chat = ChatEncoder(tokenizer)

    def length(messages: list[Message]) -> int:
        return len(chat(messages, format).ids)

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


def check_lengths(
    args: SRLConfig,
    model: Any,
    tokenizer: Any,
    train: Sequence[Instance],
    held_out: Sequence[Instance],
) -> None:
    """Check, before the model answers anything, that prompts and answers fit.

    Args:
        args: How the run trains.
        model: The model.
        tokenizer: Its tokenizer.
        train: What is learned from.
        held_out: What validation and test ask.

    Raises:
        ConfigError: Too few training prompts have at most ``max_prompt_length`` tokens;
            or a prompt and its answer take more positions than the model has.
    """
    chat, needed = ChatEncoder(tokenizer), args.prompts_per_batch
    if len(list(islice(_fitting(args, chat, train), needed))) < needed:
        fits = sum(1 for _ in _fitting(args, chat, train))
        raise ConfigError(
            f"{fits} of {len(train)} training examples fit into max_prompt_length ="
            f" {args.max_prompt_length} and max_completion_length = {args.max_completion_length}"
            f" tokens, but a batch needs {needed}: raise them."
        )
    positions, hard = positions_of(model)
    if positions is None:
        return
    answer = int(args.max_completion_length or 0)
    asked = (len(_prompt(args, chat, one).ids) + answer for one in held_out)
    # Where positions run out gradually, the held-out prompts represent all: there may be many.
    learned = _fitting(args, chat, train) if hard else iter(())
    taught = train if hard and args.format_warmup_steps else ()
    shown = (
        len((prompt := _prompt(args, chat, one)).ids) + _expert(args, chat, prompt, one)
        for one in taught
    )
    longest = max(joined(asked, learned, shown), default=0)
    if longest <= positions:
        return
    if hard:
        raise ConfigError(
            f"Prompt and answer take up to {longest} tokens (max_completion_length ="
            f" {answer}), but the model has {positions} positions: lower --max_completion_length"
            " or --max_prompt_length, or use a model with more."
        )
    _logger.warning(
        f"Prompt and answer take up to {longest} tokens (max_completion_length = {answer}); the"
        f" model was made for {positions} positions, and may write nonsense beyond them."
    )


def positions_of(model: Any) -> tuple[int | None, bool]:
    """How many positions a model is made for, and whether none can come after them.

    A model with a table of positions (learned, as GPT-2's, or computed, as GPT-J's)
    fails beyond them; one with rotary positions answers worse and worse.

    Returns:
        None if the model's configuration sets no bound.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None, False
    tables = (*model.named_parameters(), *model.named_buffers())
    rows = [
        tensor.shape[0]
        for name, tensor in tables
        if tensor.dim() == 2 and _TABLE.search(name) and tensor.shape[0] >= positions
    ]
    return positions, bool(rows)


def _prompt(args: SRLConfig, chat: ChatEncoder, instance: Instance) -> Prompt:
    return chat(instance.messages, args.answer_format)


def _fitting(args: SRLConfig, chat: ChatEncoder, train: Sequence[Instance]) -> Iterator[int]:
    """Prompt and longest answer of each example that is learned from, in tokens."""
    method, most = METHODS.named(args.method), int(args.max_completion_length or 0)
    for instance in train:
        prompt = _prompt(args, chat, instance)
        if args.max_prompt_length is not None and len(prompt.ids) > args.max_prompt_length:
            continue
        answer = most if method.samples else _expert(args, chat, prompt, instance)
        if answer <= most:
            yield len(prompt.ids) + answer


def _expert(args: SRLConfig, chat: ChatEncoder, prompt: Prompt, instance: Instance) -> int:
    """The expert's answer and the token that ends it, in tokens."""
    return len(chat.written(prompt, METHODS.named(args.method).expert_answer(instance, args)))

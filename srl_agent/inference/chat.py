"""A conversation -> the prompt that a model reads, and its tokens -> the text of its answer.

Training and evaluation both ask and read through :class:`ChatEncoder`, so that a model is
evaluated on the prompts that it was trained on. It finds out from what the model's own
chat template writes:

- whether a system message reaches the prompt as it is; where it does not, its text goes
  to the front of the first user message;
- whether the prompt already opens a think block, or has closed an empty one.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

from srl_agent.inference.think_tags import names_assistant, think_tags, writes_channels
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message
from srl_envs.response import CLOSE, OPEN, ResponseFormat

_logger = logging.getLogger(__name__)

SystemRole = Literal["auto", "user"]
"""Where a system message goes.

``auto``: the template's system role if it has one. ``user``: always the front of the first
user message.
"""

SYSTEM_ROLES = get_args(SystemRole)

_SYSTEM_PROBE = "You think inside <think> </think>, then you answer."
_USER_PROBE = "How many probes are there?"
_ANSWER_PROBE = "There are two probes."
_PROBE: list[Message] = [
    {"role": "system", "content": _SYSTEM_PROBE},
    {"role": "user", "content": _USER_PROBE},
]
"""Templates may change texts that hold tags; SmolLM3's takes "/think" out of system messages."""

_REFUSALS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What templates raise beside their own errors; the last also for ranges that are too long."""

_SHIELD = "\ue000"
"""Put into a tag that a template would take out of a message, and removed afterwards."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as a model reads it.

    Attributes:
        ids: Its tokens; the answer's follow.
        opened: What the answer's text begins with because the prompt wrote it already:
            ``"<think>"`` if the prompt ends inside a think block, else empty.
    """

    ids: list[int]
    opened: str = ""


def without_system_role(messages: Sequence[Message]) -> list[Message]:
    """The same conversation; its system message and a blank line begin the first user message."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, rest = messages[0]["content"], list(messages[1:])
    if not system:
        return rest
    for place, message in enumerate(rest):
        if message["role"] == "user":
            return [
                *rest[:place],
                {"role": "user", "content": f"{system}\n\n{message['content']}"},
                *rest[place + 1 :],
            ]
    return [{"role": "user", "content": system}, *rest]


class ChatEncoder:
    """Writes prompts with a tokenizer's chat template, and reads the answers to them.

    Args:
        tokenizer: With a chat template.
        system_role: Where a system message goes.

    Attributes:
        merges: Whether the text of a system message goes to the front of the first user
            message.

    Raises:
        ConfigError: The template cannot write a prompt of instructions and a question.
    """

    def __init__(self, tokenizer: Any, system_role: SystemRole = "auto") -> None:
        self._tokenizer = tokenizer
        template = str(tokenizer.chat_template)
        self.merges, self._end = self._form(system_role)
        self._open, self._close = think_tags(self._end, template)
        self._channels = writes_channels(self._end, template)
        self._require_start()
        if self.merges and system_role == "auto":
            _say_merged(tokenizer.name_or_path)
        added = tokenizer.added_tokens_decoder.items()
        special = {index for index, token in added if token.special} | {*tokenizer.all_special_ids}
        tags = (OPEN, CLOSE, self._open, self._close)
        kept = {index for index, token in added if any(token.content in tag for tag in tags)}
        self._dropped = special - kept

    def __call__(self, messages: Sequence[Message], format: ResponseFormat | None = None) -> Prompt:
        """The prompt that ends where the answer starts.

        Args:
            messages: The conversation.
            format: Which shape the answer must have. With ``think_prefilled`` the
                prompt ends inside a think block: one is opened if the template did not.
                Where a thought is asked for, an empty block that the template closed is
                left out. None leaves the end as the template writes it.

        Raises:
            ConfigError: The template refuses this conversation, or the model does not
                think in blocks.
        """
        chat = without_system_role(messages) if self.merges else list(messages)
        text = self._rendered(chat)
        return self._prompt(*self._before_end(text, chat), format)

    def continued(
        self, message: Message, format: ResponseFormat | None = None, *, ended: int | None
    ) -> Prompt:
        """What a model reads after an answer's own tokens: a message, up to the next answer.

        Args:
            message: Of the user, who replies to the answer.
            format: Which shape the next answer must have, as for :meth:`__call__`.
            ended: The token that ends the answer, the last of its own; None if it was
                cut off.

        Raises:
            ConfigError: The template refuses such a conversation.
        """
        chat = [_PROBE[1], Message(role="assistant", content=_ANSWER_PROBE), message]
        text = self._rendered(chat).rpartition(_ANSWER_PROBE)[2]
        if ended is not None:
            ends = (self._tokenizer.decode([ended]), str(self._tokenizer.eos_token))
            written = next((end for end in ends if end and text.lstrip().startswith(end)), "")
            text = text.lstrip().removeprefix(written) if written else text
        return self._prompt(*self._before_end(text, chat), format)

    def _prompt(self, before: str, end: str, format: ResponseFormat | None) -> Prompt:
        """A prompt of its two parts, its end as the format asks for."""
        text = before + end
        opened = end.rfind(self._open) > end.rfind(self._close)
        if format is not None:
            if self._channels and (format.require_think or format.think_prefilled):
                raise ConfigError(
                    "The model writes its thoughts in channels, which cannot be trained here:"
                    " answers need a think block. Use another model; to evaluate this one, serve"
                    " it with a reasoning parser and give --base_url."
                )
            if not opened and (format.require_think or format.think_prefilled):
                text = before + self._without_closed_block(end)
            if not opened and format.think_prefilled:
                text, opened = text + self._open, True
        ids = list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if not ids:
            raise ConfigError(
                "The model's chat template makes an empty prompt of a conversation: "
                "there is nothing to continue."
            )
        return Prompt(ids, OPEN if opened else "")

    def answer(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text of an answer: what its prompt opened, then what the model wrote."""
        return prompt.opened + self.decoded(ids)

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of tokens without special ones, except those that mark the think block.

        A model's own tags are written as ``<think>`` and ``</think>``.
        """
        text: str = self._tokenizer.decode(
            [index for index in ids if index not in self._dropped],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return text.replace(self._open, OPEN).replace(self._close, CLOSE)

    def written(self, prompt: Prompt, answer: str) -> list[int]:
        """The tokens that a model must write for :meth:`answer` to give this text.

        The token that ends an answer is the last. An answer without a think block
        closes one that the prompt opened.
        """
        if prompt.opened:
            has_block = answer.startswith(OPEN)
            answer = answer.removeprefix(OPEN) if has_block else f"{CLOSE}\n{answer}"
        text = answer.replace(OPEN, self._open).replace(CLOSE, self._close)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return [*ids, self._tokenizer.eos_token_id]

    def _form(self, system_role: SystemRole) -> tuple[bool, str]:
        """Whether system messages are merged, and how prompts end."""
        refusal, roles = "", (False, True) if system_role == "auto" else (True,)
        for shields, in_parts, merges in product((False, True), (False, True), roles):
            self._shields, self._in_parts = shields, in_parts
            try:
                text = self._rendered(without_system_role(_PROBE) if merges else _PROBE)
            except ConfigError as error:
                refusal = refusal if shields or in_parts else str(error)
                continue
            if _SYSTEM_PROBE in text and _USER_PROBE in text:
                return merges, text.rpartition(_USER_PROBE)[2]
            refusal = "it leaves out or changes the text of the messages"
        raise ConfigError(
            f"The model's chat template cannot write a prompt of instructions and a question:"
            f" {refusal}. Use another model, or put a chat_template.jinja into its folder."
        )

    def _require_start(self) -> None:
        """Refuse a template whose prompts end before the answer's own turn begins."""
        chat = without_system_role(_PROBE) if self.merges else _PROBE
        prompt, answer = self._rendered(chat), Message(role="assistant", content=_ANSWER_PROBE)
        try:
            text = self._rendered([*chat, answer], add_generation_prompt=False)
        except ConfigError:
            return
        between = text.removeprefix(prompt).partition(_ANSWER_PROBE)[0].strip()
        if text.startswith(prompt) and names_assistant(between):
            raise ConfigError(
                f"The model's chat template does not begin an answer: it ignores"
                f" add_generation_prompt, and {between!r} comes before answers. Put a"
                " chat_template.jinja that writes it into the model's folder."
            )

    def _rendered(self, chat: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        from jinja2 import TemplateError

        messages: list[Any] = []
        for message in chat:
            content: Any = message["content"]
            if self._shields and message["role"] != "assistant":
                content = content.replace(CLOSE, f"</{_SHIELD}{CLOSE[2:]}")
            if self._in_parts:
                content = [{"type": "text", "text": content}]
            messages.append({**message, "content": content})
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=add_generation_prompt, tokenize=False
            )
        except (TemplateError, *_REFUSALS) as error:
            roles = ", ".join(message["role"] for message in chat) or "no messages"
            raise ConfigError(
                f"The model's chat template refuses a conversation of {roles}: {error}"
            ) from error
        return text.replace(_SHIELD, "") if self._shields else text

    def _before_end(self, text: str, chat: Sequence[Message]) -> tuple[str, str]:
        """A prompt in two parts: up to the last message's content, and what comes after it."""
        if text.endswith(self._end):
            return text[: len(text) - len(self._end)], self._end
        # This conversation's prompt ends otherwise: by a switch in its system message, say.
        last = chat[-1]["content"].strip() if chat else ""
        before, content, end = text.rpartition(last) if last else (text, "", "")
        return before + content, end

    def _without_closed_block(self, end: str) -> str:
        closed = end.rfind(self._close)
        if closed < 0 or end[closed + len(self._close) :].strip():
            return end
        opened = end.rfind(self._open, 0, closed)
        return end[: closed if opened < 0 else opened]


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer.

    The tokenizer's, and those of the model's generation config.
    """
    settings = model.generation_config
    own = settings.eos_token_id if settings is not None else None
    ends = {own} if isinstance(own, int) else {*(own or ())}
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    return sorted(ends)


@functools.cache
def _say_merged(model: str) -> None:
    """Say it once a model."""
    _logger.info(
        f"{model}: the chat template has no place for a system message as it is; its text goes to"
        " the front of the first user message"
    )

"""A conversation -> the token ids of a prompt, by the model's own chat template.

One rule holds for all templates without a system role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message

SystemRole = Literal["auto", "user"]
"""Where a system message goes.

``auto``: the template's system role if it has one. ``user``: always the front of the first
user message.
"""

SYSTEM_ROLES = get_args(SystemRole)

_PROBE = "a system message"


def without_system_role(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with its system message in front of the first user message.

    An empty line separates the two texts.
    """
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
    """Writes prompts with a tokenizer's chat template.

    Args:
        tokenizer: With a chat template.
        system_role: Where a system message goes.
    """

    def __init__(self, tokenizer: Any, system_role: SystemRole = "auto") -> None:
        self._tokenizer = tokenizer
        self._merges = system_role == "user" or not _has_system_role(tokenizer)

    def __call__(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a prompt that ends where the answer starts.

        Raises:
            ConfigError: The template refuses this conversation.
        """
        from jinja2 import TemplateError

        chat = without_system_role(messages) if self._merges else list(messages)
        try:
            ids: list[int] = list(
                self._tokenizer.apply_chat_template(
                    chat, add_generation_prompt=True, return_dict=True
                )["input_ids"]
            )
        except (TemplateError, ValueError, IndexError) as error:
            roles = ", ".join(message["role"] for message in messages) or "no messages"
            raise ConfigError(
                f"The model's chat template refuses a conversation of {roles}: {error}"
            ) from error
        if not ids:
            raise ConfigError(
                "The model's chat template makes an empty prompt of a conversation: "
                "there is nothing to continue."
            )
        return ids


def _has_system_role(tokenizer: Any) -> bool:
    """Whether the template writes a system message; some refuse one, others leave it out."""
    from jinja2 import TemplateError

    probe = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "a question"}]
    try:
        return _PROBE in tokenizer.apply_chat_template(
            probe, tokenize=False, add_generation_prompt=True
        )
    except TemplateError:
        return False

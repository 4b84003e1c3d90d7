"""A model's answer -> its thought and its action, or the name of what is malformed about it.

The format (arXiv 2510.25992, section 3.2): one ``<think>...</think>`` block, then a
non-empty action. Nothing else decides. White space, control and format characters (NUL,
a byte order mark, a zero-width space) alone do not count as text: neither an action nor
something before the block.

An answer is a text, or a :class:`SplitAnswer`: a server's reasoning parser takes the
block apart before we see it. Both forms of the same answer have the same response.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

OPEN, CLOSE = "<think>", "</think>"

MALFORMATIONS = (
    "truncated",
    "no_think",
    "unclosed_think",
    "unopened_think",
    "several_think",
    "text_before_think",
    "empty_action",
)
"""Every name that :attr:`Response.error` can have."""


class SplitAnswer(NamedTuple):
    """An answer whose thought came apart from its action; any pair of the two will do.

    Attributes:
        thought: The text inside the think block, which may be empty; None if there was
            no block: the answer is then what the text ``action`` is.
        action: The text after the block.
    """

    thought: str | None
    action: str


ModelAnswer: TypeAlias = str | tuple[str | None, str]
"""What a model answered: one text, or a :class:`SplitAnswer`."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Which shape an answer must have; recorded with every run.

    Attributes:
        think_prefilled: The prompt already ends with ``<think>``: the model's text
            starts inside the block.
        require_think: If False, a text without any think tag is the bare action, for
            models too small to think.
    """

    think_prefilled: bool = False
    require_think: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """A parsed answer.

    Attributes:
        thought: The text inside the think block, without outer white space; empty if
            malformed.
        action: The text after it, without outer white space; empty if malformed. Only
            this is ever compared.
        error: None if well-formed, else one of :data:`MALFORMATIONS`.
    """

    thought: str
    action: str
    error: str | None = None


def whole_text(answer: ModelAnswer) -> str:
    """An answer as one text: that of a :class:`SplitAnswer` has its thought in a block again.

    Raises:
        TypeError: It is neither a text nor a pair of thought and action.
    """
    if isinstance(answer, str):
        return answer
    if isinstance(answer, tuple) and len(answer) == 2:
        thought, action = answer
        if isinstance(action, str) and (thought is None or isinstance(thought, str)):
            return action if thought is None else f"{OPEN}{thought}{CLOSE}{action}"
    kind = type(answer).__name__
    if isinstance(answer, tuple):
        kind += f" of ({', '.join(type(part).__name__ for part in answer)})"
    raise TypeError(
        f"An answer is a text, or a pair (thought, action) of texts, not {kind}: give"
        " SplitAnswer(None, text) where there is no thought."
    )


def parse_response(
    answer: ModelAnswer, format: ResponseFormat = ResponseFormat(), *, truncated: bool = False
) -> Response:
    """Split an answer into thought and action.

    Args:
        answer: What the model wrote: a text, or thought and action apart. With
            ``format.think_prefilled`` a thought that came apart is not opened twice.
        format: Which shape is asked for.
        truncated: The answer hit the token limit before its end token. Such an answer
            is always malformed (``"truncated"``), whatever it holds: a step that was
            cut is not the step the model meant to write.

    Raises:
        TypeError: The answer is neither a text nor a pair of thought and action.

    Returns:
        The response. Of several malformations the first in this order is named:
        truncated, no block at all, a block that is not closed or not opened, more than
        one, text before it, nothing after it.
    """
    text = whole_text(answer)
    if truncated:
        return _malformed("truncated")
    if format.think_prefilled and (isinstance(answer, str) or answer[0] is None):
        text = OPEN + text
    opened, closed = text.count(OPEN), text.count(CLOSE)
    if opened == closed == 0:
        if format.require_think:
            return _malformed("no_think")
        return Response("", text.strip()) if has_text(text) else _malformed("empty_action")
    if closed == 0:
        return _malformed("unclosed_think")
    if opened == 0:
        return _malformed("unopened_think")
    if opened > 1 or closed > 1:
        return _malformed("several_think")
    before, _, rest = text.partition(OPEN)
    thought, close, action = rest.partition(CLOSE)
    if not close:  # "</think> ... <think>": what was opened last is never closed
        return _malformed("unclosed_think")
    if has_text(before):
        return _malformed("text_before_think")
    if not has_text(action):
        return _malformed("empty_action")
    return Response(thought.strip(), action.strip())


def has_text(text: str) -> bool:
    """Whether a text holds a character that can be seen.

    White space, controls (``Cc``) and format characters (``Cf``) of Unicode cannot.
    """
    return any(
        not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")
        for character in text
    )


def format_response(thought: str, action: str, format: ResponseFormat = ResponseFormat()) -> str:
    """The well-formed text of a thought and an action: what :func:`parse_response` reads back."""
    return ("" if format.think_prefilled else OPEN) + f"{thought}{CLOSE}\n{action}"


def _malformed(error: str) -> Response:
    return Response("", "", error)

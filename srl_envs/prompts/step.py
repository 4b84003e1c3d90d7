"""Chat messages that ask for the next step of a solution, and their plain text.

The paper says what its system prompt asks for, not in which words (arXiv 2510.25992,
appendix): continue a partial solution with the single next step, think first inside
``<think>``, then write only that step. The words here are this project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, get_args

from srl_envs.commands import Scored
from srl_envs.errors import ConfigError
from srl_envs.trajectory import ExpertStep

MATH_SYSTEM_PROMPT = (
    "You continue the solution of a math problem by exactly one step. First think inside "
    "<think> </think>, freely and as long as you like. After </think>, write the next step of the "
    "solution and nothing else."
)

STEPS_SYSTEM_PROMPT = (
    "You continue the solution of a task by exactly one step. First think inside "
    "<think> </think>, freely and as long as you like. After </think>, write the next step of the "
    "solution and nothing else."
)
"""Of any domain that has no prompt of its own."""


class Message(TypedDict):
    """One chat message, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How the prompt of a step is rendered.

    The first two are for math and other steps in text, the rest for software
    engineering; observations are cut in all.

    Attributes:
        title_hint: Show the title of the step that is to be written. The paper found
            that it helps (footnote 1).
        system_prompt: The system message; empty sends none. None takes the domain's
            own: that of math, or :data:`STEPS_SYSTEM_PROMPT`.
        history_turns: How many of the latest (command, observation) pairs are shown; 0
            shows none. The paper shows 2.
        observation_characters: Longer observations are cut in the middle to this
            length; None shows all. 8,000 characters are some 2,500 tokens, and 95 % of
            the observations in a sample of SWE-smith's trajectories are shorter.
        max_prompt_tokens: What the contents of all messages may take together, see
            :func:`~srl_envs.prompts.swe.swe_step_messages`; None sets no bound. The
            marks that a chat template adds come on top: allow some 20 tokens for them.
        count_tokens: Counts the tokens of a text, without special tokens; None counts
            :func:`~srl_envs.prompts.swe.utf8_bytes`, which no byte-level BPE exceeds
            (and which is three to four times what one really needs: give the model's
            own count where it is at hand).
        scored: What of a command is compared: ``"action"``, its whole text, or
            ``"arguments"``, tool and values without the grammar's scaffold.
        swe_system_prompt: The system message of software-engineering steps; None takes
            that of the grammar, empty sends none.
    """

    title_hint: bool = True
    system_prompt: str | None = None
    history_turns: int = 2
    observation_characters: int | None = 8000
    max_prompt_tokens: int | None = None
    count_tokens: Callable[[str], int] | None = None
    scored: Scored = "action"
    swe_system_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.history_turns < 0:
            raise ConfigError(f"history_turns is {self.history_turns}: give 0 or more.")
        for name in ("observation_characters", "max_prompt_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: give at least 1, or None for no bound.")
        if self.scored not in get_args(Scored):
            raise ConfigError(
                f"scored is {self.scored!r}: use {' or '.join(map(repr, get_args(Scored)))}."
            )


def shown_step(step: ExpertStep, settings: PromptSettings) -> str:
    """A step that is already written: its text, and the observation that followed, if any."""
    if not step.observation:
        return step.text
    seen = step.observation.strip("\n")
    if settings.observation_characters is not None:
        seen = cut_middle(seen, settings.observation_characters)
    return f"{step.text.strip()}\nObservation:\n{seen}"


def step_messages(
    problem: str,
    previous: Sequence[str],
    title: str = "",
    settings: PromptSettings = PromptSettings(),
) -> list[Message]:
    """The messages that ask for the step after ``previous``.

    Args:
        problem: The problem's text.
        previous: The steps that are already written, in order; may be empty.
        title: The title of the step to write; shown only if ``settings.title_hint`` and
            not empty.
        settings: How to render.

    Returns:
        A system message (unless it is empty) and one user message.
    """
    parts = [f"Problem:\n{problem.strip()}"]
    if previous:
        parts.append("Solution so far:\n" + "\n".join(step.strip() for step in previous))
    if settings.title_hint and title:
        parts.append(f"Next step: {title.strip()}")
    system = MATH_SYSTEM_PROMPT if settings.system_prompt is None else settings.system_prompt
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": "\n\n".join(parts)}]


def cut_middle(text: str, limit: int) -> str:
    """The text, or its beginning and end with a note in between of how many characters are missing.

    The note counts: the result is not longer than ``limit``, or than a bare note where
    that is longer. A text that is not longer than its note stays.
    """
    note = "\n[... {} characters left out ...]\n"
    longest_note = len(note.format(len(text)))
    if len(text) <= max(limit, longest_note):
        return text
    kept = max(0, limit - longest_note)
    return text[: kept - kept // 2] + note.format(len(text) - kept) + text[len(text) - kept // 2 :]


def as_text(messages: Sequence[Message]) -> str:
    """The messages as one plain text: what an environment gives as its observation."""
    return "\n\n".join(message["content"] for message in messages)

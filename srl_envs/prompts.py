"""Chat messages that ask for the next step of a solution, and the plain text of them that an environment shows.

The paper tells what its system prompt asks for, not its words (arXiv 2510.25992, appendix): continue a partial solution with the single
next step, think first inside ``<think>``, then write only that step. The words here are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

MATH_SYSTEM_PROMPT = (
    "You continue the solution of a math problem by exactly one step. First think inside <think> </think>, freely and as long "
    "as you like. After </think>, write the next step of the solution and nothing else."
)


class Message(TypedDict):
    """One chat message, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How the prompt of a step is rendered.

    Attributes:
        title_hint: Show the title of the step that is to be written. The paper found that it helps (footnote 1).
        system_prompt: The system message; empty sends none.
    """

    title_hint: bool = True
    system_prompt: str = MATH_SYSTEM_PROMPT


def step_messages(problem: str, previous: Sequence[str], title: str = "", settings: PromptSettings = PromptSettings()) -> list[Message]:
    """The messages that ask for the step after ``previous``.

    Args:
        problem: The problem's text.
        previous: The steps that are already written, in order; may be empty.
        title: The title of the step to write; shown only if ``settings.title_hint`` and not empty.
        settings: How to render.

    Returns:
        A system message (unless it is empty) and one user message.
    """
    parts = [f"Problem:\n{problem.strip()}"]
    if previous:
        parts.append("Solution so far:\n" + "\n".join(step.strip() for step in previous))
    if settings.title_hint and title:
        parts.append(f"Next step: {title.strip()}")
    messages: list[Message] = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
    return [*messages, {"role": "user", "content": "\n\n".join(parts)}]


def as_text(messages: Sequence[Message]) -> str:
    """The messages as one plain text: what an environment gives as its observation."""
    return "\n\n".join(message["content"] for message in messages)

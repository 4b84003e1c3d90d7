"""Chat messages that ask for the next command of a software-engineering agent.

The paper gives their content: the issue and the last two pairs of command and
observation (arXiv 2510.25992). The words are this project's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, PromptSettings, cut_middle
from srl_envs.prompts.swe_system import swe_system_prompt


def swe_step_messages(
    issue: str,
    turns: Sequence[tuple[str, str]],
    settings: PromptSettings = PromptSettings(),
    *,
    grammar: str = "xml",
) -> list[Message]:
    """The messages that ask for the command after ``turns``: the issue and the last turns.

    Earlier turns are counted, not shown. With ``settings.max_prompt_tokens`` the
    contents never take more than that. What does not fit gives way in this order, each
    piece from its middle and only as far as needed: the oldest observation, then the
    next up to the newest; the oldest command up to the newest; then whole turns from
    the oldest; at last the issue.

    Args:
        issue: The text of the issue.
        turns: All (command, observation) pairs so far, in order.
        settings: How to render.
        grammar: A name of :data:`srl_envs.commands.GRAMMARS`: which answers the system
            message asks for.

    Returns:
        A system message (unless it is empty) and one user message.

    Raises:
        ConfigError: Unknown grammar, or the bound is too small for the system message
            and the barest frame.
    """
    system = settings.swe_system_prompt
    start: list[Message] = (
        [{"role": "system", "content": text}]
        if (text := swe_system_prompt(grammar) if system is None else system)
        else []
    )
    first_shown, limit = (
        max(0, len(turns) - settings.history_turns),
        settings.observation_characters,
    )
    actions = [action for action, _ in turns[first_shown:]]
    observations = [
        (seen if limit is None else cut_middle(seen, limit)).strip("\n")
        for _, seen in turns[first_shown:]
    ]
    prompt = _Prompt((*observations, *actions, issue.strip()), first_shown)
    bound = settings.max_prompt_tokens
    if bound is not None:
        count = settings.count_tokens or utf8_bytes
        taken = sum(count(message["content"]) for message in start)
        fitting = prompt.shortened_until(lambda text: taken + count(text) <= bound)
        if fitting is None:
            needed = taken + count(prompt.without_oldest(prompt.turns).with_cut(0, 0).text)
            raise ConfigError(
                f"max_prompt_tokens is {bound}, but the system message and a frame "
                f"without any content take {needed}: allow more."
            )
        prompt = fitting
    return [*start, {"role": "user", "content": prompt.text}]


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A user message about an issue.

    Attributes:
        pieces: In the order in which they give way: the observations from the oldest,
            the commands from the oldest, the issue.
        left_out: How many turns are not shown.
    """

    pieces: tuple[str, ...]
    left_out: int

    @property
    def turns(self) -> int:
        """How many turns are shown."""
        return len(self.pieces) // 2

    @property
    def text(self) -> str:
        """The message's content."""
        parts = [f"Issue:\n{self.pieces[-1]}"]
        if self.left_out:
            parts.append(
                f"[... {self.left_out} earlier turn{'s' * (self.left_out > 1)} left out ...]"
            )
        for seen, action in zip(
            self.pieces[: self.turns], self.pieces[self.turns : -1], strict=True
        ):
            parts.append(f"Command:\n{action}\n\nObservation:\n{seen or '(no output)'}")
        return "\n\n".join(parts)

    def without_oldest(self, count: int) -> _Prompt:
        """Without the oldest turns."""
        return _Prompt(
            self.pieces[count : self.turns] + self.pieces[self.turns + count :],
            self.left_out + count,
        )

    def with_cut(self, index: int, limit: int) -> _Prompt:
        """With one piece cut in its middle."""
        return replace(
            self,
            pieces=(
                *self.pieces[:index],
                cut_middle(self.pieces[index], limit),
                *self.pieces[index + 1 :],
            ),
        )

    def shortened_until(self, fits: Callable[[str], bool]) -> _Prompt | None:
        """The prompt with as little taken away as ``fits`` allows; None if nothing fits.

        The order is that of :func:`swe_step_messages`.
        """
        for dropped in range(self.turns + 1):
            prompt = self.without_oldest(dropped)
            if fits(prompt.text):
                return prompt
            for index in range(
                len(prompt.pieces) - (prompt.turns > 0)
            ):  # the issue gives way only when no turn is left
                least = prompt.with_cut(index, 0)
                if fits(least.text):
                    return prompt.with_longest(index, fits)
                prompt = least
        return None

    def with_longest(self, index: int, fits: Callable[[str], bool]) -> _Prompt:
        """With one piece cut to the greatest length that a search by halves finds to fit.

        The length 0 is known to fit.
        """
        best, low, high = self.with_cut(index, 0), 0, len(self.pieces[index])
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.with_cut(index, middle)
            if fits(tried.text):
                best, low = tried, middle
            else:
                high = middle
        return best


def utf8_bytes(text: str) -> int:
    """An upper bound of the tokens of any byte-level BPE: a token is at least one byte.

    Some tokenizers bring text to the form NFC first, which can lengthen it: the longer
    form counts.
    """
    lengths = [
        len(form.encode("utf-8", "surrogatepass"))
        for form in (text, unicodedata.normalize("NFC", text))
    ]
    return max(lengths)

"""What of an issue and its repository goes into a prompt, and how much of it fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, cut_middle

_TEST_FOLDERS = {"test", "tests", "testing", "e2e"}
_TEST_FILE = re.compile(r"test_.*|.*_tests?\.[^.]+|tests\.py|conftest\.py")
_BYTES_PER_TOKEN = 3


def estimated_tokens(text: str) -> int:
    """A third of the UTF-8 bytes, rounded up: for where no tokenizer is at hand.

    Tokenizers of today's code models take 3 to 4.5 bytes of source code a token, so
    that this is rather too much than too little.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could have been given to the model, or was named by it, and was not taken.

    Attributes:
        path: Of the file.
        reason: Why.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class PromptBudget:
    """How long a prompt may be.

    Attributes:
        max_prompt_tokens: Of all messages' contents together (the paper: 60,000); the
            marks of a chat template come on top.
        count_tokens: Counts the tokens of a text, without special tokens; by default
            :func:`estimated_tokens`. Give the model's own count where it is at hand.
    """

    max_prompt_tokens: int = 60_000
    count_tokens: Callable[[str], int] = estimated_tokens

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1:
            raise ConfigError(f"max_prompt_tokens is {self.max_prompt_tokens}: give at least 1.")

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of all contents."""
        return sum(self.count_tokens(message["content"]) for message in messages)

    def fits(self, messages: Sequence[Message]) -> bool:
        """Whether the messages are short enough."""
        return self.count(messages) <= self.max_prompt_tokens

    def fitted_issue(self, issue: str, prompt_with: Callable[[str], Sequence[Message]]) -> str:
        """The issue, cut in the middle if it is too long.

        It may take at most half of what the prompt's fixed text leaves.

        Args:
            issue: Its text.
            prompt_with: The prompt of an issue's text, with nothing else that varies.

        Raises:
            ConfigError: The fixed text alone is longer than the budget.
        """
        fixed = self.count(prompt_with(""))
        if fixed > self.max_prompt_tokens:
            raise ConfigError(
                f"max_prompt_tokens is {self.max_prompt_tokens}, but a prompt without any content"
                f" takes {fixed}: allow more."
            )
        bound = fixed + (self.max_prompt_tokens - fixed) // 2
        if self.count(prompt_with(issue)) <= bound:
            return issue
        low, high = 0, len(issue)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high)
                if self.count(prompt_with(cut_middle(issue, middle))) <= bound
                else (low, middle)
            )
        return cut_middle(issue, low) if low else ""


def is_test_path(path: str) -> bool:
    """Whether a file belongs to the tests, by its name alone.

    It does in a folder ``test``, ``tests``, ``testing`` or ``e2e``, and as ``test_*``,
    ``*_test.*``, ``*_tests.*``, ``tests.py`` or ``conftest.py``.
    """
    *folders, name = path.split("/")
    return not _TEST_FOLDERS.isdisjoint(folders) or bool(_TEST_FILE.fullmatch(name))

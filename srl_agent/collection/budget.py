"""What a collection may spend: tokens, and money at prices that are settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from srl_agent.collection.drafts import Draft
from srl_agent.inference.generator import Generator, MeasuresPrompts
from srl_envs.errors import require
from srl_envs.prompts.step import Message

_PER_MILLION = 1_000_000
_TEMPLATE_TOKENS = 64
"""What a chat template adds to a conversation, at most."""


@dataclass
class BudgetConfig:
    """Bounds on what is spent, and what it costs."""

    max_tokens_total: int | None = field(
        default=None,
        metadata={
            "help": (
                "Most tokens that the folder's requests may take, prompts included, over all runs"
                " of the command. A request is sent only if its longest answer still fits. None"
                " sets no bound."
            )
        },
    )
    max_cost: float | None = field(
        default=None,
        metadata={
            "help": (
                "The same bound as a sum of money, in the currency of the prices; needs a price."
                " None sets no bound."
            )
        },
    )
    price_prompt: float = field(
        default=0.0,
        metadata={"help": "Price of a million tokens of prompts, in any currency; 0 is free."},
    )
    price_answer: float = field(
        default=0.0,
        metadata={"help": "Price of a million tokens of answers, thoughts included; 0 is free."},
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "Ask nothing: print how many requests and tokens are to come, and their price."
        },
    )

    def check_budget(self) -> None:
        """Check the values.

        Raises:
            ConfigError: One is out of its range, or a cost is bounded without a price.
        """
        for name in ("price_prompt", "price_answer"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        bound = self.max_tokens_total
        require(bound is None or bound >= 1, "max_tokens_total", bound, "at least 1, or None")
        require(
            self.max_cost is None or self.max_cost > 0,
            "max_cost",
            self.max_cost,
            "above 0, or None",
        )
        require(
            self.max_cost is None or self.price_prompt + self.price_answer > 0,
            "max_cost",
            self.max_cost,
            "None without prices: give --price_prompt and --price_answer",
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens, and what they cost.

    Attributes:
        requests: How many answers.
        prompt: Tokens of prompts.
        answer: Tokens of answers.
    """

    requests: int = 0
    prompt: int = 0
    answer: int = 0

    @classmethod
    def of(cls, drafts: Iterable[Draft]) -> Spent:
        """What answers took."""
        every = list(drafts)
        return cls(
            len(every), sum(one.prompt_tokens for one in every), sum(one.tokens for one in every)
        )

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.answer

    def cost(self, config: BudgetConfig) -> float:
        """At the prices of the settings."""
        money = self.prompt * config.price_prompt + self.answer * config.price_answer
        return money / _PER_MILLION

    def plus(self, prompt: int, answer: int, requests: int = 1) -> Spent:
        """With further requests."""
        return Spent(self.requests + requests, self.prompt + prompt, self.answer + answer)

    def fits(self, config: BudgetConfig) -> bool:
        """Whether it is within both bounds."""
        most, money = config.max_tokens_total, config.max_cost
        return (most is None or self.tokens <= most) and (
            money is None or self.cost(config) <= money
        )


def prompt_tokens(generator: Generator | None, messages: Sequence[Message]) -> int:
    """Tokens of a prompt: counted where the tokenizer is here, else a bound from above.

    A token of English has about four bytes, of other scripts two to three.
    """
    if isinstance(generator, MeasuresPrompts):
        return generator.prompt_tokens(messages)
    bytes_ = sum(len(one["content"].encode("utf-8", "replace")) for one in messages)
    return bytes_ // 2 + _TEMPLATE_TOKENS

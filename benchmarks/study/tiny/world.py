"""The made world: chains of operations modulo 1000, their expert, and a tokenizer of 38 tokens.

A problem is ``"482;a*7;b+356"``: start at 482, multiply by 7, add 356, always modulo 1000.
The expert writes one line a step, ``"a)482*7=374"``, and the answer in a box after the
last. What it does not write is the *working*: the step digit by digit, from the units on,
each digit with its carry (``"a482*7:145733"``). The base learns the working in its
pretraining, as the content of ``<think>``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_envs.prompts.step import Message, PromptSettings, step_messages
from srl_envs.response import CLOSE, OPEN

PROMPT = PromptSettings(title_hint=False, system_prompt="")
"""How steps are asked for, in training and when scored: without titles."""

WORKING = ":"
"""Stands in each working, and nowhere else in an answer."""

_LETTERS = "abcdefgh"
_FACTORS = (3, 4, 6, 7, 8, 9)
_SHARE_OF_PRODUCTS = 0.7
_SPECIAL = ("<pad>", "<unk>", "<eos>", "<user>", "<assistant>")
_WORDS = (OPEN, CLOSE, "\\boxed{", "Problem:", "Solution so far:", "Next step:", *_LETTERS)
_SYMBOLS = "0123456789+*=;:) }\n"
_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "<assistant>{{ message['content'] }}<eos>"
    "{% else %}<user>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on a value.

    Attributes:
        letter: Its name in the problem.
        before: The value it starts from, 0 to 999.
        sign: ``"+"`` or ``"*"``.
        operand: Of three digits if added, of one if multiplied.
    """

    letter: str
    before: int
    sign: str
    operand: int

    @property
    def after(self) -> int:
        """The value it leads to."""
        one, other = self.before, self.operand
        return (one * other if self.sign == "*" else one + other) % 1000

    @property
    def line(self) -> str:
        """What the expert writes."""
        return f"{self.letter}){self.before:03d}{self.sign}{self.operand}={self.after:03d}"

    @property
    def working(self) -> str:
        """The step digit by digit: each partial result, from the units on, as two digits."""
        parts, carry = [], 0
        for place in (1, 10, 100):
            digit = self.before // place % 10
            by = self.operand if self.sign == "*" else self.operand // place % 10
            value = (digit * by if self.sign == "*" else digit + by) + carry
            parts.append(f"{value:02d}")
            carry = value // 10
        return f"{self.letter}{self.before:03d}{self.sign}{self.operand}{WORKING}{''.join(parts)}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A problem with its solution.

    Attributes:
        text: The problem.
        steps: In order.
    """

    text: str
    steps: tuple[Step, ...]

    @property
    def answer(self) -> str:
        """The last value, as three digits."""
        return f"{self.steps[-1].after:03d}"

    @property
    def actions(self) -> list[str]:
        """The expert's steps; the last one has the answer in a box."""
        lines = [step.line for step in self.steps]
        return [*lines[:-1], f"{lines[-1]}\n\\boxed{{{self.answer}}}"]


def draw(rng: random.Random, length: int) -> Chain:
    """A chain of so many operations, at most 8."""
    value = rng.randrange(100, 1000)
    text, steps = f"{value:03d}", []
    for letter in _LETTERS[:length]:
        is_product = rng.random() < _SHARE_OF_PRODUCTS
        sign = "*" if is_product else "+"
        operand = rng.choice(_FACTORS) if is_product else rng.randrange(100, 1000)
        steps.append(Step(letter, value, sign, operand))
        text += f";{letter}{sign}{operand}"
        value = steps[-1].after
    return Chain(text, tuple(steps))


def problems(name: str, count: int, length: int, without: Sequence[Chain] = ()) -> list[Chain]:
    """Different chains, the same ones for the same name, and none of those in ``without``."""
    rng, seen = random.Random(f"problems/{name}"), {chain.text for chain in without}
    found: list[Chain] = []
    while len(found) < count:
        chain = draw(rng, length)
        if chain.text not in seen:
            seen.add(chain.text)
            found.append(chain)
    return found


def write_expert(path: Path, chains: Sequence[Chain], *, with_working: bool = False) -> None:
    """The expert's solutions as a file of our ``jsonl`` source.

    Args:
        path: To write.
        chains: What is solved.
        with_working: Give each step's working as its thought: the control.
    """
    with path.open("w", encoding="utf-8") as file:
        for number, chain in enumerate(chains):
            steps = [
                {
                    "title": step.letter,
                    "action": action,
                    "gap": "\n" * (step is not chain.steps[-1]),
                }
                | ({"thought": step.working} if with_working else {})
                for step, action in zip(chain.steps, chain.actions, strict=True)
            ]
            row = {"id": f"chain-{number}", "prompt": chain.text, "answer": chain.answer}
            file.write(json.dumps({**row, "steps": steps}) + "\n")


@dataclass(frozen=True, slots=True)
class Example:
    """What the base is pretrained on: a conversation's prompt, and the answer."""

    messages: list[Message]
    answer: str


def example(rng: random.Random, lengths: Sequence[float], share_of_working: float) -> Example:
    """One example of pretraining: a whole problem or, as often, a single step.

    Steps are asked for as SRL does, half of them with their title.

    Args:
        rng: Where it is drawn from.
        lengths: How often chains of 1, 2, ... operations are drawn.
        share_of_working: How often a thought holds the working; otherwise it holds the
            step's letter alone.
    """
    (length,) = rng.choices(range(1, len(lengths) + 1), lengths)
    chain = draw(rng, length)
    answers = []
    for step, action in zip(chain.steps, chain.actions, strict=True):
        thought = step.working if rng.random() < share_of_working else step.letter
        answers.append(f"{OPEN}{thought}{CLOSE}\n{action}")
    if rng.random() < 0.5:
        return Example([{"role": "user", "content": chain.text}], "\n".join(answers))
    number = rng.randrange(length)
    title = chain.steps[number].letter if rng.random() < 0.5 else ""
    settings = PromptSettings(title_hint=True, system_prompt="")
    messages = step_messages(chain.text, chain.actions[:number], title, settings)
    return Example(messages, answers[number])


def make_tokenizer() -> Any:
    """Words, letters, digits and signs, one token each."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = (*_SPECIAL, *_WORDS, *_SYMBOLS)
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words = [word.replace("\\", "\\\\").replace("{", "\\{") for word in _WORDS]
    pattern = Regex("|".join([*words, "[\\s\\S]"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(_SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _TEMPLATE
    fast.padding_side = "left"
    return fast

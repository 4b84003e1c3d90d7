"""Tasks as rows that other trainers carry: all that a prompt and its reward need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from srl_envs.commands import Scored, grammar_named, scored_text
from srl_envs.data.jsonl import read_lines
from srl_envs.domain import DOMAINS, OURS
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import StepInstance
from srl_envs.prompts.step import Message
from srl_envs.response import ModelAnswer, ResponseFormat
from srl_envs.reward import RewardSettings, StepReward, step_reward


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step to write. It is scored as :class:`~srl_envs.StepInstance` is.

    Attributes:
        id: Of the instance: ``"s1k-12/3"``.
        messages: The prompt.
        expert_action: What the action is compared with.
        grammar: How commands are written, a name of
            :data:`srl_envs.commands.GRAMMARS`; empty where actions are text.
        compared: What of a command is compared.
        reward: How an answer is scored.
        title: The step's title; may be empty.
    """

    id: str
    messages: list[Message]
    expert_action: str
    grammar: str = ""
    compared: Scored = "action"
    reward: RewardSettings = field(default_factory=RewardSettings)
    title: str = ""

    def scored(self, action: str) -> str:
        """What of the model's action is compared: all of it, or the command without prose."""
        return scored_text(action, self.grammar, self.compared) if self.grammar else action

    def score(self, answer: ModelAnswer, *, truncated: bool = False) -> StepReward:
        """The step reward of an answer.

        Args:
            answer: What the model wrote: a text, or thought and action apart.
            truncated: It hit the token limit, and so is malformed.
        """
        return step_reward(
            answer, self.expert_action, self.reward, truncated=truncated, scored=self.scored
        )

    @classmethod
    def of(cls, instance: StepInstance, reward: RewardSettings = RewardSettings()) -> StepRow:
        """The row of an instance.

        Raises:
            ConfigError: A registered domain reads its actions, which no row can carry.
        """
        trajectory = instance.trajectory
        if trajectory.domain not in OURS and trajectory.domain in DOMAINS:
            raise ConfigError(
                f"Trajectory {trajectory.id!r} is of the domain {trajectory.domain!r}, whose own"
                " code reads its actions: rows cannot carry that. Use the environment itself."
            )
        grammar = trajectory.grammar if trajectory.has_commands else ""
        return cls(
            instance.id,
            instance.messages,
            instance.expert_action,
            grammar,
            instance.settings.scored,
            reward,
            instance.title,
        )

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON takes it."""
        return asdict(self)

    @classmethod
    def read(cls, given: object, where: str = "a row") -> StepRow:
        """The row that :meth:`as_dict` gave, or its JSON text.

        Args:
            given: The object or the text.
            where: File and line, or column, for messages.

        Raises:
            DataError: It is not such a row.
        """
        row = read_object(given, where)
        try:
            return cls(**{**row, "reward": reward_settings(row["reward"])})._checked()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            said = said.removeprefix("StepRow.__init__() ")
            raise DataError(
                f"{where} is not a row of a step ({said}): export without --episodes."
            ) from None

    def _checked(self) -> StepRow:
        texts = (self.id, self.expert_action, self.grammar, self.title)
        said = [message[key] for message in self.messages for key in ("role", "content")]
        if not said or not all(isinstance(text, str) for text in (*texts, *said)):
            raise TypeError("a text is missing, or is not one")
        if self.compared not in get_args(Scored):
            raise ValueError(f"compared is {self.compared!r}")
        if self.grammar:
            grammar_named(self.grammar)
        return self


def read_object(given: object, where: str) -> Mapping[str, Any]:
    """An object, or the one that a JSON text writes.

    Raises:
        DataError: It is neither.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise DataError(f"{where} is not JSON ({error}): export it again.") from None
    if not isinstance(given, Mapping):
        raise DataError(
            f"{where} is {type(given).__name__}, and not a row of srl_envs.export: export it again."
        )
    return given


def reward_settings(given: Mapping[str, Any]) -> RewardSettings:
    """Settings of the reward, as ``asdict`` gave them.

    Raises:
        ConfigError: A value is out of its range.
        TypeError: A name is unknown.
    """
    return RewardSettings(**{**given, "format": ResponseFormat(**given.get("format", {}))})


def load_rows(path: str | Path) -> Iterator[StepRow]:
    """The rows of a file that ``python -m srl_envs.export --to jsonl`` wrote.

    Raises:
        DataError: It cannot be read, or a line is not such a row.
    """
    for number, row in read_lines(Path(path)):
        yield StepRow.read(row, f"{path}, line {number}")

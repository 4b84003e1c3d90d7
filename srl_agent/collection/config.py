"""The settings that all commands that ask a teacher share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from srl_agent.collection.budget import BudgetConfig
from srl_agent.inference.generator import GenerationSettings
from srl_envs.data.splits import check_whole_number
from srl_envs.errors import require


@dataclass
class TeacherConfig(BudgetConfig):
    """How a teacher is asked, and where its answers go."""

    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder of the run; rerun the same command to resume. None:"
                " runs/collect-<command>-<source>-<model>."
            )
        },
    )
    limit: int | None = field(
        default=None, metadata={"help": "Only the first so many problems. None takes all."}
    )
    tries: int = field(
        default=4,
        metadata={
            "help": (
                "Most answers to each problem, at least 1; of those that pass every check one is"
                " kept. More than 1 needs a temperature above 0."
            )
        },
    )
    enough: int | None = field(
        default=None,
        metadata={
            "help": (
                "A problem with so many answers that pass is not asked again, which saves tokens on"
                " easy ones. None asks for all tries."
            )
        },
    )
    temperature: float = field(
        default=0.7, metadata={"help": "Of every answer; 0 is greedy. 0.7 varies the tries."}
    )
    top_p: float = field(
        default=0.95,
        metadata={"help": "Nucleus of the answers, in (0, 1]; 1 keeps every token."},
    )
    max_new_tokens: int = field(
        default=8192,
        metadata={"help": "Most tokens of an answer, its thought included. Longer ones are cut."},
    )
    seed: int = field(default=0, metadata={"help": "Decides the answers together with the try."})
    system_prompt: str | None = field(
        default=None,
        metadata={"help": "System message; empty sends none. None: the command's own."},
    )
    answer_timeout: float = field(
        default=10.0,
        metadata={
            "help": (
                "Seconds of processor time that verifying an answer may take, above 0; one that"
                " takes longer is wrong."
            )
        },
    )
    grading_processes: int = field(
        default=4, metadata={"help": "Processes that verify answers side by side. At least 1."}
    )

    def check_teacher(self) -> None:
        """Check the values.

        Raises:
            ConfigError: One is out of its range.
        """
        self.check_budget()
        for name in ("tries", "max_new_tokens", "grading_processes"):
            check_whole_number(name, getattr(self, name), 1)
        for name in ("limit", "enough"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), 1, ", or None")
        require(
            self.enough is None or self.enough <= self.tries,
            "enough",
            self.enough,
            f"at most the number of tries, {self.tries}",
        )
        require(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or above")
        require(
            self.tries == 1 or self.temperature > 0,
            "tries",
            self.tries,
            "1 at temperature 0, where every answer to a problem would be the same",
        )
        require(self.answer_timeout > 0, "answer_timeout", self.answer_timeout, "above 0")

    @property
    def generation(self) -> GenerationSettings:
        """How answers are drawn."""
        return GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    def identity(self) -> dict[str, Any]:
        """The settings on which answers depend."""
        names = ("temperature", "top_p", "max_new_tokens", "seed", "system_prompt")
        return {name: getattr(self, name) for name in names}

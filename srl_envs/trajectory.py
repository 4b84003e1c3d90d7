"""The ground floor: an expert's step and solution, without prompts or commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from srl_envs.errors import DataError

Targets = Literal["all_but_last", "all"]
"""Which steps of a trajectory are targets: the paper's first ``N-1``, or all ``N``."""


@dataclass(frozen=True, slots=True)
class ExpertStep:
    """One step of an expert's solution.

    Attributes:
        action: What the step says or does: the text that a model's answer is compared
            with. Never empty, no outer white space.
        title: A short name of the step ("Coprime Pairs"); empty if the source gives
            none.
        heading: How the source wrote number and title in front of the action ("2.
            **Coprime Pairs**: "), verbatim; empty if the title is not part of the step's
            text.
        thought: The expert's reasoning before the action; empty if unknown. Never
            compared.
        observation: What the environment answered to the action; empty in math.
        gap: The white space and rules (``---``) between this step and what follows,
            verbatim, so that joining steps gives back the source.
    """

    action: str
    title: str = ""
    heading: str = ""
    thought: str = ""
    observation: str = ""
    gap: str = "\n\n"

    @property
    def text(self) -> str:
        """The step as the source wrote it: heading and action, without the gap that follows."""
        return self.heading + self.action


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An expert's whole solution of one problem.

    Attributes:
        id: Unique in its source.
        prompt: The problem, or the issue to solve.
        steps: In order; at least one.
        answer: The reference final answer ("42"); empty if there is none to verify.
        preamble: Text of the solution before the first step, verbatim.
        tail: Text of the solution after the last step, verbatim.
        domain: Which prompt and which environment fit: ``"math"``, ``"swe"``, or
            ``"steps"`` and the domains of registered sources, which share the prompt
            and the environment of ``"steps"``.
        metadata: What else the source says about it (kind of problem, origin), for the
            reader's use. ``grammar`` names the one of
            :data:`srl_envs.commands.GRAMMARS` in which the actions are written; without
            it ``"xml"`` in ``"swe"``, and text elsewhere. ``left_out_steps`` lists
            numbers of steps, from 1, that are context and not trained on.
    """

    id: str
    prompt: str
    steps: tuple[ExpertStep, ...]
    answer: str = ""
    preamble: str = ""
    tail: str = ""
    domain: str = "math"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_commands(self) -> bool:
        """Whether its actions are commands, of which only the command is compared, and not text."""
        return self.domain == "swe" or "grammar" in self.metadata

    @property
    def has_verdict(self) -> bool:
        """Whether an episode of it can be judged: by tests, checks or a reference answer."""
        if self.domain == "swe":
            return bool({"task", "test_command", "checks"} & set(self.metadata))
        return bool(self.answer)

    @property
    def grammar(self) -> str:
        """How commands are written: a name of :data:`srl_envs.commands.GRAMMARS`."""
        return str(self.metadata.get("grammar", "xml"))

    @property
    def solution(self) -> str:
        """The whole solution as the source wrote it: preamble, steps and tail joined."""
        return self.preamble + "".join(step.text + step.gap for step in self.steps) + self.tail

    def target_indices(self, targets: Targets) -> list[int]:
        """Which steps are trained on, from 0: the targets without the left-out ones.

        Raises:
            DataError: ``left_out_steps`` in the metadata is not a list of numbers of
                these steps.
        """
        left_out = self.metadata.get("left_out_steps", ())
        if not isinstance(left_out, list | tuple) or not all(
            type(number) is int and 1 <= number <= len(self.steps) for number in left_out
        ):
            raise DataError(
                f"Trajectory {self.id!r}: left_out_steps in the metadata is {left_out!r}: give a"
                f" list of numbers of its {len(self.steps)} steps, from 1."
            )
        return [i for i in range(self.target_count(targets)) if i + 1 not in left_out]

    def target_count(self, targets: Targets) -> int:
        """How many of the steps are targets: N-1 or N."""
        return len(self.steps) - (targets == "all_but_last")


def as_one_step(trajectory: Trajectory) -> Trajectory:
    """The whole solution as a single step: the paper's one-step ablation.

    Use it with ``targets="all"``. Single steps that were left out are part of it.
    """
    rest = {key: value for key, value in trajectory.metadata.items() if key != "left_out_steps"}
    whole = (ExpertStep(trajectory.solution.strip(), gap=""),)
    return replace(trajectory, steps=whole, preamble="", tail="", metadata=rest)

"""Training instances: for each target step, the prompt that asks for it and the expert's action.

An expert solution ``y = (step_1 .. step_N)`` of a problem ``x`` gives one instance for
each target step ``k``: the prompt is ``x`` with ``step_1 .. step_{k-1}``, the target is
``step_k`` (arXiv 2510.25992, section 3.2).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import overload

from srl_envs.commands import scored_text
from srl_envs.domain import DOMAINS, OURS, check_domains, domain_at
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import (
    STEPS_SYSTEM_PROMPT,
    Message,
    PromptSettings,
    shown_step,
    step_messages,
)
from srl_envs.prompts.swe import swe_step_messages
from srl_envs.trajectory import ExpertStep, Targets, Trajectory


@dataclass(frozen=True, slots=True)
class StepInstance:
    """One task: given the problem and the expert's first ``index`` steps, write the next one.

    Holds a reference and an index; the prompt is rendered whenever it is asked for, so
    that 134k instances of 5k trajectories cost the memory of the 5k.
    """

    trajectory: Trajectory
    index: int
    settings: PromptSettings = field(default_factory=PromptSettings)

    @property
    def id(self) -> str:
        """The trajectory's id and the step's number, counted from 1: ``"s1k-12/3"``."""
        return f"{self.trajectory.id}/{self.index + 1}"

    @property
    def step(self) -> ExpertStep:
        """The expert's step that is to be written."""
        return self.trajectory.steps[self.index]

    @property
    def title(self) -> str:
        """The target step's title; empty if its source gives none."""
        return self.step.title

    @property
    def expert_action(self) -> str:
        """The text that the model's action is compared with.

        What the prompt already shows is not asked for again: with the title hint on, a
        step's heading is left out. Of a command it is what ``settings.scored``
        says: the model's action must go through
        :meth:`scored`.
        """
        if _has_own_domain(self.trajectory):
            with domain_at(self.trajectory, self.index, self.settings) as (_, actions):
                return actions[self.index]
        if self.trajectory.has_commands:
            return self.scored(self.step.action)
        return self.step.action if self.settings.title_hint else self.step.text

    def scored(self, action: str) -> str:
        """What of the model's action is compared: all of it, or the command without prose."""
        if _has_own_domain(self.trajectory):
            with domain_at(self.trajectory, self.index, self.settings) as (domain, _):
                return domain.read(action).scored
        return (
            scored_text(action, self.trajectory.grammar, self.settings.scored)
            if self.trajectory.has_commands
            else action
        )

    @property
    def messages(self) -> list[Message]:
        """The chat messages (system, user) that ask for this step, as its environment asks."""
        steps = self.trajectory.steps
        if _has_own_domain(self.trajectory):
            with domain_at(self.trajectory, self.index, self.settings) as (domain, _):
                return domain.messages(self.index, finished=False)
        if self.trajectory.domain == "swe":
            turns = [(step.action, step.observation) for step in steps[: self.index]]
            return swe_step_messages(
                self.trajectory.prompt, turns, self.settings, grammar=self.trajectory.grammar
            )
        settings = self.settings
        if self.trajectory.domain != "math" and settings.system_prompt is None:
            settings = replace(settings, system_prompt=STEPS_SYSTEM_PROMPT)
        return step_messages(
            self.trajectory.prompt,
            [shown_step(step, settings) for step in steps[: self.index]],
            title=self.title,
            settings=settings,
        )


def _has_own_domain(trajectory: Trajectory) -> bool:
    """Whether another package's or a user's domain says what is asked and compared.

    Raises:
        ConfigError: There is no such domain.
    """
    if trajectory.domain in OURS:
        return False
    check_domains([trajectory])
    return trajectory.domain in DOMAINS


class StepInstances(Sequence[StepInstance]):
    """All instances of some trajectories, indexable at once and made when asked for.

    Args:
        trajectories: Their order is kept.
        targets: Which steps are targets; those that a trajectory leaves out are not.
        settings: How prompts are rendered.
        only: The ids of the instances that there are to be; None gives all. An id that
            no instance has is ignored.
    """

    def __init__(
        self,
        trajectories: Sequence[Trajectory],
        targets: Targets = "all_but_last",
        settings: PromptSettings = PromptSettings(),
        only: Container[str] | None = None,
    ) -> None:
        if targets not in ("all_but_last", "all"):
            raise ConfigError(
                f"targets is {targets!r}: use 'all_but_last' (the paper's N-1 steps) or 'all'."
            )
        self.trajectories = trajectories
        self.targets: Targets = targets
        self.settings = settings
        self.only = only
        self._steps = [
            [i for i in one.target_indices(targets) if only is None or f"{one.id}/{i + 1}" in only]
            for one in trajectories
        ]
        self._ends = list(accumulate(map(len, self._steps)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> StepInstance: ...
    @overload
    def __getitem__(self, index: slice) -> list[StepInstance]: ...
    def __getitem__(self, index: int | slice) -> StepInstance | list[StepInstance]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"instance {index} of {len(self)}")
        which = bisect_right(self._ends, position)
        first = self._ends[which - 1] if which else 0
        step = self._steps[which][position - first]
        return StepInstance(self.trajectories[which], step, self.settings)

    def with_prompt(self, settings: PromptSettings) -> StepInstances:
        """The same with other prompts."""
        return StepInstances(self.trajectories, self.targets, settings, self.only)


class TrajectorySet(Sequence[Trajectory]):
    """Trajectories of one source, with a count of the rows that were left out.

    Attributes:
        source: The source's name, for messages.
        rejected: How many rows were left out, by reason.
        overlap: How many of the trajectories share their question with a benchmark that
            this project evaluates, by benchmark.
    """

    def __init__(
        self,
        trajectories: Iterable[Trajectory],
        source: str = "",
        rejected: Mapping[str, int] | None = None,
        overlap: Mapping[str, int] | None = None,
    ) -> None:
        self._trajectories = tuple(trajectories)
        self.source = source
        self.rejected: Counter[str] = Counter(rejected or {})
        self.overlap: Counter[str] = Counter(overlap or {})

    def __len__(self) -> int:
        return len(self._trajectories)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> TrajectorySet: ...
    def __getitem__(self, index: int | slice) -> Trajectory | TrajectorySet:
        if isinstance(index, slice):
            return TrajectorySet(self._trajectories[index], self.source, self.rejected)
        return self._trajectories[index]

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self._trajectories)

    def instances(
        self, targets: Targets = "all_but_last", settings: PromptSettings | None = None
    ) -> StepInstances:
        """All step instances of these trajectories, lazily."""
        return StepInstances(self, targets, settings or PromptSettings())

    @property
    def skipped_turns(self) -> Counter[str]:
        """How many turns of these trajectories' agents are not a step, by reason."""
        counts: Counter[str] = Counter()
        for trajectory in self:
            skipped = trajectory.metadata.get("skipped_turns")
            if isinstance(skipped, dict):
                counts.update(skipped)
        return counts

    def __repr__(self) -> str:
        notes = "".join(
            f"; {what}: {', '.join(f'{count} {reason}' for reason, count in counts.most_common())}"
            for what, counts in (
                ("left out", self.rejected),
                ("skipped turns", self.skipped_turns),
                ("questions that are in a benchmark", self.overlap),
            )
            if counts
        )
        return f"TrajectorySet({self.source!r}, {len(self)} trajectories{notes})"

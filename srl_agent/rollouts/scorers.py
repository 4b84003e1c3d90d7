"""What a policy is asked, and how its answers are scored.

The steps of an expert (SRL), or whole problems by their final answer (RLVR).

The trainer, the validation and the warm-up speak to instances and scorers only; nothing
else in them depends on the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from srl_envs.answers.grading import Grader, extract_answer
from srl_envs.data.splits import question_key
from srl_envs.instances import StepInstance
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT, evaluation_messages
from srl_envs.prompts.step import Message
from srl_envs.response import MALFORMATIONS, Response, ResponseFormat
from srl_envs.reward import RewardSettings, StepReward, step_rewards
from srl_envs.rewards import needs_state
from srl_envs.trajectory import Trajectory


class Instance(Protocol):
    """One prompt, and what an answer to it is compared with."""

    @property
    def id(self) -> str:
        """Unique in its data."""

    @property
    def title(self) -> str:
        """A short name of what is to be written; may be empty."""

    @property
    def messages(self) -> list[Message]:
        """The chat messages that ask for it."""

    @property
    def expert_action(self) -> str:
        """The expert's step, or the reference answer."""

    def scored(self, action: str) -> str:
        """What of the model's action is compared with it."""


class Measure(Protocol):
    """What rewards are called and mean, and which shape answers have."""

    measure: str
    """What the mean reward is called: ``"step reward"``, ``"accuracy"``, or another name."""
    explained: str
    """What the reward is, in a sentence for the reader of a report."""
    malformations: tuple[str, ...]
    """Every name that the ``response.error`` of a reward can have."""
    format: ResponseFormat | None
    """Which shape answers must have, and so how prompts end; None leaves it to the template."""

    def close(self) -> None:
        """Free what it holds."""


class Scorer(Measure, Protocol):
    """Scores single answers."""

    def score(
        self, instances: Sequence[Instance], texts: Sequence[str], truncated: Sequence[bool]
    ) -> list[StepReward]:
        """The reward of each answer to its instance.

        Args:
            instances: One for each text.
            texts: The answers, from the think block on that a prompt opened.
            truncated: Whether an answer hit the token limit.
        """


class StepScorer:
    """SRL: how similar the model's step is to the expert's, -1 for a malformed answer.

    Args:
        settings: See :mod:`srl_envs.reward`.
    """

    measure = "step reward"
    explained = "Similarity to the expert's step, -1 where malformed."
    malformations: tuple[str, ...] = MALFORMATIONS

    def __init__(self, settings: RewardSettings) -> None:
        self.format: ResponseFormat | None = settings.format
        # Texts that are scored begin with what their prompt opened.
        self.settings = replace(settings, format=replace(settings.format, think_prefilled=False))

    def score(
        self, instances: Sequence[Instance], texts: Sequence[str], truncated: Sequence[bool]
    ) -> list[StepReward]:
        """The step reward of each answer; one that hit the token limit is malformed."""
        expert = [instance.expert_action for instance in instances]
        return step_rewards(
            texts,
            expert,
            self.settings,
            truncated=truncated,
            scored=[instance.scored for instance in instances],
            at=[
                (instance.trajectory, instance.index)
                for instance in instances
                if isinstance(instance, StepInstance)
            ]
            if needs_state(self.settings.name)
            else None,
        )

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class AnswerInstance:
    """A whole problem, asked as an evaluation asks it.

    Attributes:
        trajectory: Holds the problem, its reference answer, and the expert's solution.
        system_prompt: The system message; empty sends none.
    """

    trajectory: Trajectory
    system_prompt: str = EVALUATION_SYSTEM_PROMPT

    @property
    def id(self) -> str:
        """The trajectory's."""
        return self.trajectory.id

    @property
    def title(self) -> str:
        """None is shown: the whole solution is to be written."""
        return ""

    @property
    def messages(self) -> list[Message]:
        """The prompt of :mod:`srl_envs.prompts.problem`, so that training meets evaluation."""
        return list(evaluation_messages(self.trajectory.prompt, self.system_prompt))

    @property
    def expert_action(self) -> str:
        """The reference answer; empty if there is none."""
        return self.trajectory.answer

    def scored(self, action: str) -> str:
        """All of the answer."""
        return action


class AnswerScorer:
    """RLVR: 1 if the final answer is the reference, else 0.

    Found and verified as in an evaluation (:mod:`srl_envs.answers.grading`).

    An answer without a final answer is named malformed (``truncated`` if it hit the
    token limit, else ``no_answer``), for the logs: its reward is 0 as for a wrong one.

    Args:
        timeout: Seconds of processor time that verifying one answer may take; one that
            takes longer is wrong.
    """

    measure = "accuracy"
    explained = "Share of right final answers."
    malformations: tuple[str, ...] = ("truncated", "no_answer")
    format: ResponseFormat | None = None

    def __init__(self, timeout: float = 10.0) -> None:
        self._grader = Grader(timeout)

    def score(
        self, instances: Sequence[Instance], texts: Sequence[str], truncated: Sequence[bool]
    ) -> list[StepReward]:
        """1 or 0 for each answer."""
        answers = [extract_answer(text) for text in texts]
        verdicts = self._grader.grade(
            [
                (answer, instance.expert_action)
                for answer, instance in zip(answers, instances, strict=True)
            ]
        )
        responses = [
            Response("", answer)
            if answer is not None
            else Response("", "", "truncated" if cut else "no_answer")
            for answer, cut in zip(answers, truncated, strict=True)
        ]
        return [
            StepReward(float(right), None, response)
            for right, response in zip(verdicts, responses, strict=True)
        ]

    def close(self) -> None:
        """End the processes that verify."""
        self._grader.close()


def verifiable(
    trajectories: Iterable[Trajectory], system_prompt: str = EVALUATION_SYSTEM_PROMPT
) -> tuple[list[AnswerInstance], int]:
    """Each question once, if any trajectory has a reference answer to it.

    Also returns how many questions have none.
    """
    first: dict[str, Trajectory] = {}
    for trajectory in trajectories:
        key = question_key(trajectory.prompt)
        if key not in first or not first[key].answer:
            first[key] = trajectory
    instances = [
        AnswerInstance(trajectory, system_prompt)
        for trajectory in first.values()
        if trajectory.answer
    ]
    return instances, len(first) - len(instances)

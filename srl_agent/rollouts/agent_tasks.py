"""The tasks that an agent learns from and is asked: whole trajectories with a verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import gymnasium as gym

from srl_agent.rollouts.places import Task
from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.env import ExpertStepEnv
from srl_envs.instances import StepInstance
from srl_envs.math import MATH_AGENT_SYSTEM_PROMPT
from srl_envs.prompts.step import STEPS_SYSTEM_PROMPT, Message, PromptSettings
from srl_envs.response import MALFORMATIONS, ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.steps import StepsEnv, TextDomain
from srl_envs.swe.agent_session import require_runnable
from srl_envs.swe.tasks.hidden_tests import require_tests_that_run
from srl_envs.trajectory import Trajectory

if TYPE_CHECKING:  # its client of the engine is an extra
    from srl_agent.rollouts.image_budget import ImageBudget

_NO_BOUND = 1_000_000  # turns: the bound is the roll-out's


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the environments of a run share.

    Attributes:
        prompt: How prompts are rendered.
        reward: How a turn is compared with the expert's, and which shape it must have.
        is_correct: Judges final answers of math; called in several threads.
        sandbox: A name of :data:`srl_envs.sandboxes.SANDBOXES`.
        command_timeout: Seconds that a shell command may take.
        images: Fetches the images of tasks, and keeps them within a bound; None: they
            are there.
    """

    prompt: PromptSettings
    reward: RewardSettings
    is_correct: Callable[[str, str], bool]
    sandbox: str = "docker"
    command_timeout: float = 60.0
    images: ImageBudget | None = None


class SharedVerifier:
    """One process that verifies the math answers of all threads."""

    def __init__(self) -> None:
        self._verifier, self._lock = AnswerVerifier(), threading.Lock()

    def __call__(self, answer: str, reference: str) -> bool:
        """Whether the answer equals the reference."""
        with self._lock:
            return self._verifier.verify(answer, reference)

    def close(self) -> None:
        """End the process; the next answer starts another."""
        with self._lock:
            self._verifier.close()


@dataclass(frozen=True, slots=True)
class AgentInstance:
    """A trajectory's task, to be solved by the agent's own steps.

    Attributes:
        trajectory: Its problem is asked; its steps are what turns are compared with.
        around: What all environments share.
    """

    trajectory: Trajectory
    around: Surroundings

    @property
    def id(self) -> str:
        """The trajectory's."""
        return self.trajectory.id

    @property
    def title(self) -> str:
        """None is shown: the whole task is asked."""
        return ""

    @property
    def messages(self) -> list[Message]:
        """The first prompt, as the environment shows it."""
        return StepInstance(self.trajectory, 0, self._prompt).messages

    @property
    def expert_action(self) -> str:
        """The reference answer; empty where tests judge."""
        return self.trajectory.answer

    def scored(self, action: str) -> str:
        """All of it."""
        return action

    @property
    def task(self) -> Task:
        """For :class:`~srl_agent.rollouts.episodes.Episodes`."""
        return Task(self.id, self._environment)

    @property
    def _prompt(self) -> PromptSettings:
        """What the agent sees: its domain's system message, and no titles of the expert's."""
        prompt, domain = replace(self.around.prompt, title_hint=False), self.trajectory.domain
        if prompt.system_prompt is not None or domain == "swe":
            return prompt
        own = MATH_AGENT_SYSTEM_PROMPT if domain == "math" else STEPS_SYSTEM_PROMPT
        return replace(prompt, system_prompt=own)

    def _environment(self) -> gym.Env[Any, Any]:
        around, prompt = self.around, self._prompt
        # Texts that are scored begin with what their prompt opened.
        format = replace(around.reward.format, think_prefilled=False)
        common: dict[str, Any] = {
            "trajectories": [self.trajectory],
            "follow": "agent",
            "reward": replace(around.reward, format=format),
            "max_steps": _NO_BOUND,
        }
        if self.trajectory.domain == "swe":
            from srl_agent.rollouts.held_images import HeldImageEnv

            return HeldImageEnv(
                around.images,
                prompt=prompt,
                sandbox=around.sandbox,
                command_timeout=around.command_timeout,
                **common,
            )
        if self.trajectory.domain == "math":
            return ExpertStepEnv(TextDomain(prompt, around.is_correct), **common)
        return StepsEnv(title_hint=False, system_prompt=prompt.system_prompt or "", **common)


class AgentInstances(Sequence[AgentInstance]):
    """The tasks of trajectories.

    Args:
        trajectories: Each with a verdict.
        around: What all environments share.
    """

    def __init__(self, trajectories: Sequence[Trajectory], around: Surroundings) -> None:
        self.trajectories, self.around = trajectories, around

    def __len__(self) -> int:
        return len(self.trajectories)

    @overload
    def __getitem__(self, index: int) -> AgentInstance: ...
    @overload
    def __getitem__(self, index: slice) -> list[AgentInstance]: ...
    def __getitem__(self, index: int | slice) -> AgentInstance | list[AgentInstance]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return AgentInstance(self.trajectories[index], self.around)

    def with_prompt(self, prompt: PromptSettings) -> AgentInstances:
        """The same with other prompts."""
        return AgentInstances(self.trajectories, replace(self.around, prompt=prompt))


def judged_tasks(trajectories: Iterable[Trajectory]) -> tuple[list[Trajectory], int]:
    """The tasks whose episodes can be judged, each once.

    Returns:
        The first trajectory of each, and how many other tasks there are.

    Raises:
        ConfigError: Commands of a trajectory, or its tests, cannot be run.
    """
    first: dict[tuple[str, object], Trajectory] = {}
    for trajectory in trajectories:
        first.setdefault((trajectory.prompt, trajectory.metadata.get("image")), trajectory)
    judged = [trajectory for trajectory in first.values() if trajectory.has_verdict]
    for trajectory in judged:
        if trajectory.domain == "swe":
            require_runnable(trajectory.grammar)
            require_tests_that_run(trajectory)
    return judged, len(first) - len(judged)


class EpisodeMeasure:
    """A :class:`~srl_agent.rollouts.scorers.Measure`: environments judge their episodes.

    Args:
        format: Which shape answers must have.
        when_closed: Called by :meth:`close`.
    """

    measure = "solve rate"
    explained = "Share of episodes whose hidden tests pass, or whose final answer is right."
    malformations: tuple[str, ...] = MALFORMATIONS

    def __init__(
        self, format: ResponseFormat, when_closed: Callable[[], None] = lambda: None
    ) -> None:
        self.format: ResponseFormat | None = format
        self._when_closed = when_closed

    def close(self) -> None:
        """End what verifies."""
        self._when_closed()

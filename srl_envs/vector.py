"""The batched vector form: steps its environments together, scores their answers in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError
from srl_envs.math import MathEnv
from srl_envs.response import ModelAnswer
from srl_envs.reward import response_rewards
from srl_envs.steps import StepsEnv

Result = TypeVar("Result")


class ExpertStepVectorEnv(VectorEnv[tuple[str, ...], Sequence[ModelAnswer], Any]):
    """``num_envs`` environments over the same trajectories, with gymnasium's next-step autoreset.

    Equal to ``SyncVectorEnv`` in observations, rewards and infos; the data is loaded
    once, and one batch scores all answers.

    Args:
        num_envs: How many; at least 1.
        settings: Passed on to the environment.
    """

    environment: Callable[..., ExpertStepEnv]
    threads: int = 1
    """How many are stepped or reset at once; above 1 where they wait for work outside Python."""

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs is {num_envs}: it must be at least 1.")
        first = self.environment(**settings)
        settings["trajectories"] = first.trajectories
        self.envs = [first, *(self.environment(**settings) for _ in range(num_envs - 1))]
        self.num_envs = num_envs
        self.render_mode = first.render_mode
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = (
            first.observation_space,
            first.action_space,
        )
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._finished = [False] * num_envs

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Start an episode in each; a single seed gives ``seed + i`` to environment ``i``.

        Raises:
            ValueError: There are more or fewer seeds than environments.
        """
        seeds = (
            [None if seed is None else seed + i for i in range(self.num_envs)]
            if seed is None or isinstance(seed, int)
            else seed
        )
        if len(seeds) != self.num_envs:
            raise ValueError(
                f"{len(seeds)} seeds for {self.num_envs} environments: give one each, or a single "
                "one."
            )
        states = self._each(lambda i: self.envs[i].reset(seed=seeds[i], options=options))
        observations, infos = [], dict[str, Any]()
        for i, (observation, info) in enumerate(states):
            observations.append(observation)
            infos = self._add_info(infos, info, i)
        self._finished = [False] * self.num_envs
        return tuple(observations), infos

    def step(
        self, actions: Sequence[ModelAnswer]
    ) -> tuple[tuple[str, ...], Any, Any, Any, dict[str, Any]]:
        """Score all answers in one batch; one that had finished is reset, its answer ignored.

        Raises:
            ValueError: There are more or fewer actions than environments.
            ResetNeeded: An environment has no episode under way.
            InvalidAction: An action is neither a text nor thought and action.
        """
        if isinstance(actions, str) or len(actions) != self.num_envs:
            given = "one text" if isinstance(actions, str) else f"{len(actions)} actions"
            raise ValueError(
                f"{given} for {self.num_envs} environments: give a sequence with one action each."
            )
        stepping = [i for i in range(self.num_envs) if not self._finished[i]]
        answers = {i: self.envs[i].read(actions[i]) for i in stepping}
        scores = dict(
            zip(
                stepping,
                response_rewards(
                    [answer.response for answer in answers.values()],
                    [answer.reading.scored for answer in answers.values()],
                    [answer.expert for answer in answers.values()],
                    self.envs[0].reward_settings,
                    [answer.at for answer in answers.values()],
                ),
                strict=True,
            )
        )
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations, truncations = (
            np.zeros(self.num_envs, dtype=np.bool_),
            np.zeros(self.num_envs, dtype=np.bool_),
        )
        transitions = self._each(
            lambda i: (
                self.envs[i].advance(answers[i], scores[i])
                if i in scores
                else _restarted(self.envs[i])
            )
        )
        observations, infos = [], dict[str, Any]()
        for i, (observation, rewards[i], terminations[i], truncations[i], info) in enumerate(
            transitions
        ):
            observations.append(observation)
            infos = self._add_info(infos, info, i)
        self._finished = [bool(ended) for ended in terminations | truncations]
        return tuple(observations), rewards, terminations, truncations, infos

    def render(self) -> tuple[str | None, ...]:  # type: ignore[override]
        """What each environment renders."""
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments."""
        self._each(lambda i: self.envs[i].close())

    def _each(self, work: Callable[[int], Result]) -> list[Result]:
        """``work`` of every environment's number, in order."""
        if self.threads == 1:
            return [work(i) for i in range(self.num_envs)]
        with ThreadPoolExecutor(max_workers=min(self.threads, self.num_envs)) as pool:
            return list(pool.map(work, range(self.num_envs)))


def _restarted(env: ExpertStepEnv) -> tuple[str, float, bool, bool, dict[str, Any]]:
    observation, info = env.reset()
    return observation, 0.0, False, False, info


class MathVectorEnv(ExpertStepVectorEnv):
    """``SRL-Math-v0`` in its batched form; one process verifies the answers of all."""

    environment = MathEnv

    def __init__(
        self, num_envs: int = 1, *, verifier: AnswerVerifier | None = None, **settings: Any
    ) -> None:
        super().__init__(num_envs, verifier=verifier or AnswerVerifier(), **settings)


class StepsVectorEnv(ExpertStepVectorEnv):
    """``SRL-Steps-v0`` in its batched form."""

    environment = StepsEnv

"""Instances -> patches by an agent: one episode in each instance's own image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.prompt_budget import PromptBudget
from srl_agent.evaluation.swebench.records import Records
from srl_agent.inference.generator import Generator
from srl_agent.rollouts.episode_records import Episode, record_of
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.held_images import HeldImageEnv
from srl_agent.rollouts.image_budget import ImageBudget
from srl_agent.rollouts.places import Task
from srl_agent.rollouts.policies import GeneratorPolicy
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.swe.domain import MakeSandbox
from srl_envs.swe.env import SWEEnv
from srl_envs.trajectory import ExpertStep, Trajectory

_NO_BOUND = 1_000_000  # turns: the bound is the roll-out's


class AgentWriter:
    """Lets a model act in the images of instances; what it changed there is its patch.

    Args:
        config: How to ask.
        generator: The model.
        budget: Of every prompt.
        images: Fetches the instances' images, and keeps them while they are in use.
        records: Where episodes and patches are kept; those that it holds are not made
            again.
        model: The model's name in predictions.

    Attributes:
        errors: Instance id -> why there is no patch.
    """

    def __init__(
        self,
        config: SweBenchConfig,
        generator: Generator,
        budget: PromptBudget,
        images: ImageBudget,
        records: Records,
        model: str,
    ) -> None:
        self._config, self._images, self._records = config, images, records
        self._model = model
        self._policy = GeneratorPolicy(generator, config.generation())
        self._prompt = PromptSettings(
            history_turns=config.history_turns,
            max_prompt_tokens=budget.max_prompt_tokens,
            count_tokens=budget.count_tokens,
        )
        self._reward = RewardSettings(format=ResponseFormat(require_think=config.require_think))
        self._patches: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    def write(
        self, instances: Sequence[SweBenchInstance], side_by_side: int
    ) -> Iterator[SweBenchInstance]:
        """Let the model act; each instance is yielded once its prediction is in the records.

        Args:
            instances: Without a prediction in the records.
            side_by_side: How many episodes are under way at a time.

        Raises:
            InfrastructureError: The model cannot be reached.
            ConfigError: The model refuses what it is asked.
        """
        by_id = {instance.instance_id: instance for instance in instances}
        tasks = []
        for name, instance in by_id.items():
            known = self._records.answer(name).get("agent")
            if known is None:
                tasks.append((Task(name, partial(self._environment, instance)), 0))
            else:  # a kill came between the episode and the prediction
                self._records.add_prediction(name, self._model, known["patch"])
                yield instance
        episodes = Episodes(
            self._policy,
            self._config.limits(side_by_side),
            format=self._reward.format,
            whole_history=self._config.episode_history == "whole",
        )
        for episode in episodes.each(tasks):
            if episode.outcome is None:
                self.errors[episode.task] = episode.failure
                continue
            self._keep(episode)
            yield by_id[episode.task]

    def _environment(self, instance: SweBenchInstance) -> SWEEnv:
        name = instance.instance_id

        def keep_patch(trajectory: Trajectory, patch: str, make_sandbox: MakeSandbox) -> None:
            self._patches[name] = patch  # the harness judges it

        # No step of an expert is known; a trajectory has one at least.
        task = Trajectory(
            name,
            instance.problem_statement,
            (ExpertStep("submit"),),
            domain="swe",
            metadata={"image": instance.image, "grammar": self._config.grammar},
        )
        return HeldImageEnv(
            self._images,
            trajectories=[task],
            follow="agent",
            prompt=self._prompt,
            reward=self._reward,
            command_timeout=self._config.command_timeout,
            max_steps=_NO_BOUND,
            verify=keep_patch,
        )

    def _keep(self, episode: Episode) -> None:
        name = episode.task
        patch = self._patches.pop(name)
        answer = {"instance_id": name, "mode": "agent"}
        self._records.write_answer(
            name, {**answer, "agent": {**record_of(episode), "patch": patch}}
        )
        self._records.add_prediction(name, self._model, patch)

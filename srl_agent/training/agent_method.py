"""The method ``agent``: GRPO over many-turn episodes, judged by their verified outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srl_agent.rollouts.agent_tasks import (
    AgentInstance,
    AgentInstances,
    EpisodeMeasure,
    SharedVerifier,
    Surroundings,
    judged_tasks,
)
from srl_agent.rollouts.episode_validation import validate_episodes
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.held_images import image_budget
from srl_agent.rollouts.policies import SamplerPolicy
from srl_agent.rollouts.sampler import Sampler
from srl_agent.rollouts.scorers import Instance, Measure
from srl_agent.runs.answers import Answer
from srl_agent.training.methods import Examples, Method, register_method, step_answer
from srl_envs.errors import require
from srl_envs.instances import StepInstance, TrajectorySet
from srl_envs.rewards import needs_state
from srl_envs.sandboxes import SANDBOXES

if TYPE_CHECKING:  # its client of the engine is an extra
    from srl_agent.rollouts.image_budget import ImageBudget

LOSS_TYPES = ("grpo", "dapo", "dr_grpo", "cispo")


@register_method("agent")
class Agent(Method):
    """Reinforcement learning of agents: the model's own actions, verified outcomes."""

    label = "Agent RL"
    summary = "many-turn episodes in the environment, reward is 1 if the outcome is verified"
    only_own_sampler = True
    trainer = "srl_agent.training.trl.episodes:episode_trainer"

    def __init__(self) -> None:
        self._verifier = SharedVerifier()
        self._images: ImageBudget | None = None

    def unused(self, args: Any) -> tuple[str, ...]:
        """Turns are compared with the expert's only where that has a weight."""
        reward = () if args.turn_similarity_weight else ("reward",)
        images = () if args.sandbox == "docker" else ("max_image_disk_gb",)
        return ("sft_on", *reward, *images)

    def check(self, args: Any) -> None:
        """See :meth:`Method.check`."""
        args.check_episodes()
        SANDBOXES.named(args.sandbox)
        require(
            not needs_state(args.reward),
            "reward",
            args.reward,
            "one that compares texts for agent: its turns are not in the expert's state",
        )
        require(args.loss_type in LOSS_TYPES, "loss_type", args.loss_type, f"one of {LOSS_TYPES}")
        # Weights of episodes reach the policy's loss through its advantages, not the KL term.
        require(
            args.beta == 0 or args.loss_type == "dapo",
            "beta",
            args.beta,
            "0, or loss_type dapo, for agent",
        )
        require(
            not (args.mask_truncated_completions and args.episode_history == "whole"),
            "mask_truncated_completions",
            True,
            "false with episode_history whole, where a row is a whole episode",
        )
        threshold = args.off_policy_mask_threshold
        require(
            threshold is None,
            "off_policy_mask_threshold",
            threshold,
            "left alone for agent: it compares whole answers, and a row may be an episode",
        )

    def examples(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """The trajectories that have a verdict, each task once.

        Raises:
            ConfigError: Commands of a trajectory, or its tests, cannot be run.
        """
        require(data.steps == "each", "steps", data.steps, "left alone for agent")
        judged, left_out = judged_tasks(trajectories)
        if self._images is None:
            ledger = Path(str(args.output_dir)) / f"fetched_images-{args.process_index}.txt"
            self._images = image_budget(judged, args.sandbox, args.max_image_disk_gb, ledger)
        around = Surroundings(
            data.prompt_settings,
            args.reward_settings,
            self._verifier,
            args.sandbox,
            args.command_timeout,
            self._images,
        )
        return Examples(
            AgentInstances(judged, around),
            "tasks",
            f", without {left_out} that have no tests or reference answer" if left_out else "",
            "use data with images and tests, or with answers",
        )

    def held_out(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """See :meth:`examples`."""
        return self.examples(trajectories, data, args)

    def scorer(self, args: Any) -> Measure:
        """See :class:`~srl_agent.rollouts.agent_tasks.EpisodeMeasure`."""
        return EpisodeMeasure(args.reward_settings.format, self._close)

    def _close(self) -> None:
        self._verifier.close()
        images, self._images = self._images, None
        if images is not None:
            images.__exit__()

    def expert_answer(self, instance: Instance, args: Any) -> str:
        """The expert's first step."""
        assert isinstance(instance, AgentInstance)
        return step_answer(StepInstance(instance.trajectory, 0, instance.around.prompt))

    def answer(
        self,
        instances: Sequence[Instance],
        model: Any,
        sampler: Sampler,
        args: Any,
        scorer: Any,
        seed: Sequence[int],
        gather: Callable[[list[Any]], list[Any]] | None,
    ) -> tuple[dict[str, float], list[Answer]]:
        """Episodes of each task."""
        policy = sampler_policy(model, sampler, args, int(args.seed))
        return validate_episodes(
            [one for one in instances if isinstance(one, AgentInstance)],
            episodes_of(policy, args),
            num_samples=args.num_generations_eval or 1,
            gather=gather,
        )


def sampler_policy(model: Any, sampler: Sampler, args: Any, seed: int) -> SamplerPolicy:
    """A model that answers in episodes as training samples."""
    context = args.episode_context
    if context is None:
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return SamplerPolicy(
        model, sampler.tokenizer, sampler.eos_token_ids, sampler.settings, seed, context
    )


def episodes_of(policy: Any, args: Any, **more: Any) -> Episodes:
    """The roll-outs of a run."""
    return Episodes(
        policy,
        args.episode_limits,
        format=args.reward_settings.format,
        whole_history=args.episode_history == "whole",
        **more,
    )

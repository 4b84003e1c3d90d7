"""GRPO over episodes: many turns with an environment, judged at their end.

A group's roll-outs are episodes here, and the rows of an optimizer step vary in number, so
a slot of gradient accumulation holds as many micro-batches as it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from srl_agent.rollouts.agent_tasks import AgentInstance
from srl_agent.rollouts.dynamic_sampling import RolloutGroup
from srl_agent.rollouts.episode_groups import EpisodeGroup, episode_metrics
from srl_agent.rollouts.episode_records import Episode, EpisodeLog
from srl_agent.rollouts.scorers import Instance
from srl_agent.runs.answers import Answer
from srl_agent.training.agent_method import episodes_of, sampler_policy
from srl_agent.training.methods import METHODS
from srl_agent.training.trl.episode_rows import episode_windows
from srl_agent.training.trl.grpo import SRLTrainer
from srl_agent.training.trl.samplers import SampledBy
from srl_envs.errors import ConfigError, InfrastructureError


def episode_trainer(*parts: Any) -> SRLTrainer:
    """The trainer of the method ``agent``; see :class:`SRLTrainer` for the parts.

    Raises:
        ConfigError: Completions are not written by this project's sampler.
    """
    trainer = SRLTrainer(*parts)
    if trainer.sampled_by is not SampledBy.OWN:
        raise ConfigError(
            "The method agent samples with this project's own sampler, from whole weights: leave"
            " ds3_gather_for_generation true."
        )
    # All of its loss types divide by the tokens of a step; the rest is in the advantages.
    trainer.loss_type = "cispo" if trainer.args.loss_type == "cispo" else "dapo"
    trainer.roll_outs = EpisodeRollOuts(trainer)
    return trainer


class EpisodeRollOuts:
    """Episodes of tasks for a trainer.

    Args:
        trainer: An :class:`SRLTrainer`.
    """

    def __init__(self, trainer: SRLTrainer) -> None:
        self._trainer = trainer
        rank, megabytes = trainer.accelerator.process_index, trainer.args.episode_log_mb
        folder = Path(str(trainer.args.output_dir))
        self._log = EpisodeLog(folder / f"episodes-{rank}.jsonl", megabytes * 2**20)
        self._rolled: list[Episode] = []

    # ---------------------------------------------------------------- rollouts

    def roll_out(self, count: int) -> list[RolloutGroup]:
        """Episodes of fresh tasks; groups without any outcome are left out.

        Raises:
            InfrastructureError: The machinery failed in all of them.
        """
        accelerator = self._trainer.accelerator
        processes, rank = accelerator.num_processes, accelerator.process_index
        first = self._trainer.prompts.stream.position
        mine = self._trainer.prompts.take(count + -count % processes)[rank::processes]
        tasks = [instance.task for instance, _ in mine if isinstance(instance, AgentInstance)]
        step, size = self._trainer.state.global_step + 1, self._trainer.num_generations

        def note(episode: Episode) -> None:
            self._log.write(episode, step=step)

        with self._sampling() as model:
            # Another pass over the tasks draws anew.
            seed = self._trainer.args.seed * 1_000_003 + first
            policy = sampler_policy(model, self._trainer.sampler, self._trainer.args, seed)
            switch = self._trainer.clock.switch
            roll_outs = episodes_of(policy, self._trainer.args, when_finished=note, switch=switch)
            episodes = roll_outs.roll_out(tasks, size)
        self._trainer.clock.switch("other")
        grouped = [episodes[start : start + size] for start in range(0, len(episodes), size)]
        asked = [
            self._trainer.rollout_log.asked(
                instance, episodes=[one.number for one in group if one.reward is not None]
            )
            for (instance, _), group in zip(mine, grouped, strict=True)
        ]
        by_rank = gather_object([list(zip(grouped, asked, strict=True))])
        everything = [group for same_place in zip(*by_rank, strict=True) for group in same_place]
        self._rolled += [episode for group, _ in everything for episode in group]
        groups: list[RolloutGroup] = [
            EpisodeGroup.of(group, asked)
            for group, asked in everything
            if any(episode.reward is not None for episode in group)
        ]
        if not groups:
            failure = next((one.failure for one in self._rolled if one.failure), "no verdict")
            raise InfrastructureError(
                f"None of {len(self._rolled)} episodes has an outcome: {failure} Mend it and run"
                " the same command: it resumes."
            )
        return groups

    @contextmanager
    def _sampling(self) -> Iterator[Any]:
        """The model to sample with, in evaluation mode and in the precision of training."""
        policy = self._trainer.accelerator.unwrap_model(self._trainer.model)
        model = self._trainer.rollout_model.at(self._trainer.state.global_step, policy)
        was_training = model.training
        model.eval()
        try:
            with self._trainer.accelerator.autocast():
                yield model
        finally:
            model.train(was_training)

    # ---------------------------------------------------------------- batches

    def micro_batches(self, groups: Any) -> list[dict[str, Any]]:
        """This process's slots of one generation, each with its micro-batches."""
        accelerator = self._trainer.accelerator
        processes, rank = accelerator.num_processes, accelerator.process_index
        slots: list[dict[str, Any]] = []
        padding = self._trainer.processing_class.pad_token_id
        for window in episode_windows(groups, self._trainer.args, padding):
            shared = {
                "num_items_in_batch": torch.tensor(
                    window.tokens * self._trainer.args.windows,
                    device=self._trainer.accelerator.device,
                ),
                "loss_weight": torch.tensor(1.0),
            }
            slots += [
                {"parts": [self._trainer._inputs_of(rows) | shared for rows in slot]}
                for slot in window.of_process(rank, processes)
            ]
        return slots

    # ---------------------------------------------------------------- logs, validation

    def metrics(self) -> dict[str, float]:
        """Of all episodes since the last call."""
        metrics = episode_metrics(self._rolled)
        self._rolled.clear()
        return metrics

    def answer(self, instances: Sequence[Instance]) -> tuple[dict[str, float], list[Answer]]:
        """Solve tasks: the metrics, and one record per episode."""
        accelerator = self._trainer.accelerator
        processes, rank = accelerator.num_processes, accelerator.process_index
        with self._sampling() as model:
            return METHODS.named(self._trainer.args.method).answer(
                list(instances)[rank::processes],
                model,
                self._trainer.sampler,
                self._trainer.args,
                self._trainer.scorer,
                (self._trainer.args.seed, rank),
                gather_object if processes > 1 else None,
            )

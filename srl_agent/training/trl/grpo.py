"""GRPO with dynamic sampling: TRL's trainer, with batches filled before training.

The method (SRL, RLVR) decides how answers are scored.

What TRL does stays TRL's: loss, optimizer, precision, distribution, checkpoints,
logging. What is here: which prompts are rolled out, which groups are kept, what is
logged of them, and a checkpoint that resumes to the same losses. How the kept groups
are learned from is :mod:`policy_loss`'s, how time is measured :mod:`step_times`'s, and
what is done with held-out instances :mod:`held_out`'s (all in this package).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset

from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup, fill_batch
from srl_agent.rollouts.instance_stream import InstanceStream
from srl_agent.rollouts.sampler import RolloutModel, Sampler, encode_prompt, is_truncated, score
from srl_agent.rollouts.scorers import Instance, Scorer, StepScorer
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.held_out import HeldOut
from srl_agent.training.trl.policy_loss import PolicyLoss
from srl_agent.training.trl.step_times import StepClock, TimedSteps, TimeSteps
from srl_envs.errors import ConfigError, DataError

STATE_FILE = "srl_state-{rank}.pt"
"""What a checkpoint holds beyond transformers' own files, one file a process."""


class SRLTrainer(HeldOut, TimedSteps, PolicyLoss):
    """Trains a policy by GRPO with dynamic sampling.

    On an expert's steps (SRL), or on final answers (RLVR).

    Args:
        model: The policy.
        args: How to train.
        train_instances: What to learn from; at least one.
        eval_instances: Held-out instances; may be empty if ``eval_strategy`` is
            ``"no"``.
        processing_class: The model's tokenizer, with a chat template.
        peft_config: LoRA or another adapter; None trains all weights.
        callbacks: As in transformers.
        scorer: How answers are scored; None: by their similarity to the expert's step.
    """

    control: Any
    _buffered_inputs: list[dict[str, torch.Tensor]] | None

    def __init__(
        self,
        model: Any,
        args: SRLConfig,
        train_instances: Sequence[Instance],
        eval_instances: Sequence[Instance],
        processing_class: Any,
        peft_config: Any = None,
        callbacks: list[Any] | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        if not len(train_instances):
            raise DataError(
                "No training instances: every trajectory has too few steps. Use --targets all, or"
                " other data."
            )
        self.train_instances, self.eval_instances = train_instances, eval_instances
        self.settings = args
        self.scorer = scorer or StepScorer(args.reward_settings)
        self._rollout_model = RolloutModel(model, bool(args.bf16) and peft_config is None)
        super().__init__(
            model=model,
            reward_funcs=[self._score_for_trl],
            args=args,
            # TRL draws from this set only to count steps: our own stream decides which instances
            # are rolled out.
            train_dataset=Dataset.from_dict({"prompt": [""] * len(train_instances)}),
            eval_dataset=Dataset.from_dict({"prompt": [""] * max(1, len(eval_instances))}),
            processing_class=processing_class,
            peft_config=peft_config,
            callbacks=callbacks,
        )
        self.stream = InstanceStream(len(train_instances), args.seed, bool(args.shuffle_dataset))
        self._sampler = Sampler(
            processing_class,
            self.eos_token_ids,
            args.sampling_settings,
        )
        self._samples_itself = not (
            self.use_vllm
            or self.use_transformers_continuous_batching
            or self.is_deepspeed_enabled
            or self.is_fsdp_enabled
        )
        self._skipped_prompts = 0
        self.clock = StepClock(self.accelerator.device)
        self.add_callback(TimeSteps(self.clock))

    # ---------------------------------------------------------------- batches

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if not self.model.training:  # validation does not come this way
            inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
            return inputs
        if (
            self._step % (self.args.steps_per_generation * self.num_iterations) == 0
            or self._buffered_inputs is None
        ):
            batch = fill_batch(
                self._roll_out,
                self.args.generation_batch_size // self.num_generations,
                min_std=self.args.min_reward_std,
                max_rounds=self.args.max_sampling_rounds,
                enabled=self.args.dynamic_sampling,
            )
            self._buffered_inputs = self._micro_batches(batch.kept)
            self._log_batch(batch)
        micro_batch: dict[str, Any] = self._buffered_inputs[
            self._step % self.args.steps_per_generation
        ]
        return micro_batch

    def _roll_out(self, count: int) -> list[RolloutGroup]:
        """Roll out fresh prompts, whole groups on each process.

        Every process gets all groups, in the same order.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        count += -count % processes
        first = self.stream.position
        drawn = self._draw(count)
        mine = drawn[rank::processes]
        prompts = [ids for _, ids in mine]
        self.clock.switch("generation")
        completions, logps = self._complete(
            prompts, self.num_generations, (self.args.seed, first, rank)
        )
        self.clock.switch("reward")
        instances = [instance for instance, _ in mine for _ in range(self.num_generations)]
        _, rewards = score(self._tokenizer, instances, completions, self.eos_token_ids, self.scorer)
        self.clock.switch("other")
        size = self.num_generations
        groups = [
            RolloutGroup(
                prompt,
                completions[start : start + size],
                rewards[start : start + size],
                None if logps is None else logps[start : start + size],
            )
            for start, prompt in zip(range(0, len(completions), size), prompts, strict=True)
        ]
        if processes == 1:
            return groups
        by_rank = gather_object([(rank, groups)])
        shares = [share for _, share in sorted(by_rank, key=lambda item: item[0])]
        return [group for same_place in zip(*shares, strict=True) for group in same_place]

    def _draw(self, count: int) -> list[tuple[Instance, list[int]]]:
        """The next instances whose prompts are short enough, with their prompts' tokens."""
        drawn: list[tuple[Instance, list[int]]] = []
        limit = self.args.max_prompt_length
        skipped = 0
        while len(drawn) < count:
            instance = self.train_instances[self.stream.take(1)[0]]
            ids = encode_prompt(self._tokenizer, instance.messages, self.scorer.think_prefilled)
            if limit is None or len(ids) <= limit:
                drawn.append((instance, ids))
                skipped = 0
                continue
            self._skipped_prompts += 1
            skipped += 1
            if skipped >= self.stream.size:
                raise ConfigError(
                    f"Every prompt has more than max_prompt_length = {limit} tokens: raise it."
                )
        return drawn

    def _complete(
        self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Completions of each prompt, and the sampler's log-probabilities where it gives them."""
        if self._samples_itself:
            policy = self.accelerator.unwrap_model(self.model)
            with self.accelerator.autocast():
                return (
                    self._sampler(
                        self._rollout_model.at(self.state.global_step, policy),
                        prompts,
                        num_samples,
                        seed,
                    ),
                    None,
                )
        repeated = [ids for ids in prompts for _ in range(num_samples)]
        completions, logps = self._generate_single_turn(repeated, None, {}, num_samples)
        return completions, logps

    def _score_for_trl(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        """TRL requires a reward function, but never calls this one.

        Rollouts are scored in :meth:`_roll_out`.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------- logs

    def _log_batch(self, batch: FilledBatch) -> None:
        """What dynamic sampling did, in TRL's metrics: the same on every process."""
        log: dict[str, list[float]] = self._metrics["train"]
        everything = [reward for group in batch.groups for reward in group.rewards]
        lengths = [len(ids) for group in batch.groups for ids in group.completion_ids]
        similarities = [reward.similarity for reward in everything if reward.similarity is not None]
        malformed = batch.malformations()
        values = {
            "reward": fmean(value for group in batch.kept for value in group.values),
            "reward_all": fmean(reward.value for reward in everything),
            "reward_std": fmean(group.spread for group in batch.kept),
            "format_rate": 1 - malformed.total() / len(everything),
            "groups_kept": len(batch.kept),
            "groups_dropped": len(batch.dropped),
            "groups_surplus": len(batch.surplus),
            "rounds": batch.rounds,
            "completions/mean_length": fmean(lengths),
            "completions/max_length": max(lengths),
            "completions/clipped_ratio": fmean(
                is_truncated(ids, self.eos_token_ids)
                for group in batch.groups
                for ids in group.completion_ids
            ),
            "data_epoch": self.stream.epoch,
            "skipped_prompts": self._skipped_prompts,
            **{
                f"malformed/{name}": malformed[name] / len(everything)
                for name in self.scorer.malformations
            },
        }
        if similarities:
            values["similarity"] = fmean(similarities)
        for name, value in values.items():
            log[name].append(float(value))
        if not batch.is_full and self.accelerator.is_main_process:
            print(
                f"step {self.state.global_step + 1}: the batch is not full: {batch.explain()}",
                flush=True,
            )

    # ---------------------------------------------------------------- exact resume

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        in_mid_generation = self._step % (self.args.steps_per_generation * self.num_iterations) != 0
        state = {
            "position": self.stream.position,
            "step": self._step,
            "skipped_prompts": self._skipped_prompts,
            # A generation that serves further steps goes along: it could not be sampled again from
            # later weights.
            "buffered_inputs": self._buffered_inputs if in_mid_generation else None,
        }
        torch.save(state, folder / STATE_FILE.format(rank=self.accelerator.process_index))
        self.accelerator.wait_for_everyone()  # before the checkpoint is sealed

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE_FILE.format(rank=self.accelerator.process_index)
        if not path.is_file():
            raise DataError(
                f"{path} is missing: the checkpoint was written by another trainer or with fewer"
                " processes. Start with a checkpoint of this run."
            )
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self.stream.position, self._step = state["position"], state["step"]
        self._skipped_prompts = state["skipped_prompts"]
        self._buffered_inputs = state["buffered_inputs"]

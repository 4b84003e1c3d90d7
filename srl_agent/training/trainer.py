"""GRPO with dynamic sampling: TRL's trainer, with batches that are filled before they are trained; the method (SRL, RLVR) is what scores them.

What TRL does stays TRL's: loss, optimizer, precision, distribution, checkpoints, logging. What is here: which prompts are rolled out, which groups
are kept, what is logged of them, and a checkpoint that resumes to the same losses.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOTrainer
from trl.trainer.utils import pad

from srl_agent.training.config import SRLConfig
from srl_agent.training.dynamic_sampling import FilledBatch, RolloutGroup, fill_batch
from srl_agent.training.held_out import HeldOut
from srl_agent.training.instance_stream import InstanceStream
from srl_agent.training.micro_batches import Row, loss_weight
from srl_agent.training.rollouts import RolloutModel, Sampler, encode_prompt, is_truncated, score
from srl_agent.training.shared_prompt import completion_log_probs, has_shared_prompts
from srl_agent.training.tasks import Instance, Scorer, StepScorer
from srl_envs.errors import ConfigError, DataError

STATE_FILE = "srl_state-{rank}.pt"
"""What a checkpoint holds beyond transformers' own files, one file a process."""


class SRLTrainer(HeldOut, GRPOTrainer):  # type: ignore[misc]
    """Trains a policy by GRPO with dynamic sampling: on an expert's steps (SRL), or on final answers (RLVR).

    Args:
        model: The policy.
        args: How to train.
        train_instances: What to learn from; at least one.
        eval_instances: Held-out instances; may be empty if ``eval_strategy`` is ``"no"``.
        processing_class: The model's tokenizer, with a chat template.
        peft_config: LoRA or another adapter; None trains all weights.
        callbacks: As in transformers.
        scorer: How answers are scored; None: by their similarity to the expert's step.
    """

    args: SRLConfig
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
            raise DataError("No training instances: every trajectory has too few steps. Use --targets all, or other data.")
        self.train_instances, self.eval_instances = train_instances, eval_instances
        self.settings = args
        self.scorer = scorer or StepScorer(args.reward_settings)
        self._rollout_model = RolloutModel(model, bool(args.bf16) and peft_config is None)
        super().__init__(
            model=model,
            reward_funcs=[self._score_for_trl],
            args=args,
            # TRL draws from this set only to count steps: our own stream decides which instances are rolled out.
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
        self._samples_itself = not (self.use_vllm or self.use_transformers_continuous_batching or self.is_deepspeed_enabled or self.is_fsdp_enabled)
        self._skipped_prompts = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    # ---------------------------------------------------------------- batches

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if not self.model.training:  # validation does not come this way
            inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
            return inputs
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = fill_batch(
                self._roll_out,
                self.args.generation_batch_size // self.num_generations,
                min_std=self.args.min_reward_std,
                max_rounds=self.args.max_sampling_rounds,
                enabled=self.args.dynamic_sampling,
            )
            self._buffered_inputs = self._micro_batches(batch.kept)
            self._log_batch(batch)
        micro_batch: dict[str, Any] = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return micro_batch

    def _roll_out(self, count: int) -> list[RolloutGroup]:
        """Roll out fresh prompts, each process its share of whole groups; every process gets all groups, in the same order."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        count += -count % processes
        first = self.stream.position
        drawn = self._draw(count)
        mine = drawn[rank::processes]
        started = time.perf_counter()
        prompts = [ids for _, ids in mine]
        completions, logps = self._complete(prompts, self.num_generations, (self.args.seed, first, rank))
        generated = time.perf_counter()
        instances = [instance for instance, _ in mine for _ in range(self.num_generations)]
        _, rewards = score(self._tokenizer, instances, completions, self.eos_token_ids, self.scorer)
        self._seconds["generate"] += generated - started
        self._seconds["reward"] += time.perf_counter() - generated
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
        """The next instances of the stream whose prompt is short enough, with their prompts' tokens."""
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
                raise ConfigError(f"Every prompt has more than max_prompt_length = {limit} tokens: raise it.")
        return drawn

    def _complete(self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]) -> tuple[list[list[int]], list[list[float]] | None]:
        """Completions of each prompt, and the sampler's log-probabilities where it gives them."""
        if self._samples_itself:
            policy = self.accelerator.unwrap_model(self.model)
            with self.accelerator.autocast():
                return self._sampler(self._rollout_model.at(self.state.global_step, policy), prompts, num_samples, seed), None
        repeated = [ids for ids in prompts for _ in range(num_samples)]
        completions, logps = self._generate_single_turn(repeated, None, {}, num_samples)
        return completions, logps

    def _micro_batches(self, groups: list[RolloutGroup]) -> list[dict[str, torch.Tensor]]:
        """This process's micro-batches of one generation; rows of missing groups are empty and carry no loss."""
        args, processes = self.args, self.accelerator.num_processes
        windows = args.windows
        slots = args.rows_per_step // self.num_generations
        micro_batches = []
        for window in range(windows):
            kept = groups[window::windows][:slots]
            rows = [
                Row(group.prompt_ids, ids, advantage, self._is_learned(ids), None if group.sampling_logps is None else group.sampling_logps[i])
                for group in kept
                for i, (ids, advantage) in enumerate(zip(group.completion_ids, group.advantages(args.scale_rewards == "group"), strict=True))
            ]
            rows += [Row([self._tokenizer.pad_token_id] * 2, [], 0.0, False, None)] * (args.rows_per_step - len(rows))
            size = args.per_device_train_batch_size
            chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
            tokens = sum(len(row.completion_ids) for row in rows if row.is_learned)
            weight = loss_weight(args.loss_type, len(kept) * self.num_generations, len(rows), size)
            mine = chunks[self.accelerator.process_index :: processes]
            micro_batches += [self._tensors(chunk, tokens * windows) | {"loss_weight": torch.tensor(weight)} for chunk in mine]
        self._add_old_log_probs(micro_batches)
        return micro_batches

    def _is_learned(self, completion_ids: list[int]) -> bool:
        """Whether a completion carries loss: with ``mask_truncated_completions`` those that were cut off do not."""
        return not self.args.mask_truncated_completions or not is_truncated(completion_ids, self.eos_token_ids)

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss * inputs["loss_weight"].to(loss.device)

    def _tensors(self, rows: list[Row], tokens: int) -> dict[str, torch.Tensor]:
        device, pad_id = self.accelerator.device, self._tokenizer.pad_token_id
        prompts = [torch.tensor(row.prompt_ids) for row in rows]
        answers = [torch.tensor(row.completion_ids or [pad_id]) for row in rows]
        written = [torch.full((max(1, len(row.completion_ids)),), int(row.is_learned)) for row in rows]
        tensors = {
            "prompt_ids": pad(prompts, padding_value=pad_id, padding_side="left"),
            "prompt_mask": pad([torch.ones_like(ids) for ids in prompts], padding_value=0, padding_side="left"),
            "completion_ids": pad(answers, padding_value=pad_id, padding_side="right"),
            "completion_mask": pad(written, padding_value=0, padding_side="right"),
            "advantages": torch.tensor([row.advantage for row in rows]),
            "num_items_in_batch": torch.tensor(tokens),
        }
        if any(row.sampling_logps is not None for row in rows):
            tensors["sampling_per_token_logps"] = pad(
                [torch.tensor(row.sampling_logps or [0.0] * len(answer)) for row, answer in zip(rows, answers, strict=True)],
                padding_value=0.0,
                padding_side="right",
            )
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def _add_old_log_probs(self, micro_batches: list[dict[str, torch.Tensor]]) -> None:
        """Log-probabilities under the policy that sampled, where the policy will have moved on; and the reference's, with a KL term."""
        off_policy = self.args.windows * self.num_iterations > 1
        corrects_vllm = self.use_vllm and self.vllm_importance_sampling_correction
        if not (off_policy or corrects_vllm or self.beta):
            return
        for batch in micro_batches:
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
            length = batch["completion_ids"].shape[1]
            with torch.no_grad():
                if off_policy or corrects_vllm:
                    batch["old_per_token_logps"] = self._get_per_token_logps_and_entropies(self.model, ids, mask, length)[0]
                if self.beta:
                    batch["ref_per_token_logps"] = self._reference_log_probs(ids, mask, length)
            if corrects_vllm:
                ratio = torch.exp(batch["old_per_token_logps"] - batch["sampling_per_token_logps"]).nan_to_num(1.0)
                batch["importance_sampling_ratio"] = ratio.clamp(max=self.vllm_importance_sampling_clip_max)

    def _reference_log_probs(self, ids: torch.Tensor, mask: torch.Tensor, length: int) -> torch.Tensor:
        if self.ref_model is not None:
            logps: torch.Tensor = self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, length)[0]
            return logps
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            logps = self._get_per_token_logps_and_entropies(self.model, ids, mask, length)[0]
        return logps

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        shares = self.args.shared_prompt and self._samples_itself and not self.args.gradient_checkpointing
        if shares and model is not self.ref_model and has_shared_prompts(input_ids, logits_to_keep):
            with self.accelerator.autocast():
                logps, entropies = completion_log_probs(model, input_ids, attention_mask, logits_to_keep)
            return logps, entropies, None
        return super()._get_per_token_logps_and_entropies(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)

    def _score_for_trl(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        """TRL asks for a reward function; rollouts are scored in :meth:`_roll_out`, so that TRL never calls it."""
        raise NotImplementedError

    # ---------------------------------------------------------------- logs

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """As in TRL, timed."""
        started = time.perf_counter()
        loss = super().compute_loss(*args, **kwargs)
        self._seconds["forward"] += time.perf_counter() - started
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As in TRL, timed: what is neither sampling nor scoring nor forward is backward."""
        started, spent = time.perf_counter(), sum(self._seconds.values())
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self._seconds["backward"] += time.perf_counter() - started - (sum(self._seconds.values()) - spent)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in TRL, with the seconds of each phase since the last step that was logged."""
        if "loss" in logs:
            logs |= {f"seconds/{phase}": round(seconds, 4) for phase, seconds in self._seconds.items()}
            self._seconds.clear()
        super().log(logs, start_time)

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
            "completions/clipped_ratio": fmean(is_truncated(ids, self.eos_token_ids) for group in batch.groups for ids in group.completion_ids),
            "data_epoch": self.stream.epoch,
            "skipped_prompts": self._skipped_prompts,
            **{f"malformed/{name}": malformed[name] / len(everything) for name in self.scorer.malformations},
        }
        if similarities:
            values["similarity"] = fmean(similarities)
        for name, value in values.items():
            log[name].append(float(value))
        if not batch.is_full and self.accelerator.is_main_process:
            print(f"step {self.state.global_step + 1}: the batch is not full: {batch.explain()}", flush=True)

    # ---------------------------------------------------------------- exact resume

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        in_mid_generation = self._step % (self.args.steps_per_generation * self.num_iterations) != 0
        state = {
            "position": self.stream.position,
            "step": self._step,
            "skipped_prompts": self._skipped_prompts,
            # A generation that serves further steps goes along: it could not be sampled again from later weights.
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
            raise DataError(f"{path} is missing: the checkpoint was written by another trainer or with fewer processes. Start with a checkpoint of this run.")
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self.stream.position, self._step = state["position"], state["step"]
        self._skipped_prompts = state["skipped_prompts"]
        self._buffered_inputs = state["buffered_inputs"]

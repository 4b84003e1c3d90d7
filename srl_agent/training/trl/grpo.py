"""GRPO with dynamic sampling: TRL's trainer, with batches filled before training.

The method (SRL, RLVR) decides how answers are scored.

What TRL does stays TRL's: loss, importance ratios, optimizer, precision, distribution,
checkpoints, logging. What is here: which prompts are rolled out, which groups are kept,
what is logged of them, and a checkpoint that resumes to the same losses. The parts it
is made of are in this package: :mod:`policy_loss` lays out rows, :mod:`shared_prompt`
computes a prompt once, :mod:`step_times` measures, :mod:`validation` answers held-out
instances.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch.nn.parallel import DistributedDataParallel
from trl import GRPOTrainer

from srl_agent.inference.chat import ChatEncoder
from srl_agent.models.sharded import as_whole_models, is_sharded
from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup, fill_batch
from srl_agent.rollouts.instance_stream import InstanceStream, PromptStream
from srl_agent.rollouts.rollout_log import RolloutLog
from srl_agent.rollouts.rollout_model import RolloutModel
from srl_agent.rollouts.sampler import Sampler, is_truncated, score
from srl_agent.rollouts.scorers import Instance, Scorer, StepScorer
from srl_agent.runs.answers import Answer
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.log_probs import LogProbs
from srl_agent.training.trl.policy_loss import Row, advantages_of, windows_of
from srl_agent.training.trl.samplers import SampledBy, sampled_by
from srl_agent.training.trl.step_times import StepClock, TimeSteps
from srl_agent.training.trl.validation import (
    answer,
    load_best,
    log_validation,
    without_tied_weights,
)
from srl_envs.errors import DataError

_logger = logging.getLogger(__name__)

STATE_FILE = "srl_state-{rank}.pt"
"""What a checkpoint holds beyond transformers' own files, one file a process."""


class RollOuts(Protocol):
    """Roll-outs of another kind than one answer to a prompt."""

    def roll_out(self, count: int) -> list[RolloutGroup]:
        """Groups of fresh tasks, the same on every process."""

    def micro_batches(self, groups: Sequence[RolloutGroup]) -> list[dict[str, Any]]:
        """What :meth:`SRLTrainer._micro_batches` returns; each may have several ``parts``."""

    def metrics(self) -> dict[str, float]:
        """What else is logged of a batch; it takes the place of values of the same name."""

    def answer(self, instances: Sequence[Instance]) -> tuple[dict[str, float], list[Answer]]:
        """See :meth:`SRLTrainer.answer`."""


class SRLTrainer(GRPOTrainer):  # type: ignore[misc]
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

    Attributes:
        roll_outs: Roll-outs of another kind; None: one answer to each prompt.
    """

    args: SRLConfig
    roll_outs: RollOuts | None = None
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
        self.eval_instances = eval_instances
        self.scorer = scorer or StepScorer(args.reward_settings)
        self.rollout_model = RolloutModel(
            model, bool(args.bf16) and peft_config is None, args.device
        )
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
        self.chat = ChatEncoder(processing_class)
        self.prompts = PromptStream(
            train_instances,
            InstanceStream(len(train_instances), args.seed, bool(args.shuffle_dataset)),
            self.chat,
            self.scorer.format,
            args.max_prompt_length,
        )
        self.sampler = Sampler(processing_class, self.eos_token_ids, args.sampling_settings)
        stage, sharded = self._dist.zero_stage, self._dist.is_zero3 or self._dist.is_fsdp
        self.sampled_by, why = sampled_by(args, stage, sharded)
        _logger.info(f"completions are written by {self.sampled_by.value}: {why}")
        self.log_probs = LogProbs(
            shared_prompt=bool(args.shared_prompt)
            and self.sampled_by is SampledBy.OWN
            and not (args.gradient_checkpointing or stage or sharded),
            aux_loss=self.aux_loss_enabled,
            temperature=self.temperature,
        )
        # What it cannot do is said before anything is sampled, and before weights are divided.
        with as_whole_models(), self.accelerator.autocast():
            self.log_probs.abilities(self.accelerator.unwrap_model(self.model))
        self.rollout_log = RolloutLog(
            Path(str(args.output_dir)), args.log_rollouts, args.rollout_log_mb * 2**20
        )
        self.clock = StepClock(self.accelerator.device)
        self.add_callback(TimeSteps(self.clock))

    # ---------------------------------------------------------------- rollouts

    def _roll_out(self, count: int) -> list[RolloutGroup]:
        """Roll out fresh prompts, whole groups on each process.

        Every process gets all groups, in the same order.
        """
        if self.roll_outs is not None:
            return self.roll_outs.roll_out(count)
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        first = self.prompts.stream.position
        mine = self.prompts.take(count + -count % processes)[rank::processes]
        prompts = [prompt.ids for _, prompt in mine]
        size = self.num_generations
        self.clock.switch("generation")
        completions, logps = self._complete(prompts, size, (self.args.seed, first, rank))
        self.clock.switch("reward")
        instances = [instance for instance, _ in mine for _ in range(size)]
        answered = [prompt for _, prompt in mine for _ in range(size)]
        texts, rewards = score(
            self.chat, answered, instances, completions, self.eos_token_ids, self.scorer
        )
        self.clock.switch("other")
        groups = [
            RolloutGroup(
                prompt.ids,
                completions[start : start + size],
                rewards[start : start + size],
                None if logps is None else logps[start : start + size],
                self.rollout_log.asked(
                    instance, texts[start : start + size], rewards[start : start + size]
                ),
            )
            for start, (instance, prompt) in zip(
                range(0, len(completions), size), mine, strict=True
            )
        ]
        by_rank = gather_object([groups])
        return [group for same_place in zip(*by_rank, strict=True) for group in same_place]

    def _complete(
        self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float | None]] | None]:
        """Completions of each prompt, and the sampler's log-probabilities where it gives them."""
        policy = self.accelerator.unwrap_model(self.model)
        if self.sampled_by is SampledBy.OWN:
            model = self.rollout_model.at(self.state.global_step, policy)
            with self.accelerator.autocast():
                return self.sampler(model, prompts, num_samples, seed), None
        # The processes generate together: their shares must have one length.
        lengths = gather_object([len(prompts)])
        if not any(lengths):
            return [], None
        fillers = [[self.processing_class.eos_token_id]] * (max(lengths) - len(prompts))
        repeated = [ids for ids in [*prompts, *fillers] for _ in range(num_samples)]
        wanted = len(prompts) * num_samples
        if self.sampled_by is SampledBy.VLLM:
            completions, logps = self._generate_single_turn(repeated, None, {}, num_samples)
            return completions[:wanted], logps[:wanted]
        if not is_sharded(policy):  # validation before the first step: nothing has moved it yet
            policy.to(self.accelerator.device)
        completions, rows = [], self.args.rollout_rows
        for start in range(0, len(repeated), rows):
            some = repeated[start : start + rows]
            completions += self._generate_single_turn(some, None, {}, num_samples)[0]
        return completions[:wanted], None

    # ---------------------------------------------------------------- batches

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if not self.model.training:  # validation does not come this way
            inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
            return inputs
        if self._between_generations or self._buffered_inputs is None:
            batch = fill_batch(
                self._roll_out,
                self.args.generation_batch_size // self.num_generations,
                min_std=self.args.min_reward_std,
                max_rounds=self.args.max_sampling_rounds,
                enabled=self.args.dynamic_sampling,
            )
            self.rollout_model.release()
            self._buffered_inputs = self._micro_batches(batch.kept)
            self._log_batch(batch)
        micro_batch: dict[str, Any] = self._buffered_inputs[
            self._step % self.args.steps_per_generation
        ]
        return micro_batch

    @property
    def _between_generations(self) -> bool:
        """Whether the next micro-batch needs new completions."""
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations) == 0)

    def _micro_batches(self, groups: list[RolloutGroup]) -> list[dict[str, torch.Tensor]]:
        """This process's micro-batches of one generation."""
        if self.roll_outs is not None:
            return self.roll_outs.micro_batches(groups)
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        inputs = []
        for window in windows_of(
            groups, self.args, self.num_generations, self.processing_class.pad_token_id
        ):
            mine = [self._inputs_of(rows) for rows in window.micro_batches[rank::processes]]
            learned = sum(batch["completion_mask"].sum() for batch in mine)
            tokens = self.accelerator.gather(learned).sum() * self.args.windows
            weight = torch.tensor(window.loss_weight)
            inputs += [
                batch | {"num_items_in_batch": tokens, "loss_weight": weight} for batch in mine
            ]
        return inputs

    def _inputs_of(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        """The inputs of TRL's loss, made by TRL from rollouts that it did not draw.

        These are tensors, log-probabilities of older and reference policies, and the
        correction of the sampler's probabilities. Advantages are ours.
        """
        logged, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        inputs: dict[str, torch.Tensor] = self._generate_and_score_completions(
            [{"prompt": row} for row in rows]
        )
        # What TRL logs of rewards and lengths counts filler rows, and leaves dropped groups out.
        for name, values in self._metrics["train"].items():
            if name.startswith("sampling/"):
                logged[name] += values
        self._metrics["train"] = logged
        mask = inputs["completion_mask"]
        mask[torch.tensor([row.is_filler for row in rows], device=mask.device)] = 0
        inputs["advantages"] = advantages_of(rows, mask.shape[1]).to(mask.device)
        return inputs

    def _generate(self, prompts: list[Row]) -> tuple[Any, ...]:
        """Called by TRL for completions: those of the rows that stand in for prompts."""
        ids = [row.completion_ids for row in prompts]
        logps = None
        if self.use_vllm:  # filler rows have none, and a micro-batch may be filler rows alone
            logps = [row.sampling_logps or [None] * len(row.completion_ids) for row in prompts]
        masks = None
        if any(row.mask is not None for row in prompts):
            masks = [row.mask or [1] * len(row.completion_ids) for row in prompts]
        return [row.prompt_ids for row in prompts], ids, masks, [""] * len(ids), logps, {}, None, []

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Called by TRL for rewards: of one group, and unused, since the advantages are ours."""
        return torch.zeros(self.num_generations, 1, device=self.accelerator.device)

    def _score_for_trl(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        """TRL requires a reward function, but never calls this one.

        Rollouts are scored in :meth:`_roll_out`.
        """
        raise NotImplementedError

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss of a micro-batch; of several parts, all but the last go backward here."""
        done = torch.zeros((), device=self.accelerator.device)
        parts, is_ddp = inputs.get("parts", [inputs]), isinstance(model, DistributedDataParallel)
        for number, part in enumerate(parts, start=1):
            is_last = number == len(parts)
            # Gradients are exchanged once, with the last part.
            with self.accelerator.no_sync(model) if is_ddp and not is_last else nullcontext():
                self.clock.switch("forward")
                loss: torch.Tensor = super()._compute_loss(model, part)
                loss = loss * part["loss_weight"].to(loss.device)
                self.clock.switch("backward")
                if not is_last:
                    self.accelerator.backward(loss)
                    done = done + loss.detach()
        return loss + done

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        self.clock.switch("forward")
        with self.accelerator.autocast():
            logps, entropies, aux_loss = self.log_probs(
                model,
                self.accelerator.unwrap_model(model),
                input_ids,
                attention_mask,
                logits_to_keep,
                with_aux_loss=kwargs.get("compute_aux_loss", False),
            )
        if not torch.is_grad_enabled():  # of an older or a reference policy
            self.clock.switch("other")
        return logps, entropies, aux_loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As in TRL."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.clock.switch("other")
        return loss

    # ---------------------------------------------------------------- logs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in TRL, with the phases of a step where a step is logged."""
        super().log(logs | self.clock.metrics() if "loss" in logs else logs, start_time)

    def _log_batch(self, batch: FilledBatch) -> None:
        """What dynamic sampling did, in TRL's metrics: the same on every process."""
        answers = [ids for group in batch.groups for ids in group.completion_ids]
        truncated = sum(is_truncated(ids, self.eos_token_ids) for ids in answers)
        values = batch.metrics(self.scorer.malformations) | {
            "completions/clipped_ratio": truncated / len(answers),
            "data_epoch": self.prompts.stream.epoch,
            "skipped_prompts": self.prompts.skipped,
        }
        more = {} if self.roll_outs is None else self.roll_outs.metrics()
        for name, value in (values | more).items():
            self._metrics["train"][name].append(float(value))
        if not self.accelerator.is_main_process:
            return
        step, scale = self.state.global_step + 1, self.args.scale_rewards == "group"
        self.rollout_log.write(batch, step, scale=scale, min_std=self.args.min_reward_std)
        if not batch.is_full:
            _logger.info(f"step {step}: the batch is not full: {batch.explain()}")

    # ---------------------------------------------------------------- validation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Answer the held-out instances, with the same seeds each time, and log how well.

        Returns:
            ``eval_reward``, ``eval_similarity`` (of the well-formed answers),
            ``eval_format_rate`` and more.
        """
        return log_validation(self, self.answer(self.eval_instances)[0], metric_key_prefix)

    def answer(self, instances: Sequence[Instance]) -> tuple[dict[str, float], list[Answer]]:
        """Answer instances: the metrics, and one record per answer."""
        if self.roll_outs is not None:
            return self.roll_outs.answer(instances)
        answered = answer(
            self,
            instances,
            self.scorer,
            self.processing_class,
            self.eos_token_ids,
            self._complete,
            self.args.num_generations_eval or 1,
        )
        self.rollout_model.release()
        return answered

    def load_best(self) -> tuple[int, list[str]]:
        """Load the checkpoint that did best: its step, and a line about each damaged one."""
        result = load_best(self, super()._load_best_model)
        self.rollout_model.outdate()
        self._last_loaded_step = -1  # vLLM gets the weights again before it answers
        return result

    # ---------------------------------------------------------------- checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        state = {
            "position": self.prompts.stream.position,
            "step": self._step,
            "skipped_prompts": self.prompts.skipped,
            # A generation that serves further steps goes along: it could not be sampled again from
            # later weights.
            "buffered_inputs": None if self._between_generations else self._buffered_inputs,
        }
        torch.save(state, folder / STATE_FILE.format(rank=self.accelerator.process_index))

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
        self.prompts.stream.position, self._step = state["position"], state["step"]
        self.prompts.skipped = state["skipped_prompts"]
        self._buffered_inputs = state["buffered_inputs"]

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:  # killed after its last step
            self.control.should_training_stop = True

    def _load_best_model(self) -> None:
        """Left to :meth:`load_best`, which passes damaged checkpoints over."""

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        super()._issue_warnings_after_load(without_tied_weights(self.model, load_result))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Does not write one: ``config.yaml`` and ``report.html`` describe the run."""

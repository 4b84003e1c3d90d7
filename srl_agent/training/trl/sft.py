"""Supervised fine-tuning on expert answers with TRL's ``SFTTrainer``.

Validated like the other methods, by the answers to held-out instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import TrainingArguments
from trl import SFTConfig, SFTTrainer

from srl_agent.rollouts.sampler import RolloutModel, Sampler, end_token_ids
from srl_agent.rollouts.scorers import Instance, Scorer
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.examples import expert_example
from srl_agent.training.trl.held_out import HeldOut
from srl_envs.errors import DataError

_logger = get_logger(__name__)  # speaks in the main process only


class SupervisedTrainer(HeldOut, SFTTrainer):  # type: ignore[misc]
    """Trains a model on the experts' answers; only the answer's tokens carry loss.

    Args:
        model: All of its weights are trained, unless there is an adapter.
        args: The run's settings.
        rows: Of :func:`examples_of`.
        eval_instances: Held-out instances; may be empty if ``eval_strategy`` is
            ``"no"``.
        processing_class: The model's tokenizer.
        peft_config: LoRA or another adapter; None trains all weights.
        callbacks: As in transformers.
        scorer: How answers to the held-out instances are scored.
    """

    def __init__(
        self,
        model: Any,
        args: SRLConfig,
        rows: list[dict[str, list[int]]],
        eval_instances: Sequence[Instance],
        processing_class: Any,
        peft_config: Any,
        callbacks: list[Any],
        scorer: Scorer,
    ) -> None:
        self.settings, self.scorer, self.eval_instances = args, scorer, eval_instances
        self.eos_token_ids = end_token_ids(model, processing_class)
        self._rollout_model = RolloutModel(model, bool(args.bf16) and peft_config is None)
        self._sampler = Sampler(processing_class, self.eos_token_ids, args.sampling_settings)
        super().__init__(
            model=model,
            args=_supervised(args),
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(
                rows[:1]
            ),  # transformers wants one; validation answers ``eval_instances``
            processing_class=processing_class,
            peft_config=peft_config,
            callbacks=callbacks,
        )

    def _complete(
        self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]
    ) -> tuple[list[list[int]], None]:
        policy = self.accelerator.unwrap_model(self.model)
        trains, _ = policy.training, policy.eval()
        with self.accelerator.autocast():
            completions = self._sampler(
                self._rollout_model.at(self.state.global_step, policy), prompts, num_samples, seed
            )
        policy.train(trains)
        return completions, None


def supervised_trainer(
    model: Any,
    args: SRLConfig,
    train_instances: Sequence[Instance],
    eval_instances: Sequence[Instance],
    processing_class: Any,
    peft_config: Any,
    callbacks: list[Any],
    scorer: Scorer,
) -> SupervisedTrainer:
    """The trainer of a method that learns from the experts' answers to these instances.

    See :class:`SupervisedTrainer`.

    Raises:
        DataError: All answers are too long.
    """
    rows, too_long = examples_of(processing_class, train_instances, args)
    _logger.info(
        f"supervised on {args.sft_on}: {len(rows)} expert answers; {too_long} left out, longer than"
        " max_completion_length or max_prompt_length"
    )
    return SupervisedTrainer(
        model, args, rows, eval_instances, processing_class, peft_config, callbacks, scorer
    )


def examples_of(
    tokenizer: Any, instances: Sequence[Instance], args: SRLConfig
) -> tuple[list[dict[str, list[int]]], int]:
    """The instances with their expert answers as tokens.

    Also how many were dropped because prompt or answer is too long.

    Raises:
        DataError: All are too long.
    """
    examples = [expert_example(tokenizer, instance, args) for instance in instances]
    rows = [row for row in examples if _fits(row["completion_mask"], args)]
    if not rows:
        raise DataError(
            f"All {len(examples)} expert answers are longer than max_completion_length ="
            f" {args.max_completion_length} tokens, or their prompts than max_prompt_length ="
            f" {args.max_prompt_length}: raise them."
        )
    return rows, len(examples) - len(rows)


def _fits(completion_mask: list[int], args: SRLConfig) -> bool:
    answer = sum(completion_mask)
    prompt = len(completion_mask) - answer
    return answer <= (args.max_completion_length or 0) and (
        args.max_prompt_length is None or prompt <= args.max_prompt_length
    )


def _supervised(args: SRLConfig) -> SFTConfig:
    """The settings of TRL's supervised trainer.

    All that it shares with the other methods' trainer.
    """
    shared = {
        field.name: getattr(args, field.name) for field in fields(TrainingArguments) if field.init
    }
    shared["activation_checkpointing"] = bool(args.gradient_checkpointing)
    shared["gradient_checkpointing"] = False  # the old name of the same
    return SFTConfig(**shared, max_length=None, completion_only_loss=True)

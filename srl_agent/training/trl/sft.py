"""Supervised fine-tuning on expert answers with TRL's ``SFTTrainer``.

Validated like the other methods, by the answers to held-out instances.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from datasets import Dataset
from transformers import TrainingArguments
from trl import SFTConfig, SFTTrainer

from srl_agent.inference.chat import ChatEncoder, end_token_ids
from srl_agent.rollouts.rollout_model import RolloutModel
from srl_agent.rollouts.sampler import Sampler
from srl_agent.rollouts.scorers import Instance, Scorer
from srl_agent.runs.answers import Answer
from srl_agent.training.config import SRLConfig
from srl_agent.training.methods import METHODS
from srl_agent.training.trl import ACTIVATION_CHECKPOINTING
from srl_agent.training.trl.validation import (
    answer,
    load_best,
    log_validation,
    without_tied_weights,
)
from srl_envs.errors import DataError

_logger = logging.getLogger(__name__)


class SupervisedTrainer(SFTTrainer):  # type: ignore[misc]
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
        self.scorer, self.eval_instances = scorer, eval_instances
        self.num_generations_eval = args.num_generations_eval or 1
        self.rollout_model = RolloutModel(
            model, bool(args.bf16) and peft_config is None, args.device
        )
        self.sampler = Sampler(
            processing_class, end_token_ids(model, processing_class), args.sampling_settings
        )
        super().__init__(
            model=model,
            args=_supervised(args),
            train_dataset=Dataset.from_list(rows),
            # transformers wants one; validation answers ``eval_instances``
            eval_dataset=Dataset.from_list(rows[:1]),
            processing_class=processing_class,
            peft_config=peft_config,
            callbacks=callbacks,
        )

    def complete(
        self, prompts: list[list[int]], num_samples: int, seed: Sequence[int]
    ) -> tuple[list[list[int]], None]:
        """Completions of each prompt by the current model."""
        policy = self.accelerator.unwrap_model(self.model)
        model = self.rollout_model.at(self.state.global_step, policy)
        with self.accelerator.autocast():
            return self.sampler(model, prompts, num_samples, seed), None

    def answer(self, instances: Sequence[Instance]) -> tuple[dict[str, float], list[Answer]]:
        """Answer instances: the metrics, and one record per answer."""
        answered = answer(
            self,
            instances,
            self.scorer,
            self.sampler.tokenizer,
            self.sampler.eos_token_ids,
            self.complete,
            self.num_generations_eval,
        )
        self.rollout_model.release()
        return answered

    def load_best(self) -> tuple[int, list[str]]:
        """Load the checkpoint that did best: its step, and a line about each damaged one."""
        result = load_best(self, super()._load_best_model)
        self.rollout_model.outdate()
        return result

    # ------------------------------------------------ what transformers and TRL call

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Answer the held-out instances and log how well."""
        return log_validation(self, self.answer(self.eval_instances)[0], metric_key_prefix)

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


def expert_example(chat: ChatEncoder, instance: Instance, args: SRLConfig) -> dict[str, list[int]]:
    """Prompt and expert answer as tokens.

    ``input_ids``, and a ``completion_mask`` that is 1 where they are learned.

    Args:
        chat: Of the model.
        instance: A step, or a whole problem.
        args: The run's settings.
    """
    expert = METHODS.named(args.method).expert_answer(instance, args)
    prompt = chat(instance.messages, args.answer_format)
    learned = chat.written(prompt, expert)
    return {
        "input_ids": prompt.ids + learned,
        "completion_mask": [0] * len(prompt.ids) + [1] * len(learned),
    }


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
    chat = ChatEncoder(tokenizer)
    examples = [expert_example(chat, instance, args) for instance in instances]
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
    shared["gradient_checkpointing"] = False  # the old name of the same
    shared[ACTIVATION_CHECKPOINTING] = bool(args.gradient_checkpointing)
    return SFTConfig(**shared, max_length=None, completion_only_loss=True)

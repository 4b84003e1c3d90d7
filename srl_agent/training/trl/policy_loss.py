"""From the groups of a batch to the loss of a micro-batch.

Rows, tensors, and the log-probabilities that the objective compares.

The objective itself is TRL's. What is here differs from TRL in two ways: a batch that
could not be filled weighs what it holds, and a prompt is computed once for all its
completions.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import pad

from srl_agent.rollouts.dynamic_sampling import RolloutGroup
from srl_agent.rollouts.sampler import is_truncated
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.micro_batches import Row, loss_weight
from srl_agent.training.trl.shared_prompt import completion_log_probs, has_shared_prompts
from srl_agent.training.trl.step_times import StepClock


class PolicyLoss(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO trainer, learning from groups; a subclass rolls them out.

    Attributes:
        clock: Told when log-probabilities without gradients are computed.
    """

    args: SRLConfig
    clock: StepClock
    _samples_itself: bool

    def _micro_batches(self, groups: list[RolloutGroup]) -> list[dict[str, torch.Tensor]]:
        """This process's micro-batches of one generation.

        Rows of missing groups are empty and carry no loss.
        """
        args, processes = self.args, self.accelerator.num_processes
        windows = args.windows
        slots = args.rows_per_step // self.num_generations
        micro_batches = []
        for window in range(windows):
            kept = groups[window::windows][:slots]
            rows = [
                Row(
                    group.prompt_ids,
                    ids,
                    advantage,
                    self._is_learned(ids),
                    None if group.sampling_logps is None else group.sampling_logps[i],
                )
                for group in kept
                for i, (ids, advantage) in enumerate(
                    zip(
                        group.completion_ids,
                        group.advantages(args.scale_rewards == "group"),
                        strict=True,
                    )
                )
            ]
            rows += [Row([self._tokenizer.pad_token_id] * 2, [], 0.0, False, None)] * (
                args.rows_per_step - len(rows)
            )
            size = args.per_device_train_batch_size
            chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
            tokens = sum(len(row.completion_ids) for row in rows if row.is_learned)
            weight = loss_weight(args.loss_type, len(kept) * self.num_generations, len(rows), size)
            mine = chunks[self.accelerator.process_index :: processes]
            micro_batches += [
                self._tensors(chunk, tokens * windows) | {"loss_weight": torch.tensor(weight)}
                for chunk in mine
            ]
        self._add_old_log_probs(micro_batches)
        return micro_batches

    def _is_learned(self, completion_ids: list[int]) -> bool:
        """Whether a completion carries loss.

        With ``mask_truncated_completions`` truncated ones do not.
        """
        return not self.args.mask_truncated_completions or not is_truncated(
            completion_ids, self.eos_token_ids
        )

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss * inputs["loss_weight"].to(loss.device)

    def _tensors(self, rows: list[Row], tokens: int) -> dict[str, torch.Tensor]:
        device, pad_id = self.accelerator.device, self._tokenizer.pad_token_id
        prompts = [torch.tensor(row.prompt_ids) for row in rows]
        answers = [torch.tensor(row.completion_ids or [pad_id]) for row in rows]
        written = [
            torch.full((max(1, len(row.completion_ids)),), int(row.is_learned)) for row in rows
        ]
        tensors = {
            "prompt_ids": pad(prompts, padding_value=pad_id, padding_side="left"),
            "prompt_mask": pad(
                [torch.ones_like(ids) for ids in prompts], padding_value=0, padding_side="left"
            ),
            "completion_ids": pad(answers, padding_value=pad_id, padding_side="right"),
            "completion_mask": pad(written, padding_value=0, padding_side="right"),
            "advantages": torch.tensor([row.advantage for row in rows]),
            "num_items_in_batch": torch.tensor(tokens),
        }
        if any(row.sampling_logps is not None for row in rows):
            tensors["sampling_per_token_logps"] = pad(
                [
                    torch.tensor(row.sampling_logps or [0.0] * len(answer))
                    for row, answer in zip(rows, answers, strict=True)
                ],
                padding_value=0.0,
                padding_side="right",
            )
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def _add_old_log_probs(self, micro_batches: list[dict[str, torch.Tensor]]) -> None:
        """Log-probabilities under the sampling policy, where the policy will have moved.

        With a KL term, also the reference's.
        """
        off_policy = self.args.windows * self.num_iterations > 1
        corrects_vllm = self.use_vllm and self.vllm_importance_sampling_correction
        if not (off_policy or corrects_vllm or self.beta):
            return
        self.clock.switch("forward")
        for batch in micro_batches:
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
            length = batch["completion_ids"].shape[1]
            with torch.no_grad():
                if off_policy or corrects_vllm:
                    batch["old_per_token_logps"] = self._get_per_token_logps_and_entropies(
                        self.model, ids, mask, length
                    )[0]
                if self.beta:
                    batch["ref_per_token_logps"] = self._reference_log_probs(ids, mask, length)
            if corrects_vllm:
                ratio = torch.exp(
                    batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
                ).nan_to_num(1.0)
                batch["importance_sampling_ratio"] = ratio.clamp(
                    max=self.vllm_importance_sampling_clip_max
                )
        self.clock.switch("other")

    def _reference_log_probs(
        self, ids: torch.Tensor, mask: torch.Tensor, length: int
    ) -> torch.Tensor:
        if self.ref_model is not None:
            logps: torch.Tensor = self._get_per_token_logps_and_entropies(
                self.ref_model, ids, mask, length
            )[0]
            return logps
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            logps = self._get_per_token_logps_and_entropies(self.model, ids, mask, length)[0]
        return logps

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        shares = (
            self.args.shared_prompt
            and self._samples_itself
            and not self.args.gradient_checkpointing
        )
        if shares and model is not self.ref_model and has_shared_prompts(input_ids, logits_to_keep):
            with self.accelerator.autocast():
                logps, entropies = completion_log_probs(
                    model, input_ids, attention_mask, logits_to_keep
                )
            return logps, entropies, None
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )

"""The non-public parts of TRL and transformers that the trainer builds on: an upgrade that
changes one fails here first.
"""

from __future__ import annotations

import inspect

import pytest
from transformers import Trainer
from trl import GRPOTrainer, SFTTrainer
from trl.trainer.utils import pad


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (GRPOTrainer, "_prepare_inputs", ["self", "generation_batch"]),
        (
            GRPOTrainer,
            "_generate_single_turn",
            [
                "self",
                "prompt_ids",
                "images",
                "multimodal_fields",
                "num_generations",
                "has_tool_images",
            ],
        ),
        (GRPOTrainer, "_compute_loss", ["self", "model", "inputs"]),
        (GRPOTrainer, "_save_checkpoint", ["self", "model", "trial"]),
        (GRPOTrainer, "create_model_card", ["self", "model_name", "dataset_name", "tags"]),
        (Trainer, "_load_best_model", ["self"]),
        (Trainer, "_issue_warnings_after_load", ["self", "load_result"]),
        (Trainer, "_load_rng_state", ["self", "checkpoint"]),
        (Trainer, "evaluate", ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"]),
    ],
)
def test_signatures(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_log_probabilities_start_with_these_parameters() -> None:
    parameters = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert parameters[:5] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]


def test_attributes_that_the_supervised_trainer_reads() -> None:
    source = inspect.getsource(SFTTrainer)
    for name in ("self._metrics = {", "self._tokenizer = ", '"completion_mask"'):
        assert name in source, name


def test_attributes_that_the_trainer_reads() -> None:
    source = inspect.getsource(GRPOTrainer)
    for name in (
        "self._step = 0",
        "self._buffered_inputs = None",
        "self._metrics = {",
        "self.eos_token_ids = ",
        "self._tokenizer = ",
    ):
        assert name in source, name
    assert {"padding_value", "padding_side"} <= set(inspect.signature(pad).parameters)

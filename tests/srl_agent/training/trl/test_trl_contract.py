"""The parts of TRL and transformers that the trainers build on: an upgrade fails here first."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap

import pytest
from transformers import Trainer
from trl import GRPOTrainer, SFTTrainer
from trl.trainer.utils import pad

import srl_agent.training.trl as package


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
        (Trainer, "_get_output_dir", ["self", "trial"]),
        (Trainer, "training_step", ["self", "model", "inputs", "num_items_in_batch"]),
        (Trainer, "log", ["self", "logs", "start_time"]),
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


def trainers() -> list[type]:
    """The trainers that runs make: the package's trainer classes without a subclass in it."""
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    ]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Trainer)
        and value.__module__ == module.__name__
    ]
    return [t for t in found if not any(t in c.__mro__[1:] for c in found)]


def missing(trainer: type) -> set[str]:
    """The names that our classes of a trainer ask of the libraries, and that these lack.

    These are the methods called on ``super()``, and the private attributes of ``self`` that none
    of our classes sets or defines.
    """
    ours = [
        c
        for c in trainer.__mro__
        if c.__module__.split(".")[0] in ("srl_agent", __name__.split(".")[0])
    ]
    theirs = [c for c in trainer.__mro__ if c not in ours and c is not object]
    inherited: set[str] = set()
    read: set[str] = set()
    own = {name for c in ours for name in vars(c)}

    def attributes(classes: list[type]) -> list[ast.Attribute]:
        trees = [ast.parse(textwrap.dedent(inspect.getsource(c))) for c in classes]
        return [node for t in trees for node in ast.walk(t) if isinstance(node, ast.Attribute)]

    for node in attributes(ours):
        match node:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                inherited.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                own.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name.startswith("_"):
                read.add(name)
    library = {name for c in theirs for name in vars(c)}
    stored = {
        node.attr
        for node in attributes([c for c in theirs if issubclass(c, Trainer)])
        if isinstance(node.ctx, ast.Store)
    }
    return (inherited - library - {"__init__"}) | (read - own - library - stored)


def test_the_libraries_have_every_name_that_our_trainers_use() -> None:
    found = trainers()
    assert {t.__name__ for t in found} >= {"SRLTrainer"}
    assert {t.__name__: missing(t) for t in found} == {t.__name__: set() for t in found}


def test_a_name_that_the_libraries_lack_is_found() -> None:
    class Wrong(Trainer):  # type: ignore[misc, unused-ignore]
        def _run_epoch(self) -> None:
            super()._run_epochs()
            print(self._made_up)

    assert missing(Wrong) == {"_run_epochs", "_made_up"}

"""Answers to held-out instances, and the return to the checkpoint that answered best.

The trainers of this project differ in how they learn; this part is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from srl_agent.rollouts.scorers import Instance, Scorer
from srl_agent.rollouts.validation import validate
from srl_agent.runs.answers import Answer
from srl_agent.runs.checkpoints import best_whole

Complete = Callable[
    [list[list[int]], int, Sequence[int]],
    tuple[list[list[int]], Sequence[Sequence[float | None]] | None],
]
"""Prompts, samples of each and a seed -> completions, and their tokens' log-probabilities."""


def answer(
    trainer: Any,
    instances: Sequence[Instance],
    scorer: Scorer,
    tokenizer: Any,
    eos_token_ids: Sequence[int],
    complete: Complete,
    num_samples: int,
) -> tuple[dict[str, float], list[Answer]]:
    """Let a trainer's current model answer instances, with the same seeds each time.

    The processes share the instances. The model is left in evaluation mode; transformers
    sets training mode at each micro-batch.

    Args:
        trainer: Any trainer of transformers.
        instances: All of them, the same on each process.
        scorer: How answers are scored.
        tokenizer: Of the model.
        eos_token_ids: Any of these ends a completion.
        complete: Draws completions with the current model. Every process calls it once,
            without prompts if its share is empty.
        num_samples: Answers per instance.

    Returns:
        The metrics and one record per answer, as
        :func:`~srl_agent.rollouts.validation.validate` gives them.
    """
    processes, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    trainer.model.eval()
    return validate(
        list(instances)[rank::processes],
        tokenizer,
        lambda prompts, seed: complete(prompts, num_samples, seed)[0],
        eos_token_ids,
        scorer,
        num_samples=num_samples,
        seed=(trainer.args.seed, rank),
        gather=gather_object if processes > 1 else None,
    )


def log_validation(trainer: Any, metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """Log a validation's metrics as ``trainer.evaluate`` would.

    Args:
        trainer: The one that answered.
        metrics: Of :func:`answer`.
        prefix: Of their names in the log, without the underscore.

    Returns:
        The metrics with the prefix.
    """
    named = {f"{prefix}_{name}": value for name, value in metrics.items()}
    trainer.model.eval()  # TRL would add what training steps gathered to a log in training mode
    trainer.log(dict(named))
    trainer.control = trainer.callback_handler.on_evaluate(
        trainer.args, trainer.state, trainer.control, named
    )
    return named


def load_best(trainer: Any, load: Callable[[], None]) -> tuple[int, list[str]]:
    """Load the complete checkpoint that did best in validation.

    The weights stay as they are if none is better. transformers would not check whether
    the checkpoint is complete.

    Args:
        trainer: After its last step.
        load: Loads the weights of ``trainer.state.best_model_checkpoint``.

    Returns:
        The step of the weights, and a line about each better checkpoint that is
        damaged.
    """
    args, state = trainer.args, trainer.state
    step = int(state.global_step)
    if not args.load_best_model_at_end:
        return step, []
    metric = str(args.metric_for_best_model)
    metrics = {
        int(row["step"]): float(row[metric])
        for row in state.log_history
        if metric in row and row["step"] > 0
    }
    found: list[Any] = [None]
    if trainer.accelerator.is_main_process:
        found = [best_whole(Path(args.output_dir), metrics, step, bool(args.greater_is_better))]
    broadcast_object_list(found)  # all processes load the same
    best, complaints = found[0]
    if state.best_model_checkpoint and not Path(state.best_model_checkpoint).is_dir():
        complaints.append(f"{state.best_model_checkpoint} had the best validation but is missing.")
    if best is not None:
        state.best_model_checkpoint, step = str(best), int(best.name.rpartition("-")[2])
        load()
    return step, complaints


def without_tied_weights(model: Any, load_result: Any) -> Any:
    """What loading a checkpoint found missing, less the weights that are tied.

    These are not saved.
    """
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    load_result.missing_keys[:] = [key for key in load_result.missing_keys if key not in tied]
    return load_result

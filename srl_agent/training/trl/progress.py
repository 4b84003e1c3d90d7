"""What a run shows in the terminal: a bar with the time left, and one short line a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PrinterCallback, ProgressCallback, TrainerCallback


class ShortProgress(ProgressCallback):  # type: ignore[misc]
    """transformers' progress bar with a few figures of SRL's progress.

    ``metrics.jsonl`` has all of them.
    """

    training_bar: Any
    prediction_bar: Any

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers with the figures of a step or a validation."""
        if (
            state.is_world_process_zero
            and self.training_bar is not None
            and logs
            and (line := short_line(state.global_step, logs))
        ):
            self.training_bar.write(line)

    def close(self) -> None:
        """End the bars' lines, so that an error message starts on a new line."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()
        self.prediction_bar = self.training_bar = None


class ShortLines(TrainerCallback):  # type: ignore[misc]
    """The same figures as lines, without a bar."""

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers with the figures of a step or a validation."""
        if state.is_world_process_zero and logs and (line := short_line(state.global_step, logs)):
            print(line, flush=True)


@contextmanager
def short_progress(trainer: Any, bar: bool) -> Iterator[None]:
    """Show a trainer's figures this way instead of its own, with or without a bar.

    The terminal is left in order if the trainer fails.
    """
    progress = ShortProgress()
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(progress if bar else ShortLines())
    try:
        yield
    finally:
        progress.close()


def short_line(step: int, logs: dict[str, Any]) -> str:
    """One line about a training step, a validation or a supervised step; empty for other logs."""
    if "mean_token_accuracy" in logs and "loss" in logs:
        return f"{'supervised':>10} {step:>4}  loss {float(logs['loss']):.3f}"
    prefix = "eval_" if "eval_reward" in logs else ""
    if prefix + "reward" not in logs:
        return ""
    similarity = logs.get(prefix + "similarity")
    parts = [
        f"{'validation' if prefix else 'step':>10} {step:>4}",
        f"reward {float(logs[prefix + 'reward']):+.3f}",
        *([] if similarity is None else [f"similarity {float(similarity):.3f}"]),
        f"well-formed {float(logs[prefix + 'format_rate']):4.0%}",
    ]
    if not prefix:
        parts.append(
            f"groups kept {float(logs['groups_kept']):.0f}, dropped"
            f" {float(logs['groups_dropped']):.0f}"
        )
        parts.append(f"length {float(logs['completions/mean_length']):.0f}")
    return "  ".join(parts)

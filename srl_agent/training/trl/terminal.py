"""A run in the terminal: a bar with the time left, one short line a step, and Ctrl-C.

Ctrl-C and SIGTERM end a run after the current step, with a checkpoint; a second Ctrl-C
ends it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from accelerate.utils import gather_object
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


class CheckpointOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """Asks the trainer to save and stop once a signal has come.

    Attributes:
        interrupted: Whether this process has received one.
        stopped: Whether training was stopped for one, of any process.
    """

    def __init__(self) -> None:
        self.interrupted = self.stopped = False
        self._before: dict[int, object] = {}

    def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Starts to listen for SIGINT and SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note)
                for number in (signal.SIGINT, signal.SIGTERM)
            }

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Saves and stops if any process has received a signal.

        All of them must stop after the same step.
        """
        if any(gather_object([self.interrupted])):
            self.stopped = control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Gives the signals back."""
        self.give_back()

    def give_back(self) -> None:
        """Restore the handlers; a training that raises has no ``on_train_end``."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGTERM:
            return  # a launcher and a scheduler may each send it
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print(
            "\nstopping after this step, with a checkpoint; the same command resumes"
            " (Ctrl-C again: stop at once)",
            flush=True,
        )

"""Ctrl-C and SIGTERM end a run after the current step, with a checkpoint.

A second Ctrl-C ends it at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from accelerate.utils import gather_object
from transformers import TrainerCallback


class CheckpointOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """Asks the trainer to save and stop once a signal has come."""

    def __init__(self) -> None:
        self.interrupted = False
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
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print(
            "\nstopping after this step, with a checkpoint; the same command goes on from it"
            " (again: stop at once)",
            flush=True,
        )

"""Where the time of an optimizer step goes, logged as ``time/<phase>`` in seconds.

The phases are generation, reward, forward, backward and other; in episodes also sandbox
and verification.

- **generation**: sampling completions, and bringing new weights to the sampler.
- **reward**: decoding and scoring them.
- **forward**: the policy's loss; also log-probabilities without gradients, where the
  objective needs them (older policy, reference).
- **backward**: gradients, their exchange among processes, and what gradient
  checkpointing computes again.
- **sandbox**, **verification**: with the method ``agent``, waiting for commands, and for
  verdicts alone, while no prompt waits for an answer. What runs beside generation is in
  generation; ``episodes/sandbox_seconds`` counts it whole.
- **other**: drawing prompts, building tensors, waiting for other processes' rollouts,
  clipping, the optimizer.

The phases of a step add up to its whole wall time, over all its micro-batches; a
generation that serves several steps counts for the first of them. Validation,
checkpoints and logging are outside of steps. The time is that of the process that
logs: with several, the main process's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from transformers import TrainerCallback

PHASES = ("generation", "reward", "forward", "backward", "other")


class StepClock:
    """Divides the time of optimizer steps among phases; the rest is ``"other"``.

    A CUDA device works through its queue while the program continues, so there a moment
    is an event in the queue, and nothing waits for the device but the end of a step.
    Elsewhere a moment is the host's time.

    Args:
        device: Where the model computes.
        now: The host's time in seconds; not read on CUDA.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self._device, self._now = device, now
        self._marks: list[tuple[str, Any]] = []
        self._reset()

    def start(self) -> None:
        """An optimizer step begins."""
        self._marks = [("other", self._moment())]

    def switch(self, phase: str) -> None:
        """From now on time belongs to this phase; outside of steps nothing happens."""
        if self._marks:
            self._marks.append((phase, self._moment()))

    def stop(self) -> None:
        """The optimizer step has ended."""
        end = self._moment()
        if self._device.type == "cuda":
            end.synchronize()
        for (phase, begin), (_, until) in pairwise([*self._marks, ("", end)]):
            seconds = self._seconds.get(phase, 0.0)
            self._seconds[phase] = seconds + self._between(begin, until)
        self._marks = []
        self._steps += 1

    def lap(self) -> dict[str, float]:
        """The mean seconds of every phase in the steps since the last lap."""
        means = {phase: seconds / max(1, self._steps) for phase, seconds in self._seconds.items()}
        self._reset()
        return means

    def metrics(self) -> dict[str, float]:
        """The lap under the names of the log."""
        return {f"time/{phase}": round(seconds, 6) for phase, seconds in self.lap().items()}

    def _reset(self) -> None:
        self._seconds, self._steps = dict.fromkeys(PHASES, 0.0), 0

    def _moment(self) -> Any:
        if self._device.type != "cuda":
            return self._now()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, begin: Any, end: Any) -> float:
        return (
            float(begin.elapsed_time(end)) / 1000
            if self._device.type == "cuda"
            else float(end - begin)
        )


class TimeSteps(TrainerCallback):  # type: ignore[misc]
    """Starts and stops a clock with every optimizer step.

    Args:
        clock: The trainer's.
    """

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers before the first micro-batch."""
        self.clock.start()

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers after the optimizer, before logs, validation and checkpoints."""
        self.clock.stop()

"""``metrics.jsonl``: every figure that a run logs, one JSON object per line.

It is written whatever else the run reports to.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class MetricsFile:
    """Appends lines to ``metrics.jsonl``.

    Args:
        path: The file; it is kept and continued if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = time.monotonic()
        if path.is_file() and (text := path.read_bytes()) and not text.endswith(b"\n"):
            path.write_bytes(
                text + b"\n"
            )  # a kill or a full disk cut the last line: the next one must not be glued to it

    def write(self, kind: str, step: int, values: dict[str, Any], **labels: Any) -> None:
        """Append one line.

        It has kind, labels, step, seconds since this process started, and the finite
        values.
        """
        line = {
            "kind": kind,
            **labels,
            "step": step,
            "time": round(time.monotonic() - self._started, 3),
        }
        line |= {
            name: value
            for name, value in values.items()
            if not (isinstance(value, float) and not math.isfinite(value))
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class LogToFile(TrainerCallback):  # type: ignore[misc]
    """Writes what a trainer logs into the metrics file.

    Its steps, and its validations as kind ``eval``.

    Args:
        file: Where to.
        kind: ``"train"`` or ``"warmup"``.
        stage: Which stage validations belong to: the method's name.
    """

    def __init__(self, file: MetricsFile, kind: str, stage: str = "") -> None:
        self.file, self.kind, self.stage = file, kind, stage

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers with the figures of a step."""
        if not (state.is_world_process_zero and logs):
            return
        values = {name: _number(value) for name, value in logs.items()}
        if "loss" in logs:
            self.file.write(self.kind, state.global_step, values)
        elif "eval_reward" in logs:
            self.file.write("eval", state.global_step, values, stage=self.stage)


def _number(value: Any) -> Any:
    """Transformers logs some figures as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value

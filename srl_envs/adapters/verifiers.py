"""verifiers 0.4: a taskset of steps. Its name must be a module of its own at the top.

``python -m srl_envs.export --to verifiers`` writes one: with OUT on ``PYTHONPATH`` the
taskset's id is ``srl_step``. Episodes are in ``srl_envs.adapters.verifiers_episodes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from srl_envs.adapters.rows import StepRow, load_rows
from srl_envs.response import ModelAnswer, SplitAnswer

__all__ = ["StepTaskset"]


class StepConfig(vf.TasksetConfig):
    """Which rows are asked: ``--env.taskset.rows FILE``."""

    rows: Path = Path("train.jsonl")
    """A file that the export wrote."""


class StepData(vf.TaskData):
    """One row."""

    row: dict[str, Any]


class StepTask(vf.Task[StepData]):
    """One answer to one row."""

    @property
    def key(self) -> str:
        """The instance's id."""
        return str(self.data.id)

    def _scored(self, trace: vf.Trace) -> Any:
        row = StepRow.read(self.data.row)
        return row.score(answer_of(trace.assistant_messages[-1]), truncated=trace.is_truncated)

    @vf.reward(weight=1.0)
    async def step_reward(self, trace: vf.Trace) -> float:
        """The similarity to the expert's step; -1 if malformed."""
        return float(self._scored(trace).value)

    @vf.metric
    async def malformed(self, trace: vf.Trace) -> float:
        """1 if the answer is malformed."""
        return float(self._scored(trace).response.error is not None)


class StepTaskset(vf.Taskset[StepTask, StepConfig]):
    """The rows of a file."""

    def load(self) -> Iterator[StepTask]:
        """A task a row; its messages are the prompt."""
        for row in load_rows(self.config.rows):
            data = StepData(id=row.id, name=row.id, row=row.as_dict(), prompt=row.messages)
            yield StepTask(data, self.config.task)


def answer_of(message: Any) -> ModelAnswer:
    """What the model wrote, its thought apart if the server took it apart."""
    return SplitAnswer(message.reasoning_content, message.content or "")

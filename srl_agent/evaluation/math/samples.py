"""The answers of a run, on disk.

Each is appended as soon as it is finished, and a killed run resumes from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, get_args

from srl_agent.runs.files import drop_cut_line
from srl_envs.errors import DataError, InfrastructureError

Mode = Literal["greedy", "sampled"]

_TYPES: dict[str, tuple[type, ...]] = {
    "benchmark": (str,),
    "problem_id": (str,),
    "mode": (str,),
    "number": (int,),
    "text": (str,),
    "tokens": (int,),
    "truncated": (bool,),
    "answer": (str, type(None)),
    "correct": (bool, type(None)),
    "steps": (int, type(None)),
    "malformed": (int, type(None)),
    "context_full": (bool, type(None)),
}


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which answer it is: no two lines of a run's samples have the same key.

    Attributes:
        benchmark: The benchmark's name.
        problem_id: The problem's id in it.
        mode: Greedy, or sampled at a temperature.
        number: Tells the sampled answers of a problem apart: 0 to k - 1; 0 if greedy.
    """

    benchmark: str
    problem_id: str
    mode: Mode
    number: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the model: a line of ``samples.jsonl``.

    Attributes:
        benchmark: See :class:`SampleKey`, as the next three.
        problem_id: The problem's id.
        mode: Greedy or sampled.
        number: Of the sample.
        text: What the model wrote; step-wise: its answers to each step, an empty line
            between them.
        tokens: How many tokens that is.
        truncated: The answer was cut off at the token limit, or the context was full;
            step-wise: the last step was, or the steps were used up without a final
            answer.
        answer: The final answer found in the text; None if it gives none.
        correct: The verdict; None until the answer is graded.
        steps: Step-wise only: how many steps were asked for.
        malformed: Step-wise only: how many of them did not follow the format.
        context_full: True if the prompt (step-wise: with the steps before) left no room
            for an answer in the model's context; else None.
    """

    benchmark: str
    problem_id: str
    mode: Mode
    number: int
    text: str
    tokens: int
    truncated: bool
    answer: str | None
    correct: bool | None = None
    steps: int | None = None
    malformed: int | None = None
    context_full: bool | None = None

    @property
    def key(self) -> SampleKey:
        """Which answer it is."""
        return SampleKey(self.benchmark, self.problem_id, self.mode, self.number)

    def graded(self, correct: bool) -> Sample:
        """The same with a verdict."""
        return replace(self, correct=correct)


class SampleStore:
    """A run's ``samples.jsonl``, open for writing; a context manager.

    Opening it mends a last line that a kill cut off (it is taken away: that answer is
    asked for again).

    Args:
        path: The file; need not exist yet.

    Raises:
        DataError: A line before the last is damaged, or two lines are of the same
            answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples: dict[SampleKey, Sample] = {}
        if path.exists():
            drop_cut_line(path)
            for sample in read_samples(path):
                if sample.key in self.samples:
                    raise DataError(
                        f"{path}: {sample.key} is in it twice. Did two runs write into this"
                        " folder? Delete one of the lines."
                    )
                self.samples[sample.key] = sample
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def append(self, sample: Sample) -> None:
        """Write one answer through to the file system.

        Raises:
            InfrastructureError: It cannot be written (a full disk); what was there
                before stays.
        """
        try:
            self._file.write(_line(sample))
            self._file.flush()
        except OSError as error:
            raise InfrastructureError(
                f"{self.path} cannot be written: {error.strerror}. Make room and give the same"
                " command again."
            ) from error
        self.samples[sample.key] = sample

    def grade(self, verdicts: Mapping[SampleKey, bool]) -> None:
        """Set verdicts.

        The whole file is replaced, so a kill leaves either the old or the new one.
        """
        self.samples.update(
            {key: self.samples[key].graded(verdict) for key, verdict in verdicts.items()}
        )
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(map(_line, self.samples.values()))
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        partial.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_samples(path: Path) -> list[Sample]:
    """All samples of a file.

    Raises:
        DataError: It does not exist, or a line is not a sample.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    return [
        _sample(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _line(sample: Sample) -> str:
    # ASCII, so that a lone surrogate of the model survives; fields that do not apply are left out
    return (
        json.dumps(
            {
                name: value
                for name, value in asdict(sample).items()
                if value is not None or name == "answer"
            }
        )
        + "\n"
    )


def _sample(line: bytes, where: str) -> Sample:
    try:
        row: Any = json.loads(line)
    except ValueError:
        raise DataError(
            f"{where}: no valid JSON. Delete the line: that answer is then asked for again."
        ) from None
    known = {field.name for field in fields(Sample)}
    if not isinstance(row, dict) or not row.keys() <= known:
        raise DataError(f"{where}: not a sample of this version.")
    for name, kinds in _TYPES.items():
        value = row.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(f"{where}: the key {name!r} is {value!r}.")
    if row["mode"] not in get_args(Mode):
        raise DataError(f"{where}: the key 'mode' is {row['mode']!r}.")
    return Sample(**row)

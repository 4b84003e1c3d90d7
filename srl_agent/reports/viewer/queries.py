"""What a page of a list asks for, and the rows that it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Page(Generic[RowT]):
    """Some rows of a list.

    Attributes:
        rows: At most :attr:`SIZE`.
        number: Of the page, from 1.
        total: Rows of the whole list.
    """

    SIZE: ClassVar[int] = 50

    rows: Sequence[RowT]
    number: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(1, -(-self.total // self.SIZE))


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group in a list; figures are None where no reward was recorded."""

    key: str
    source: str
    step: int
    place: int
    id: str
    title: str
    fate: str
    mean: float | None
    spread: float | None
    best: float | None
    answers: int
    tokens: float
    errors: str

    @property
    def kinds(self) -> dict[str, int]:
        """How many answers are malformed, by kind."""
        found = self.errors.split()
        return {kind: found.count(kind) for kind in dict.fromkeys(found)}


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """An instance in a list.

    Attributes:
        id: The instance's.
        title: Of its step.
        groups: How many were logged.
        mean: Of the groups' mean rewards.
        spread: Of the groups' standard deviations, the mean.
        gain: Mean reward of the last group less that of the first.
        first_step: Of its first group.
        last_step: Of its last group.
        last_key: The key of its last group.
    """

    SORTS: ClassVar[Mapping[str, str]] = {
        "mean": "mean, id",
        "-mean": "mean DESC, id",
        "spread": "spread, id",
        "-spread": "spread DESC, id",
        "gain": "gain, id",
        "-gain": "gain DESC, id",
        "-groups": "groups DESC, id",
        "groups": "groups, id",
    }

    id: str
    title: str
    groups: int
    mean: float
    spread: float
    gain: float
    first_step: int
    last_step: int
    last_key: str


GROUP_SORTS: Mapping[str, str] = {
    "-step": "step DESC, source, place",
    "step": "step, source, place",
    "mean": "mean, key",
    "-mean": "mean DESC, key",
    "-best": "best DESC, key",
    "-spread": "spread DESC, key",
    "-tokens": "tokens DESC, key",
}


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Which groups, in which order.

    Attributes:
        fate: ``kept``, ``dropped``, ``held out``, ``solved``, ...; empty: all.
        part: A source of groups: a benchmark, for example; empty: all.
        kind: A kind of malformed answer, ``any`` or ``none``; empty: all.
        id: An instance's; empty: all.
        search: A part of the instance's id or title.
        first: The first step; None: no bound.
        last: The last step; None: no bound.
        sort: A key of :data:`GROUP_SORTS`.
        page: From 1.
    """

    fate: str = ""
    part: str = ""
    kind: str = ""
    id: str = ""
    search: str = ""
    first: int | None = None
    last: int | None = None
    sort: str = "-step"
    page: int = 1

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, with its values."""
        tests: list[tuple[str, list[Any]]] = []
        if self.fate:
            tests.append(("fate = ?", [self.fate]))
        if self.part:
            tests.append(("source = ?", [self.part]))
        if self.kind in ("any", "none"):
            tests.append(("errors != ''" if self.kind == "any" else "errors = ''", []))
        elif self.kind:
            tests.append(("instr(' ' || errors || ' ', ?)", [f" {self.kind} "]))
        if self.id:
            tests.append(("id = ?", [self.id]))
        if self.search:
            tests.append(("instr(words, ?)", [self.search.lower()]))
        if self.first is not None:
            tests.append(("step >= ?", [self.first]))
        if self.last is not None:
            tests.append(("step <= ?", [self.last]))
        condition = " AND ".join(test for test, _ in tests) or "1"
        return condition, [value for _, values in tests for value in values]

    def order(self) -> str:
        """The order in SQL."""
        return GROUP_SORTS.get(self.sort, GROUP_SORTS["-step"])


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An episode in a list.

    Attributes:
        number: In this index; of one run it does not change while the file is there.
        step: The training step; 0 in an evaluation.
        task: Its id.
        attempt: Of the attempts at this task, from 0.
        outcome: ``solved``, ``failed`` or ``none``: there is no verdict.
        reward: None without a verdict.
        drift: Of a replay: how far its observations are from the recorded ones.
        turns: How many answers.
        tokens: That the model wrote.
        seconds: Until its verdict.
    """

    number: int
    step: int
    task: str
    attempt: int
    outcome: str
    reward: float | None
    drift: float | None
    turns: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of a run: its training, a benchmark in one mode, a stage of held-out answers.

    Attributes:
        source: Its name.
        groups: How many.
        answers: In all of them.
        mean: Of the groups' mean rewards; None if none is known.
        malformed: Groups with an answer that is malformed, cut off or rejected.
    """

    source: str
    groups: int
    answers: int
    mean: float | None
    malformed: int

"""Problems with known answers: from files and from our sources, never from a benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, Problem, read_problem
from srl_envs.data import SOURCES, load_trajectories
from srl_envs.data.overlap import benchmark_of
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key
from srl_envs.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Problems:
    """What is asked.

    Attributes:
        asked: Each question once, with its reference answer.
        refused: What is not asked, with the reason: rejects to be read.
        reasons: How many were left out, by reason.
    """

    asked: list[Problem]
    refused: list[tuple[Problem, str]]
    reasons: Counter[str]

    @classmethod
    def of(
        cls,
        asked: list[Problem],
        refused: list[tuple[Problem, str]],
        also: Mapping[str, int] | None = None,
    ) -> Problems:
        """With the reasons counted; ``also`` counts rows that have no problem to be shown."""
        return cls(asked, refused, Counter(reason for _, reason in refused) + Counter(also or {}))

    def counted(self) -> str:
        """The reasons with their counts, on one line."""
        return ", ".join(f"{number} {reason}" for reason, number in self.reasons.most_common())


def load_problems(
    file: str | None,
    source: str | None,
    path: str | None = None,
    count: int = 2000,
    limit: int | None = None,
) -> Problems:
    """Problems of a file or of a source.

    A row of a file has the problem as ``problem`` or ``question`` and the reference as
    ``answer``, else as the final answer of ``solution``.

    Args:
        file: ``.csv``, ``.jsonl``, ``.json`` or ``.parquet``; None where a source is given.
        source: A name of :data:`srl_envs.data.SOURCES`, of math.
        path: The source's file or folder.
        count: How many a built-in source generates.
        limit: Only the first so many of those that can be asked.

    Raises:
        ConfigError: Both or neither is given, or the source is a benchmark.
        DataError: They cannot be read, or none is left to ask.
    """
    if (file is None) == (source is None):
        raise ConfigError(
            "Say whose problems are asked: --problems FILE (rows with problem and answer), or"
            f" --source, one of {', '.join(SOURCES.names())}; one of the two."
        )
    reasons: Counter[str] = Counter()
    if file is not None:
        if path is not None:
            raise ConfigError("dataset_path belongs to a source: remove it, or --problems.")
        found = _of_file(Path(file).expanduser())
    else:
        assert source is not None
        found = _of_source(source, path, count, reasons)
    asked, refused = sorted_out(found, limit)
    problems = Problems.of(asked, refused, reasons)
    if not asked and not refused and file is not None:
        raise _empty(Path(file))
    if not asked:
        raise DataError(
            f"{file or source} has no problem that can be asked ({problems.counted()})."
        )
    return problems


def _of_file(path: Path) -> Iterator[Problem]:
    if not path.is_file():
        raise DataError(f"{path} is not a file: --problems takes a file of rows.")
    if path.stat().st_size == 0:
        raise _empty(path)
    name = path.name.partition(".")[0]
    for number, row in enumerate(read_rows("problems", "", path, "train")):
        yield read_problem(name, row, f"{path}, row {number + 1}", number)


def _empty(path: Path) -> DataError:
    return DataError(
        f"{path} is empty: each row must have the columns problem (or question) and answer."
    )


def _of_source(
    source: str, path: str | None, count: int, reasons: Counter[str]
) -> Iterator[Problem]:
    if source in BENCHMARKS and source not in SOURCES:
        raise ConfigError(
            f"{source} is a benchmark: models are evaluated on it, so its problems are not asked."
        )
    found = load_trajectories(source, path=path, count=count)
    reasons.update(found.rejected)
    for one in found:
        if one.domain != "math":
            raise ConfigError(
                f"The source {source!r} holds {one.domain!r} tasks, which have no final answer:"
                " choose a source of math problems."
            )
        yield Problem(source, one.id, one.prompt, one.answer)


def sorted_out(
    found: Iterable[Problem], limit: int | None
) -> tuple[list[Problem], list[tuple[Problem, str]]]:
    """The problems to ask, and the others with a reason each."""
    asked: dict[str, Problem] = {}
    refused, ids = [], set[str]()
    for one in found:
        key = question_key(one.text)
        first = asked.get(key)
        if limit is not None and len(asked) == limit:
            break
        if benchmark := benchmark_of(one.text):
            refused.append((one, f"the question is in a benchmark: {benchmark}"))
        elif not one.answer:
            refused.append((one, "no reference answer"))
        elif first is not None:
            same = first.answer == one.answer
            refused.append((one, "the same question" if same else "another answer to a question"))
        elif one.id in ids:
            raise DataError(
                f"Two problems have the id {one.id!r}: give each an id of its own, or leave the"
                " column out."
            )
        else:
            asked[key] = one
            ids.add(one.id)
    return list(asked.values()), refused

"""The math benchmarks and their sources.

Says how the paper samples each, and turns its rows into :class:`Problem`.

Benchmarks are for evaluation only. Training data that holds their questions is reported
when it is loaded (:mod:`srl_envs.data.overlap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_envs.answers.verifier import final_answer
from srl_envs.data.jsonl import read_lines
from srl_envs.data.rows import read_rows
from srl_envs.errors import ConfigError, DataError, InfrastructureError

_SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One set of problems.

    Attributes:
        name: As on the command line, and the stem of a local file.
        label: As in tables.
        problems: How many it has.
        hub_name: The data set on the hub.
        hub_split: Its split.
        sampled: Whether k answers at a temperature are drawn besides the greedy one.
            The paper does so for the small ones, whose greedy score is too coarse: one
            of 30 problems is 3.3 points.
    """

    name: str
    label: str
    problems: int
    hub_name: str
    hub_split: str = "test"
    sampled: bool = False


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("amc23", "AMC23", 40, "math-ai/amc23", sampled=True),
        Benchmark(
            "aime24", "AIME24", 30, "HuggingFaceH4/aime_2024", hub_split="train", sampled=True
        ),
        Benchmark("aime25", "AIME25", 30, "math-ai/aime25", sampled=True),
        Benchmark("minerva_math", "Minerva Math", 272, "math-ai/minervamath"),
        Benchmark("math500", "MATH-500", 500, "HuggingFaceH4/MATH-500"),
        Benchmark("gsm8k", "GSM8K", 1319, "openai/gsm8k"),
    )
}
"""All benchmarks by name."""


def label_of(name: str) -> str:
    """A benchmark as in tables; a user's own has its name alone."""
    return BENCHMARKS[name].label if name in BENCHMARKS else name


TABLE_1 = ("amc23", "aime24", "aime25", "minerva_math")
"""The benchmarks of the paper's Table 1."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a benchmark.

    Attributes:
        benchmark: The benchmark's name.
        id: Unique in its benchmark.
        text: The problem.
        answer: The reference answer.
    """

    benchmark: str
    id: str
    text: str
    answer: str


def load_benchmark(name: str, data: Sequence[Path] = (), limit: int | None = None) -> list[Problem]:
    """The problems of a benchmark, in their order.

    A row has the problem as ``problem`` or ``question``, the reference as ``answer``,
    else as the final answer of ``solution``; ``id`` or ``unique_id`` if it has one. Of
    an answer like GSM8K's, which is a whole solution, what follows ``####`` is the
    reference.

    Args:
        name: One of :data:`BENCHMARKS`.
        data: Local files (``<name>.jsonl``, ``.json``, ``.parquet``) or folders that
            hold one, or ``<name>/test.jsonl``; the hub if empty.
        limit: Only the first so many; None takes all.

    Raises:
        ConfigError: An unknown benchmark, or a limit below 1.
        DataError: No such file, or a row that is none of a benchmark's.
        InfrastructureError: The hub cannot be reached.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"Unknown benchmark {name!r}: use one of {', '.join(BENCHMARKS)}.")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: give at least 1, or None for all problems.")
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for where, number, row in (
        _local_rows(name, _find(name, data)) if data else _hub_rows(BENCHMARKS[name])
    ):
        problem = read_problem(name, row, where, number)
        if problem.id in places:
            raise DataError(
                f"{where}: the id {problem.id!r} is in {places[problem.id]} already: give each"
                " problem an id of its own."
            )
        places[problem.id] = where
        problems.append(problem)
        if len(problems) == limit:
            break
    if not problems:
        raise DataError(
            f"The benchmark {name!r} has no problems in"
            f" {', '.join(map(str, data)) or BENCHMARKS[name].hub_name}."
        )
    return problems


def _find(name: str, data: Sequence[Path]) -> Path:
    """The local file of a benchmark."""
    tried: list[Path] = []
    for place in (path.expanduser() for path in data):
        if not place.exists():
            raise DataError(
                f"{place} does not exist: --data takes files or folders with benchmarks."
            )
        candidates = (
            [place]
            if place.is_file()
            else [
                folder / f"{stem}{suffix}"
                for folder, stem in _names(name, place)
                for suffix in _SUFFIXES
            ]
        )
        if (
            place.is_file()
            and place.stem != name
            and not (place.stem == "test" and place.absolute().parent.name == name)
        ):
            tried.append(place)
            continue
        tried += candidates
        found = [path for path in candidates if path.is_file()]
        if found and found[0].suffix not in _SUFFIXES:
            raise DataError(
                f"{found[0]} is of no kind that can be read: use {', '.join(_SUFFIXES)}."
            )
        if found:
            return found[0]
    names = ", ".join(str(path) for path in tried if path.suffix not in (".json", ".parquet"))
    raise DataError(
        f"No file of the benchmark {name!r}: looked for {names} (or .json, .parquet). Name the file"
        f" {name}.jsonl, or leave it out of --benchmarks."
    )


def _names(name: str, folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder, name
    yield folder / name, "test"
    if folder.absolute().name == name:
        yield folder, "test"


def _local_rows(name: str, file: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    if file.suffix == ".jsonl":
        for number, (line, row) in enumerate(read_lines(file)):
            yield f"{file}, line {line}", number, row
    else:
        for number, other in enumerate(read_rows(name, "", file, "test")):
            yield f"{file}, row {number + 1}", number, other


def _hub_rows(benchmark: Benchmark) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    try:
        rows: Iterable[Mapping[str, Any]] = read_rows(
            benchmark.name, benchmark.hub_name, None, benchmark.hub_split
        )
    except InfrastructureError as error:
        reason = str(error).partition(" Without the hub")[
            0
        ]  # what follows names the flag of another command
        raise InfrastructureError(
            f"{reason} Give a local copy: --data FOLDER that holds {benchmark.name}.jsonl; or leave"
            f" {benchmark.name} out."
        ) from None
    for number, row in enumerate(rows):
        yield f"{benchmark.hub_name}, row {number + 1}", number, row


def read_problem(name: str, row: Mapping[str, Any], where: str, number: int) -> Problem:
    """The problem of a row, see :func:`load_benchmark`.

    Args:
        name: Of the set; makes the id of a row without one, with the row's number.
        row: Of a file.
        where: File and line, for the message.
        number: From 0.

    Raises:
        DataError: It has no problem, or no answer.
    """
    text = row.get("problem", row.get("question"))
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"{where}: the key 'problem' (or 'question') must hold the problem's text, not"
            f" {_shown(text)}. It has the keys {', '.join(map(str, row))}."
        )
    answer = row.get("answer")
    if _is_missing(answer) and isinstance(row.get("solution"), str):
        answer = final_answer(row["solution"])
    if _is_missing(answer) or isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise DataError(
            f"{where}: the key 'answer' must hold the reference answer, not {_shown(answer)}. It"
            f" has the keys {', '.join(map(str, row))}."
        )
    reference = str(answer).strip()
    if name == "gsm8k" or "\n#### " in reference:
        reference = (final_answer(reference) or reference).replace(",", "")
    id = row.get("id", row.get("unique_id"))
    id = f"{name}-{number}" if _is_missing(id) else str(id)
    return Problem(name, id, text.strip(), reference)


def _is_missing(cell: object) -> bool:
    """Whether it is what a table has in an empty cell: None, blank text, or NaN as by pandas."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]

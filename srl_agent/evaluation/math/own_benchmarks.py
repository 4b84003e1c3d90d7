"""Benchmarks of a user: a file of problems, or the questions that a source holds out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, Problem, read_problem
from srl_agent.rollouts.source_settings import SourceSettings
from srl_agent.runs.ownership import CONFIG, read_settings_file
from srl_envs.data import SOURCES
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import question_key, split_by_question
from srl_envs.errors import ConfigError, DataError

HELD_OUT = "-held-out"


def own_name(entry: str) -> str:
    """The name in tables and files of what ``--benchmarks`` names, if it is not a known one.

    Args:
        entry: A file, a training run's folder, or a source.

    Raises:
        ConfigError: It is none of these, or a file has a known benchmark's name.
    """
    place = Path(entry).expanduser()
    if place.is_file():
        name = _plain(place.name.partition(".")[0])
        if name in BENCHMARKS:
            raise ConfigError(
                f"{entry} has the name of a known benchmark: give --benchmarks {name} --data"
                f" {entry}, or rename the file."
            )
        return name
    if place.is_dir() and "source" in read_settings_file(place / CONFIG):
        return _plain(place.resolve().name) + HELD_OUT
    if entry in SOURCES:
        return _plain(entry) + HELD_OUT
    raise ConfigError(
        f"unknown benchmark {entry!r}: use one of {', '.join(BENCHMARKS)}, a file of"
        " problems, the folder of a training run for the questions that it held out, or a source"
        f" ({', '.join(SOURCES.names())})."
    )


def load_own(entry: str, limit: int | None = None) -> list[Problem]:
    """The problems of a user's benchmark, in their order.

    Rows of a file are read as :func:`~srl_agent.evaluation.math.benchmarks.load_benchmark`
    says; the problem may also be called ``prompt``. Held-out questions are split off as
    training does, with the run's settings or the defaults.

    Args:
        entry: See :func:`own_name`.
        limit: Only the first so many; None takes all.

    Raises:
        ConfigError: As :func:`own_name`; or the source is not of math.
        DataError: A row has no problem or no answer, a question or an id occurs twice, or
            there are no problems.
    """
    name, place = own_name(entry), Path(entry).expanduser()
    found = _of_file(name, place) if place.is_file() else _held_out(name, entry, place)
    problems: list[Problem] = []
    ids, questions = set[str](), dict[str, str]()
    for problem in found:
        first = questions.setdefault(question_key(problem.text), problem.id)
        if first != problem.id or problem.id in ids:
            what = f"question of {first!r}" if problem.id not in ids else f"id {problem.id!r}"
            raise DataError(
                f"{entry}: the problem {problem.id!r} has the {what} again: it would count twice."
                " Remove one."
            )
        ids.add(problem.id)
        problems.append(problem)
    if not problems:
        raise DataError(f"{entry} has no problems: each row needs the keys problem and answer.")
    return problems[:limit]


def _of_file(name: str, path: Path) -> Iterator[Problem]:
    if path.stat().st_size == 0:
        return
    for number, row in enumerate(read_rows(name, "", path, "test")):
        if "problem" not in row and "question" not in row and "prompt" in row:
            row = {**row, "problem": row["prompt"]}
        yield read_problem(name, row, f"{path}, row {number + 1}", number)


def _held_out(name: str, entry: str, folder: Path) -> Iterator[Problem]:
    """Each held-out question once, with its reference answer."""
    recorded = read_settings_file(folder / CONFIG) if folder.is_dir() else {}
    if "source" in recorded:
        known = {field.name for field in dataclasses.fields(SourceSettings)}
        source = SourceSettings(**{key: one for key, one in recorded.items() if key in known})
    else:
        kind = SOURCES.named(entry)
        if kind.takes_path and not kind.hub_name:
            raise ConfigError(f"The source {entry} is a file of your own: name the file.")
        source = SourceSettings(source=entry)
    every = source.trajectories()
    for one in every:
        if one.domain != "math":
            raise ConfigError(
                f"{entry} holds {one.domain!r} tasks, which have no final answer: use"
                " srl_agent.evaluate agent or swebench."
            )
    _, held_out = split_by_question(every, source.held_out, source.split_seed)
    seen = set[str]()
    for one in held_out:
        key = question_key(one.prompt)
        if key not in seen and one.answer:
            seen.add(key)
            yield Problem(name, one.id, one.prompt, one.answer)


def _plain(name: str) -> str:
    """A name that can be a part of file names."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "own"

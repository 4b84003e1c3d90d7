"""``load_trajectories``: the name of a source -> its trajectories, split by question."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from srl_envs.data import agent_sets, builtin, gsm8k, jsonl, numbered, s1k
from srl_envs.data.jsonl import PACKED_SUFFIXES
from srl_envs.data.lone_surrogates import lone_surrogate
from srl_envs.data.overlap import benchmark_overlap, without_overlap
from srl_envs.data.registry import (
    SOURCES,
    Source,
    SourceRequest,
    Split,
    register_source,
)
from srl_envs.data.splits import check_whole_number, split_by_question
from srl_envs.domain import check_domains
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import TrajectorySet
from srl_envs.trajectory import Trajectory

_logger = logging.getLogger(__name__)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a Path has one slash left; C:/ is a drive

register_source("builtin", takes_path=False)(builtin.load_math)
register_source("s1k", hub_name=s1k.HUB_NAME)(s1k.load)
register_source("gsm8k", hub_name=gsm8k.HUB_NAME, has_test_split=True)(gsm8k.load)
register_source("numbered")(numbered.load)
register_source("builtin_swe", domain="swe", takes_path=False)(builtin.load_swe)
register_source("builtin_shell", domain="swe", takes_path=False)(builtin.load_shell)
agent_sets.register()
register_source("jsonl")(jsonl.load)


def load_trajectories(
    source: str = "builtin",
    *,
    path: str | Path | None = None,
    split: Split | None = None,
    limit: int | None = None,
    held_out: int = 60,
    seed: int = 0,
    count: int = 2000,
    hub_split: str = "xml",
    resolved_only: bool = True,
    tasks: str | Path | None = None,
    config: str | None = None,
    revision: str | None = None,
    families: Sequence[str] | None = None,
    drop_benchmark_overlap: bool = False,
) -> TrajectorySet:
    """Load expert solutions.

    Args:
        source: ``"builtin"`` (generated word problems), ``"builtin_shell"`` (generated
            shell tasks) or ``"builtin_swe"`` (solved tasks of software engineering): no
            file, no network. ``"s1k"``, ``"gsm8k"``,
            ``"numbered"``, ``"jsonl"``, a set of agents' trajectories (see
            :data:`~srl_envs.data.agent_sets.AGENT_SETS`; ``"agent"`` reads any of their
            shapes), a hub name of one of these, or the path of a ``.jsonl`` in our
            schema. Any other file, folder or copy of a data set needs both: the source
            it is like, and its ``path``.
        path: A local file or folder of the source; None reads the hub (``"jsonl"``,
            ``"numbered"``, ``"agent"`` and ``"mini_swe_agent"`` need a path, the
            built-in ones take none). Of agents' trajectories, also a saved run (a
            ``.traj`` or ``.traj.json``) or a folder of such runs.
        split: None gives everything that trains. ``"train"`` and ``"validation"`` part
            it by question; ``"test"`` is the source's own test set.
        limit: At most this many trajectories; None gives all.
        held_out: How many distinct questions are the validation split (the paper: 60);
            at least 1.
        seed: Decides which, and what ``"builtin"`` and ``"builtin_shell"`` generate.
        count: How many problems these generate; at least 1.
        hub_split: Which spelling of ``"swe_smith"`` is read: ``"xml"``, ``"tool"`` or
            ``"ticks"``; of a local folder, the file of that name.
        resolved_only: Leave out agents' runs that failed, and those that do not say
            whether they did.
        tasks: The tasks of agents' trajectories, joined by ``instance_id``: a file or
            folder of rows, or the name of a set on the hub
            (``"SWE-bench/SWE-smith"``). They give each trajectory its image, set-up
            and hidden tests, see :mod:`srl_envs.data.agent_environment`.
        config: The set's configuration on the hub; None leaves it to the source.
        revision: A branch, tag or commit on the hub; None takes the newest.
        families: Of ``"builtin_shell"``: which of its families, such as ``"edit"`` or
            ``"edit-1"`` with a difficulty; None gives all.
        drop_benchmark_overlap: Leave out trajectories whose question is in a math
            benchmark that this project evaluates, or shares 13 words in a row with one
            (:mod:`srl_envs.data.overlap`). Otherwise a warning says how many there are.

    Returns:
        The trajectories, how many rows were left out, by reason, and how many share
        their question with a benchmark.

    Raises:
        ConfigError: An unknown source or split, a path for a source that takes none, a
            configuration or revision where nothing is read from the hub, or a number
            that is not a whole one or is below 1.
        DataError: Nothing could be read, or no row is usable.
    """
    _check_values(split, hub_split)
    check_whole_number("held_out", held_out, 1, "; split=None gives every question")
    check_whole_number("seed", seed, None)
    check_whole_number("count", count, 1)
    if limit is not None:
        check_whole_number("limit", limit, 1, ", or None for all")
    for option, value in (
        ("resolved_only", resolved_only),
        ("drop_benchmark_overlap", drop_benchmark_overlap),
    ):
        if not isinstance(value, bool):
            raise ConfigError(f"{option} is {value!r}: give True or False.")
    name, path = _resolve(source, path)
    rejected: Counter[str] = Counter()
    if path is not None or not SOURCES.named(name).hub_name:
        _refuse_hub_options(source, path, config, revision)
    request = SourceRequest(
        path,
        split,
        seed,
        count,
        hub_split,
        resolved_only,
        rejected,
        None if tasks is None else str(tasks),
        config,
        revision,
        families,
    )
    if families is not None and name != "builtin_shell":
        raise ConfigError(f"The source {name!r} has no families: they belong to builtin_shell.")
    if tasks is not None and name not in agent_sets.AGENT_SETS:
        raise ConfigError(
            f"The source {name!r} takes no tasks: they belong to one of "
            f"{', '.join(agent_sets.AGENT_SETS)}."
        )
    trajectories = list(_read(name, SOURCES.named(name), request))
    if not trajectories:
        raise _nothing_usable(name, path or source, rejected)
    if drop_benchmark_overlap:
        trajectories = _dropped(trajectories, path or source, rejected)
    if split in ("train", "validation"):
        train, validation = split_by_question(trajectories, held_out, seed)
        trajectories = train if split == "train" else validation
    trajectories = trajectories[:limit]
    overlap = benchmark_overlap(trajectories) if split != "test" else Counter()
    if overlap:
        _warn_of_overlap(path or source, len(trajectories), overlap)
    return TrajectorySet(trajectories, source, rejected, overlap)


def _nothing_usable(name: str, place: str | Path, rejected: Counter[str]) -> DataError:
    if not rejected:
        return DataError(
            f"{place} holds no rows: there is nothing to learn from. Fetch or write it again."
        )
    reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.most_common())
    return DataError(
        f"{place}: none of {rejected.total()} rows is usable ({reasons}). Is it a data set of the"
        f" kind {name!r}?"
    )


def _warn_of_overlap(place: str | Path, trajectories: int, overlap: Counter[str]) -> None:
    counts = "; ".join(f"{number} {name}" for name, number in overlap.most_common())
    _logger.warning(
        f"{place}: {overlap.total()} of {trajectories} trajectories have a question that is in a"
        f" benchmark ({counts}). drop_benchmark_overlap (--drop_benchmark_overlap true) leaves"
        " them out."
    )


def _check_values(split: str | None, hub_split: str) -> None:
    if split not in (None, "train", "validation", "test"):
        raise ConfigError(f"split is {split!r}: use 'train', 'validation', 'test' or None.")
    if hub_split not in agent_sets.HUB_SPLITS:
        raise ConfigError(
            f"hub_split is {hub_split!r}: use one of {', '.join(map(repr, agent_sets.HUB_SPLITS))}."
        )


def _refuse_hub_options(
    source: str, path: Path | None, config: str | None, revision: str | None
) -> None:
    for option, value in (("config", config), ("revision", revision)):
        if value is not None:
            where = (
                f"{path} is a local copy" if path else f"the source {source!r} is not on the hub"
            )
            raise ConfigError(
                f"{option} is {value!r}, but {where}: {option} (--dataset_{option}) chooses"
                " among what the hub has. Leave it out."
            )


def _dropped(
    trajectories: list[Trajectory], place: str | Path, rejected: Counter[str]
) -> list[Trajectory]:
    """The trajectories whose questions are in no benchmark; the others are counted."""
    kept = without_overlap(trajectories)
    if len(kept) < len(trajectories):
        rejected["the question is in a benchmark"] += len(trajectories) - len(kept)
    if not kept:
        raise DataError(
            f"{place}: all {len(trajectories)} questions are in a benchmark, so nothing is left to"
            " learn from."
        )
    return kept


def _resolve(source: str, path: str | Path | None) -> tuple[str, Path | None]:
    """The source's plain name, and the local path if there is one."""
    if path is not None and not str(path).strip():
        raise ConfigError("path is empty: give a file or folder, or leave it out.")
    if path is not None and _URL.match(str(path)):
        raise ConfigError(f"{str(path)!r} is a URL, not a path: fetch it, and give the local file.")
    name = source if source in SOURCES.names() else _hub_names().get(source, source)
    if name not in SOURCES.names():
        if not source.endswith((".jsonl", *(f".jsonl{packed}" for packed in PACKED_SUFFIXES))):
            raise ConfigError(_unknown(source))
        if path is not None:
            raise ConfigError(
                f"The source {source!r} is a file already, so that path={str(path)!r} has no "
                "place: give one of them."
            )
        name, path = "jsonl", source
    if path is not None and not SOURCES.named(name).takes_path:
        others = ", ".join(other for other, entry in SOURCES.items() if entry.takes_path)
        raise ConfigError(
            f"The source {name!r} reads no file: say with source=... (--source) what {str(path)!r} "
            f"holds, one of {others}."
        )
    return name, None if path is None else Path(path).expanduser()


def _hub_names() -> dict[str, str]:
    """Hub name -> plain name."""
    return {entry.hub_name: name for name, entry in SOURCES.items() if entry.hub_name}


def _unknown(source: str) -> str:
    valid = ", ".join((*SOURCES, *_hub_names()))
    if Path(source).expanduser().exists():
        return (
            f"{source!r} is a path, and a source says what kind of file it is: give both, like "
            f"source='s1k', path={source!r}. "
            f"Sources: {valid}, or the path of a .jsonl file in our schema."
        )
    copy = (
        " A copy of one under another name on the hub: fetch it, and give source='s1k' (say) with "
        "path=FOLDER."
        if "/" in source
        else ""
    )
    return (
        f"Unknown source {source!r}: use one of {valid}, or the path of a .jsonl file in our "
        f"schema.{copy}"
    )


def _read(name: str, source: Source, request: SourceRequest) -> Iterator[Trajectory]:
    """What the source gives, without what no tokenizer takes.

    Raises:
        ConfigError: The source has no test set.
        DataError: It gave something else than trajectories of a known domain.
    """
    if request.split == "test" and not source.has_test_split:
        raise ConfigError(f"The source {name!r} has no test split of its own: use 'validation'.")
    checked = {source.domain, "math", "swe", "steps"}
    for trajectory in source.read(request):
        if not isinstance(trajectory, Trajectory):
            raise DataError(
                f"The source {name!r} gave {type(trajectory).__name__}, not Trajectory objects."
            )
        if trajectory.domain not in checked:
            list(SOURCES)  # loads the packages, which may declare it
            try:
                check_domains([trajectory])
            except ConfigError as error:
                raise DataError(f"The source {name!r}: {error}") from None
            checked.add(trajectory.domain)
        if lone_surrogate(trajectory):
            request.rejected["a lone surrogate"] += 1
        else:
            yield trajectory

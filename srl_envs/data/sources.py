"""The one door to data: the name of a source -> its trajectories, split by question, with a count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from srl_envs.data import gsm8k, mini_swe_agent, numbered, s1k, swe_smith
from srl_envs.data.jsonl import load_jsonl
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import split_by_question
from srl_envs.data.surrogates import lone_surrogate
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import TrajectorySet
from srl_envs.trajectory import Trajectory

Split = Literal["train", "validation", "test"]

SOURCES = (
    "builtin",
    "s1k",
    "gsm8k",
    "numbered",
    "builtin_swe",
    "swe_smith",
    "mini_swe_agent",
    "jsonl",
)
"""Names of sources; a hub name of one of them, or the path of a ``.jsonl`` in our schema, serves as well."""

_WITHOUT_PATH = ("builtin", "builtin_swe")

_ROW_SOURCES = {
    "s1k": s1k,
    "gsm8k": gsm8k,
    "numbered": numbered,
    "swe_smith": swe_smith,
    "mini_swe_agent": mini_swe_agent,
}
_HUB_NAMES = {module.HUB_NAME: name for name, module in _ROW_SOURCES.items() if module.HUB_NAME}
_BUILTIN_SWE = Path(__file__).parents[1] / "swe" / "tasks" / "trajectories.jsonl"


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
) -> TrajectorySet:
    """Load expert solutions.

    Args:
        source: ``"builtin"`` (generated word problems) or ``"builtin_swe"`` (solved
            tasks of software engineering): no file, no network. ``"s1k"``, ``"gsm8k"``,
            ``"numbered"``, ``"swe_smith"``, ``"mini_swe_agent"``, ``"jsonl"``, a hub
            name of one of these, or the path of a ``.jsonl`` in our schema. Any other
            file, folder or copy of a data set needs both: the source it is like, and
            its ``path``.
        path: A local file or folder of the source; None reads the hub (``"jsonl"``,
            ``"numbered"`` and ``"mini_swe_agent"`` need a path, the built-in ones take
            none).
        split: None gives everything that trains. ``"train"`` and ``"validation"`` part
            it by question; ``"test"`` is the source's own test set.
        limit: At most this many trajectories; None gives all.
        held_out: How many distinct questions are the validation split (the paper: 60).
        seed: Decides which, and what ``"builtin"`` generates.
        count: How many problems ``"builtin"`` generates; at least 1.
        hub_split: Which spelling of ``"swe_smith"`` is read: ``"xml"``, ``"tool"`` or
            ``"ticks"``; of a local folder, the file of that name.
        resolved_only: Leave out the failed runs of ``"swe_smith"`` and
            ``"mini_swe_agent"``.

    Returns:
        The trajectories, and how many rows were left out, by reason.

    Raises:
        ConfigError: An unknown source or split, a path for a source that takes none, or
            a limit or count below 1.
        DataError: Nothing could be read, or no row is usable.
    """
    if split not in (None, "train", "validation", "test"):
        raise ConfigError(f"split is {split!r}: use 'train', 'validation', 'test' or None.")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: give at least 1, or None for all.")
    if count < 1:
        raise ConfigError(f"count is {count}: give at least 1.")
    if hub_split not in swe_smith.HUB_SPLITS:
        raise ConfigError(
            f"hub_split is {hub_split!r}: use one of {', '.join(map(repr, swe_smith.HUB_SPLITS))}."
        )
    name, path = _resolve(source, path)
    rejected: Counter[str] = Counter()
    trajectories = list(_read(name, path, split, seed, count, hub_split, resolved_only, rejected))
    if not trajectories:
        if not rejected:
            raise DataError(
                f"{path or source} holds no rows: there is nothing to learn from. Fetch or write it again."
            )
        reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.most_common())
        raise DataError(
            f"{path or source}: none of {rejected.total()} rows is usable ({reasons}). Is it a data set of the kind {name!r}?"
        )
    if split in ("train", "validation"):
        train, validation = split_by_question(trajectories, held_out, seed)
        trajectories = train if split == "train" else validation
    return TrajectorySet(trajectories[:limit], source, rejected)


def _resolve(source: str, path: str | Path | None) -> tuple[str, Path | None]:
    """The source's plain name, and the local path if there is one."""
    name = _HUB_NAMES.get(source, source)
    if name not in SOURCES:
        if not source.endswith(".jsonl"):
            raise ConfigError(_unknown(source))
        if path is not None:
            raise ConfigError(
                f"The source {source!r} is a file already, so that path={str(path)!r} has no place: give one of them."
            )
        name, path = "jsonl", source
    if name in _WITHOUT_PATH and path is not None:
        others = ", ".join(other for other in SOURCES if other not in _WITHOUT_PATH)
        raise ConfigError(
            f"The source {name!r} reads no file: say with source=... (--source) what {str(path)!r} holds, one of {others}."
        )
    if name == "jsonl" and path is None:
        raise ConfigError("The source 'jsonl' needs the path of a file.")
    return name, None if path is None else Path(path).expanduser()


def _unknown(source: str) -> str:
    valid = ", ".join((*SOURCES, *_HUB_NAMES))
    if Path(source).expanduser().exists():
        return (
            f"{source!r} is a path, and a source says of what kind a file is: give both, like source='s1k', path={source!r}. "
            f"Sources: {valid}, or the path of a .jsonl file in our schema."
        )
    copy = (
        " A copy of one under another name on the hub: fetch it, and give source='s1k' (say) with path=FOLDER."
        if "/" in source
        else ""
    )
    return f"Unknown source {source!r}: use one of {valid}, or the path of a .jsonl file in our schema.{copy}"


def _read(
    name: str,
    path: Path | None,
    split: Split | None,
    seed: int,
    count: int,
    hub_split: str,
    resolved_only: bool,
    rejected: Counter[str],
) -> Iterable[Trajectory]:
    if split == "test" and name != "gsm8k":
        raise ConfigError(f"The source {name!r} has no test split of its own: use 'validation'.")
    if name == "builtin":
        from srl_envs.data.procedural import (
            generate,
        )  # reads its templates: only when they are wanted

        return generate(count, seed)
    if name == "builtin_swe":
        return load_jsonl(_BUILTIN_SWE)
    if name == "jsonl":
        assert path is not None
        return load_jsonl(path)
    module = _ROW_SOURCES[name]
    file_split = hub_split if name == "swe_smith" else "test" if split == "test" else "train"
    trajectories: Iterable[Trajectory]
    rows: Iterable[Mapping[str, Any]] = read_rows(name, module.HUB_NAME, path, file_split)
    if name == "swe_smith":
        trajectories = swe_smith.read(rows, rejected, resolved_only)
    elif name == "mini_swe_agent":
        trajectories = mini_swe_agent.read(rows, rejected, resolved_only)
    else:
        trajectories = module.read(rows, rejected)
    return _without_lone_surrogates(trajectories, rejected)


def _without_lone_surrogates(
    trajectories: Iterable[Trajectory], rejected: Counter[str]
) -> Iterator[Trajectory]:
    for trajectory in trajectories:
        if lone_surrogate(trajectory):
            rejected["a lone surrogate"] += 1
        else:
            yield trajectory

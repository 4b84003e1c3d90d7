"""The one door to data: the name of a source -> its trajectories, split by question, with a count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from srl_envs.data import gsm8k, mini_swe_agent, numbered, s1k, swe_smith
from srl_envs.data.jsonl import load_jsonl
from srl_envs.data.rows import read_rows
from srl_envs.data.splits import split_by_question
from srl_envs.errors import ConfigError, DataError
from srl_envs.trajectory import Trajectory, TrajectorySet

Split = Literal["train", "validation", "test"]

SOURCES = ("builtin", "s1k", "gsm8k", "numbered", "builtin_swe", "swe_smith", "mini_swe_agent", "jsonl")
"""Names of sources; a hub name of one of them, or the path of a ``.jsonl`` in our schema, serves as well."""

_ROW_SOURCES = {"s1k": s1k, "gsm8k": gsm8k, "numbered": numbered, "swe_smith": swe_smith, "mini_swe_agent": mini_swe_agent}
_HUB_NAMES = {module.HUB_NAME: name for name, module in _ROW_SOURCES.items() if module.HUB_NAME}
_BUILTIN_SWE = Path(__file__).parents[1] / "swe_tasks" / "trajectories.jsonl"


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
        source: ``"builtin"`` (generated word problems) or ``"builtin_swe"`` (solved tasks of software engineering): no file, no network. ``"s1k"``,
            ``"gsm8k"``, ``"numbered"``, ``"swe_smith"``, ``"mini_swe_agent"``, ``"jsonl"``, a hub name of one of these, or the path of a ``.jsonl`` in
            our schema.
        path: A local file or folder of the source; None reads the hub (``"jsonl"``, ``"numbered"`` and ``"mini_swe_agent"`` need a path, the
            built-in ones take none).
        split: None gives everything that trains. ``"train"`` and ``"validation"`` part it by question; ``"test"`` is the source's own test set.
        limit: At most this many trajectories; None gives all.
        held_out: How many distinct questions are the validation split (the paper: 60).
        seed: Decides which, and what ``"builtin"`` generates.
        count: How many problems ``"builtin"`` generates.
        hub_split: Which spelling of ``"swe_smith"`` is read: ``"xml"``, ``"tool"`` or ``"ticks"``; of a local folder, the file of that name.
        resolved_only: Leave out the failed runs of ``"swe_smith"`` and ``"mini_swe_agent"``.

    Returns:
        The trajectories, and how many rows were left out, by reason.

    Raises:
        ConfigError: An unknown source or split, or a limit below 1.
        DataError: Nothing could be read, or no row is usable.
    """
    if split not in (None, "train", "validation", "test"):
        raise ConfigError(f"split is {split!r}: use 'train', 'validation', 'test' or None.")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: give at least 1, or None for all.")
    if hub_split not in swe_smith.HUB_SPLITS:
        raise ConfigError(f"hub_split is {hub_split!r}: use one of {', '.join(map(repr, swe_smith.HUB_SPLITS))}.")
    name, path = _resolve(source, path)
    rejected: Counter[str] = Counter()
    trajectories = list(_read(name, path, split, seed, count, hub_split, resolved_only, rejected))
    if not trajectories:
        reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.most_common())
        raise DataError(f"{source}: none of {rejected.total()} rows is usable ({reasons}). Is it a data set of the kind {name!r}?")
    if split in ("train", "validation"):
        train, validation = split_by_question(trajectories, held_out, seed)
        trajectories = train if split == "train" else validation
    return TrajectorySet(trajectories[:limit], source, rejected)


def _resolve(source: str, path: str | Path | None) -> tuple[str, Path | None]:
    """The source's plain name, and the local path if there is one."""
    name = _HUB_NAMES.get(source, source)
    if name not in SOURCES:
        if not source.endswith(".jsonl"):
            valid = ", ".join((*SOURCES, *_HUB_NAMES))
            raise ConfigError(f"Unknown source {source!r}: use one of {valid}, or the path of a .jsonl file in our schema.")
        name, path = "jsonl", source
    if name == "jsonl" and path is None:
        raise ConfigError("The source 'jsonl' needs the path of a file.")
    return name, None if path is None else Path(path).expanduser()


def _read(
    name: str, path: Path | None, split: Split | None, seed: int, count: int, hub_split: str, resolved_only: bool, rejected: Counter[str]
) -> Iterable[Trajectory]:
    if split == "test" and name != "gsm8k":
        raise ConfigError(f"The source {name!r} has no test split of its own: use 'validation'.")
    if name == "builtin":
        from srl_envs.data.procedural import generate  # reads its templates: only when they are wanted

        return generate(count, seed)
    if name == "builtin_swe":
        return load_jsonl(_BUILTIN_SWE)
    if name == "jsonl":
        assert path is not None
        return load_jsonl(path)
    module = _ROW_SOURCES[name]
    file_split = hub_split if name == "swe_smith" else "test" if split == "test" else "train"
    rows: Iterable[Mapping[str, Any]] = read_rows(name, module.HUB_NAME, path, file_split)
    if name == "swe_smith":
        return swe_smith.read(rows, rejected, resolved_only)
    if name == "mini_swe_agent":
        return mini_swe_agent.read(rows, rejected, resolved_only)
    trajectories: Iterable[Trajectory] = module.read(rows, rejected)
    return trajectories

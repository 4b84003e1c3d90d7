"""The kinds of runs, and how what each keeps becomes groups of answers and episodes."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srl_agent.reports.viewer import kept_groups
from srl_agent.reports.viewer.kept_groups import Listed, Row, Rows
from srl_agent.rollouts.rollout_log import FOLDER
from srl_envs.errors import DataError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run.

    Attributes:
        name: In words.
        signs: Patterns of files. A folder with one of these is such a run, unless its
            ``config.yaml`` says what it is.
        files: Patterns of files whose objects make groups or episodes; a ``.json`` file
            is one object, any other has one a line.
        keys: Which groups or episodes an object belongs to, given its file's name.
        group: What belongs to a key as a group; None if it is not one.
        episode: The same as an episode, in the form of ``episodes.jsonl``.
        expert: What answers are held against.
        scored: What of an answer is judged.
        trains: Whether it logs groups that are trained on, and answers to held-out
            instances.
        episodes: Whether it writes ``episodes*.jsonl``.
    """

    name: str
    signs: tuple[str, ...]
    files: tuple[str, ...] = ()
    keys: Callable[[str, Row], Sequence[str]] = lambda file, row: ()
    group: Callable[[Rows], Listed | None] = lambda rows: None
    episode: Callable[[Rows], Row | None] = lambda rows: None
    expert: str = "The expert's step"
    scored: str = "What is scored"
    trains: bool = False
    episodes: bool = False


def kind_of(folder: Path, settings: Mapping[str, Any]) -> Kind | None:
    """The kind of the run in a folder; None if it holds no run.

    Args:
        folder: Any folder.
        settings: Of its ``config.yaml``.

    Raises:
        DataError: It is a run of a kind that is not known here.
    """
    task = settings.get("task")
    if isinstance(task, str):
        if task not in KINDS:
            raise DataError(
                f"{folder} is a run of {task!r}, which this version cannot show. It shows"
                f" {', '.join(KINDS)}."
            )
        return KINDS[task]
    if "method" in settings:
        return KINDS["training"]
    for kind in KINDS.values():
        if any(any(folder.glob(sign)) for sign in kind.signs):
            return kind
    return None


def report_kind(path: Path) -> Kind:
    """The kind of a file that ``srl_envs.replay --report`` wrote.

    Raises:
        DataError: The file is something else.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not (isinstance(row, dict) and {"id", "resolved", "drift"} <= row.keys()):
        raise DataError(
            f"{path} is not a report of srl_envs.replay: give that, or the folder of a run."
        )
    return replace(KINDS["replay"], files=(glob.escape(path.name),))


_COLLECTION = Kind(
    "collection",
    ("drafts.jsonl",),
    ("drafts.jsonl", "rejects.jsonl", "trajectories.jsonl"),
    kept_groups.of_id,
    kept_groups.collected_group,
    expert="The reference answer",
    scored="Why it is rejected",
)

KINDS: Mapping[str, Kind] = {
    "training": Kind(
        "training",
        ("metrics.jsonl", "samples/*.jsonl", f"{FOLDER}/*.index"),
        trains=True,
        episodes=True,
    ),
    "math": Kind(
        "math evaluation",
        ("samples.jsonl",),
        ("problems.jsonl", "samples.jsonl"),
        kept_groups.math_keys,
        kept_groups.math_group,
        expert="The reference answer",
        scored="Its final answer",
    ),
    "swebench": Kind(
        "SWE-bench evaluation",
        ("predictions.jsonl",),
        ("answers/*.json", "predictions.jsonl", "judgements.jsonl"),
        kept_groups.swebench_keys,
        kept_groups.swebench_group,
        kept_groups.swebench_episode,
        scored="Its patch",
    ),
    "collect math": _COLLECTION,
    "collect rewrite": replace(_COLLECTION, signs=()),
    "collect swe": Kind(
        "collection by agents",
        (),
        ("replays.jsonl",),
        kept_groups.of_id,
        episode=kept_groups.replayed_episode,
        episodes=True,
    ),
    "agent": Kind("agent evaluation", ("episodes.jsonl",), episodes=True),
    "replay": Kind(
        "replays",
        ("replays.jsonl",),
        ("replays.jsonl",),
        kept_groups.of_id,
        episode=kept_groups.replayed_episode,
    ),
}
"""By the task in a run's ``config.yaml``; a folder without one is the first that its files fit."""

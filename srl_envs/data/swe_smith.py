"""SWE-smith's trajectories: SWE-agent on synthetic bugs in real repositories, in three spellings.

The splits ``xml``, ``tool`` and ``ticks`` have columns ``messages`` (a list, or the
JSON of one), ``instance_id``, ``resolved``, ``model``, ``traj_id`` and ``patch``. Which
grammar a row has is read from its messages, so that a local file may be of any split.
The column ``patch`` is not read: it is empty or of another repository in some rows.
Actions are the commands in their canonical text, observations lack the prefix
``OBSERVATION:``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.agent_turns import read_conversations
from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.trajectory import Trajectory

HUB_NAME = "SWE-bench/SWE-smith-trajectories"
HUB_SPLITS = ("xml", "tool", "ticks")

_PREFIX = re.compile(r"\A(?:OBSERVATION|Observation):[ \n]?")


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"swe_smith"``: its rows from a local file or the hub, read by :func:`read`."""
    rows = read_rows("swe_smith", HUB_NAME, request.path, request.hub_split)
    return read(rows, request.rejected, request.resolved_only)


def read(
    rows: Iterable[Mapping[str, Any]], rejected: Counter[str], resolved_only: bool = True
) -> Iterable[Trajectory]:
    """Rows -> trajectories; what is left out is counted in ``rejected``."""
    unsolved = _unsolved if resolved_only else lambda row: ""
    return read_conversations(
        rows,
        rejected,
        unsolved=unsolved,
        id_columns=("traj_id", "instance_id"),
        fenced="ticks",
        tool_calls="tool",
        observation=lambda text: _PREFIX.sub("", text, count=1),
    )


def _unsolved(row: Mapping[str, Any]) -> str:
    return "" if row.get("resolved") is True else "not resolved"

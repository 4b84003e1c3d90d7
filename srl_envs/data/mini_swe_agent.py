"""mini-swe-agent's trajectories: one ``bash`` block a turn (version 1), or tool calls (version 2).

A row is the object of one ``.traj.json`` file (``messages``, ``info``,
``trajectory_format``), to which ``instance_id`` and ``resolved`` may be added, or the
same with the fields of ``info`` at the top. mini-swe-agent itself does not know whether
a task is resolved: without ``resolved`` a row counts if it was submitted. Version 2
runs all tool calls of a message, so that each is a step. Observations stay as the agent
saw them, with their ``<returncode>`` and ``<output>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from srl_envs.data.agent_turns import read_conversations
from srl_envs.data.registry import SourceRequest
from srl_envs.data.rows import read_rows
from srl_envs.trajectory import Trajectory

HUB_NAME = ""


def load(request: SourceRequest) -> Iterable[Trajectory]:
    """The source ``"mini_swe_agent"``: rows from a local file, read by :func:`read`."""
    rows = read_rows("mini_swe_agent", HUB_NAME, request.path, request.file_split)
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
        id_columns=("instance_id",),
        fenced="bash",
        tool_calls="bash_tool",
        parallel=True,
    )


def _unsolved(row: Mapping[str, Any]) -> str:
    """Why the row does not count as solved; empty if it does."""
    if row.get("resolved") is not None:
        return "" if row["resolved"] is True else "not resolved"
    info = row.get("info")
    status = row.get("exit_status") or (info.get("exit_status") if isinstance(info, dict) else None)
    return "" if status == "Submitted" else "not submitted"

"""The published sets of coding agents' trajectories, and files and folders of one's own.

Every set is read alike: what a row is, :mod:`srl_envs.data.chat` and
:mod:`srl_envs.data.agent_rows` see from its shape. The table holds what only the hub
needs, and whether all rows are solutions though none says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_envs.data.agent_rows import read
from srl_envs.data.registry import SourceRequest, register_source
from srl_envs.data.rows import read_rows, read_saved_run
from srl_envs.errors import DataError
from srl_envs.trajectory import Trajectory

HUB_SPLITS = ("xml", "tool", "ticks")
"""The spellings of SWE-smith's runs."""

_RUNS = (".traj", ".traj.json")
_ATIF = re.compile(rb'\{\s*"schema_version":\s*"ATIF')
_EVENTS = re.compile(rb'\[\s*\{\s*"id":\s*\d+,\s*"timestamp":')


@dataclass(frozen=True, slots=True)
class AgentSet:
    """A set on the hub.

    Attributes:
        name: Its name there.
        split: The split that trains; empty asks for ``hub_split``.
        config: The configuration, where the set has several.
        resolved: Every row is a solution, and none says so.
    """

    name: str
    split: str = "train"
    config: str | None = None
    resolved: bool = False


AGENT_SETS: Mapping[str, AgentSet | None] = {
    "swe_smith": AgentSet("SWE-bench/SWE-smith-trajectories", split=""),
    "mini_swe_agent": None,
    "agent": None,
    "swe_gym": AgentSet("SWE-Gym/OpenHands-Sampled-Trajectories", "train.raw"),
    "swe_gym_sft": AgentSet(
        "SWE-Gym/OpenHands-SFT-Trajectories", "train.success.oss", resolved=True
    ),
    "swe_rebench": AgentSet("nebius/SWE-rebench-openhands-trajectories"),
    "swe_agent_0": AgentSet("nebius/SWE-agent-trajectories"),
    "r2e_gym": AgentSet("R2E-Gym/R2EGym-SFT-Trajectories", resolved=True),
    "swe_zero": AgentSet("nvidia/SWE-Zero-openhands-trajectories"),
    "nemotron_swe": AgentSet("nvidia/Nemotron-SWE-v1", "r2e_gym"),
    "coderforge": AgentSet(
        "togethercomputer/CoderForge-Preview", "filtered_reward1", "trajectories", resolved=True
    ),
    "mini_coder": AgentSet("ricdomolm/mini-coder-trajs-400k"),
    "mini_klear": AgentSet(
        "Kwai-Klear/SWE-smith-mini_swe_agent_plus-trajectories-66k", resolved=True
    ),
}
"""By the name of the source; without a set the source reads a path only."""


def register() -> None:
    """Make a source of each set."""
    for name, agent_set in AGENT_SETS.items():
        hub_name = agent_set.name if agent_set else ""
        register_source(name, domain="swe", hub_name=hub_name)(_reader(name, agent_set))


def _reader(name: str, agent_set: AgentSet | None) -> Any:
    def load(request: SourceRequest) -> Iterable[Trajectory]:
        rows = _rows(name, agent_set, request)
        resolved = agent_set is not None and agent_set.resolved
        tasks = None if request.tasks is None else tasks_of(request.tasks)
        return read(rows, request.rejected, request.resolved_only, resolved, tasks)

    return load


def tasks_of(source: str) -> dict[str, Mapping[str, Any]]:
    """The tasks of a file or folder, or of a set on the hub, by ``instance_id``.

    Raises:
        DataError: They cannot be read, or a row has no ``instance_id``.
        InfrastructureError: The hub cannot be reached.
    """
    path = Path(source).expanduser()
    on_the_hub = not path.exists() and len(source.split("/")) == 2 and not path.suffix
    rows = read_rows("tasks", source if on_the_hub else "", None if on_the_hub else path, "train")
    tasks = {}
    for number, row in enumerate(rows, start=1):
        name = row.get("instance_id")
        if not isinstance(name, str) or not name:
            raise DataError(f"{source}, row {number}: a task needs an instance_id.")
        tasks[name] = row
    return tasks


def _rows(
    name: str, agent_set: AgentSet | None, request: SourceRequest
) -> Iterable[Mapping[str, Any]]:
    """The rows of a set; of a path also saved runs, a file or a folder of them."""
    if request.path is not None and (runs := _runs_at(request.path)):
        return _saved_runs(runs)
    split = request.file_split
    if agent_set is not None and split == "train":
        split = agent_set.split or request.hub_split
    if request.path is None:
        config = request.config or (agent_set.config if agent_set else None)
        hub_name = agent_set.name if agent_set else ""
        return read_rows(name, hub_name, None, split, config, request.revision)
    return read_rows(name, "", request.path, split)


def _runs_at(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file() and _is_run(one))
    return [path] if path.is_file() and (_is_run(path) or _holds_a_run(path)) else []


def _is_run(path: Path) -> bool:
    """Whether a file is one run, by its name; a document in ATIF by what it says first."""
    if path.name.endswith(_RUNS):
        return True
    return path.suffix == ".json" and _ATIF.match(_head(path)) is not None


def _holds_a_run(path: Path) -> bool:
    """Whether a ``.json`` is one run, an object or OpenHands' events, and not a list of rows."""
    if path.suffix != ".json":
        return False
    head = _head(path)
    return head.startswith(b"{") or _EVENTS.match(head) is not None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")


def _saved_runs(paths: list[Path]) -> Iterator[Mapping[str, Any]]:
    """The row of each run that an agent saved; its file names the instance, if it does not."""
    for path in paths:
        row = read_saved_run(path)
        name = path.name.removesuffix(".json").removesuffix(".traj")
        yield {"instance_id": name, **{key: row[key] for key in row if row[key] is not None}}

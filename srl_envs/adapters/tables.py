"""The columns in which each trainer reads its data set.

Rows of ours go in as JSON text, since a table would give each row the keys of all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from srl_envs.adapters.episodes import EpisodeRow
from srl_envs.adapters.pivot import EPISODE_AGENT, STEP_AGENT, pivot_row
from srl_envs.adapters.rows import StepRow

AnyRow = StepRow | EpisodeRow
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """How a trainer's data set is written.

    Attributes:
        suffix: ``".parquet"`` or ``".jsonl"``.
        row: Makes the columns of a row, its number, and its split.
        files: Further files: name -> text.
    """

    suffix: str
    row: Callable[[AnyRow, int, str], Mapping[str, Any]]
    files: Mapping[str, str]

    def write(self, rows: Iterable[AnyRow], folder: Path, split: str) -> int:
        """Write a split into a folder; returns how many rows it has."""
        path = folder / f"{split}{self.suffix}"
        shaped = (self.row(row, index, split) for index, row in enumerate(rows))
        if self.suffix == ".parquet":
            return _write_parquet(shaped, path)
        with path.open("w", encoding="utf-8") as file:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in shaped)
            return sum(bool(file.write(line)) for line in lines)


def _write_parquet(rows: Iterator[Mapping[str, Any]], path: Path) -> int:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    number, writer = 0, None
    try:
        while batch := list(islice(rows, _BATCH)):
            schema = None if writer is None else writer.schema
            table = arrow.Table.from_pylist(batch, schema=schema)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            number += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return number


def _text(row: AnyRow) -> str:
    return json.dumps(asdict(row), ensure_ascii=False)


def _name(row: AnyRow) -> str:
    return "srl_step" if isinstance(row, StepRow) else "srl_episode"


def _truth(row: AnyRow) -> str:
    return row.expert_action if isinstance(row, StepRow) else ""


def _verl(row: AnyRow, index: int, split: str) -> dict[str, Any]:
    return {
        "data_source": _name(row),
        "prompt": row.messages,
        "ability": "step" if isinstance(row, StepRow) else "episode",
        "reward_model": {"style": "rule", "ground_truth": _truth(row)},
        "extra_info": {"index": index, "split": split, "id": row.id, "row": _text(row)},
        "agent_name": _name(row),
    }


def _skyrl(row: AnyRow, index: int, split: str) -> dict[str, Any]:
    return {
        "data_source": "srl",
        "prompt": row.messages,
        "env_class": _name(row),
        "reward_spec": {"method": "rule", "ground_truth": _truth(row)},
        "extra_info": {"index": index, "split": split, "id": row.id, "row": _text(row)},
    }


def _trl(row: AnyRow, index: int, split: str) -> dict[str, Any]:
    return {"prompt": row.messages, "id": row.id, "row": _text(row)}


def _nemo(row: AnyRow, index: int, split: str) -> dict[str, Any]:
    if isinstance(row, StepRow):
        return pivot_row(row)
    return {
        "uuid": row.id,
        "agent_ref": {"type": "responses_api_agents", "name": EPISODE_AGENT},
        "responses_create_params": {"input": row.messages},
        "episode": asdict(row),
    }


def _plain(row: AnyRow, index: int, split: str) -> dict[str, Any]:
    return asdict(row)


_VERL_LOOPS = """\
# actor_rollout_ref.rollout.agent.agent_loop_config_path
- name: srl_step
  _target_: srl_envs.adapters.verl_loops.StepLoop
- name: srl_episode
  _target_: srl_envs.adapters.verl_loops.EpisodeLoop
"""

_NEMO_SERVERS = f"""\
srl_step:
  resources_servers:
    srl_step:
      entrypoint: app.py
      domain: agent
      verified: false
      description: One step of an expert's solution, scored by its similarity
{STEP_AGENT}:
  responses_api_agents:
    simple_agent:
      entrypoint: app.py
      resources_server: {{type: resources_servers, name: srl_step}}
      model_server: {{type: responses_api_models, name: policy_model}}
srl_episode:
  resources_servers:
    srl_episode:
      entrypoint: app.py
      domain: agent
      verified: false
      description: An episode of an environment of srl_envs, verified at its end
{EPISODE_AGENT}:
  responses_api_agents:
    gymnasium_agent:
      entrypoint: app.py
      max_steps: 50
      resources_server: {{type: resources_servers, name: srl_episode}}
      model_server: {{type: responses_api_models, name: policy_model}}
"""

_NEMO_APP = """\
from srl_envs.adapters.nemo_gym import {0} as Server

if __name__ == "__main__":
    Server.run_webserver()
"""

_FOLDER = Path(__file__).parents[2]
_OURSELVES = f"-e {_FOLDER}" if (_FOLDER / "pyproject.toml").exists() else "srl-lm"

_NEMO_FILES = {
    "srl.yaml": _NEMO_SERVERS,
    "resources_servers/srl_step/app.py": _NEMO_APP.format("StepServer"),
    "resources_servers/srl_step/requirements.txt": f"nemo-gym==0.7.0\n{_OURSELVES}\n",
    "resources_servers/srl_episode/app.py": _NEMO_APP.format("EpisodeServer"),
    "resources_servers/srl_episode/requirements.txt": f"nemo-gym==0.7.0\n{_OURSELVES}\n",
}

_VERIFIERS = {
    f"{name}.py": (
        f'"""Read by verifiers: --env.taskset.id {name}."""\n\n'
        f"from srl_envs.adapters.{module} import {', '.join(classes)}\n\n"
        f"__all__ = {list(classes)!r}\n"
    )
    for name, module, classes in (
        ("srl_step", "verifiers", ("StepTaskset",)),
        ("srl_episode", "verifiers_episodes", ("EpisodeEnv", "EpisodeTaskset")),
    )
}

_INSPECT_TASKS = '''\
"""Read by inspect_ai: inspect eval srl_tasks.py@steps --model ..."""

from inspect_ai import task

from srl_envs.adapters import inspect_tasks


@task
def steps(rows="validation.jsonl"):
    return inspect_tasks.steps(rows)


@task
def episodes(rows="validation.jsonl"):
    return inspect_tasks.episodes(rows)
'''

TABLES: Mapping[str, Table] = {
    "inspect": Table(".jsonl", _plain, {"srl_tasks.py": _INSPECT_TASKS}),
    "jsonl": Table(".jsonl", _plain, {}),
    "nemo": Table(".jsonl", _nemo, _NEMO_FILES),
    "skyrl": Table(".parquet", _skyrl, {}),
    "trl": Table(".jsonl", _trl, {}),
    "verifiers": Table(".jsonl", _plain, _VERIFIERS),
    "verl": Table(".parquet", _verl, {"agent_loops.yaml": _VERL_LOOPS}),
}
"""By the name that ``--to`` takes; ``jsonl`` is for one's own scripts."""

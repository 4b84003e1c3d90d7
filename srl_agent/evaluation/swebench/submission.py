"""A folder for SWE-bench's public leaderboard.

Its layout is that of https://github.com/SWE-bench/experiments: predictions, metadata, the
harness's log of each instance, and what the model was asked and wrote.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from srl_agent.evaluation.swebench.host import LOGS
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.results import SweBenchResults
from srl_agent.evaluation.swebench.tables import terminal_text
from srl_envs.errors import ConfigError

_PARTS = {"all_preds.jsonl", "metadata.yaml", "README.md", "logs", "trajs"}


def write_submission(
    folder: Path,
    results: SweBenchResults,
    records: Records,
    settings: Mapping[str, Any],
) -> None:
    """Write the folder anew.

    Names, links and authors in ``metadata.yaml`` are left for you to fill in; a
    ``metadata.yaml`` that is there stays as it is.

    Args:
        folder: Is made; one that exists must be a submission, which is replaced.
        results: The run's figures.
        records: Its patches, verdicts and answers.
        settings: Its resolved config.

    Raises:
        ConfigError: The folder holds something else.
    """
    require_free(folder)
    for part in ("logs", "trajs"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    lines = [
        json.dumps(
            {
                "instance_id": name,
                "model_name_or_path": results.model,
                "model_patch": records.predictions[name],
            }
        )
        for name in (one.instance_id for one in results.instances)
        if name in records.predictions
    ]
    (folder / "all_preds.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for one in results.instances:
        _write_instance(folder, one.instance_id, records)
    if not (folder / "metadata.yaml").exists():  # its author may have filled it in
        (folder / "metadata.yaml").write_text(
            yaml.safe_dump(_metadata(results, settings), sort_keys=False), encoding="utf-8"
        )
    table = terminal_text(results)
    (folder / "README.md").write_text(
        f"# {results.model}, SWE-bench, {results.mode} mode\n\n```\n{table}\n```\n",
        encoding="utf-8",
    )


def require_free(folder: Path) -> None:
    """Check that a submission may be written there.

    Raises:
        ConfigError: The folder holds something else than a submission.
    """
    if folder.is_file():
        raise ConfigError(f"{folder} is a file: choose another --submission_dir.")
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if others := sorted(held - _PARTS):
        raise ConfigError(
            f"{folder} is not a submission, it holds {others[0]}: choose another --submission_dir."
        )
    if held and "all_preds.jsonl" not in held:
        raise ConfigError(
            f"{folder} is not empty and not a submission: choose another --submission_dir."
        )


def _write_instance(folder: Path, name: str, records: Records) -> None:
    logs = folder / "logs" / name
    logs.mkdir()
    if patch := records.predictions.get(name):
        (logs / "patch.diff").write_text(patch, encoding="utf-8")
    judgement = records.judgements.get(name)
    log = judgement.log if judgement else ""
    for part in LOGS:
        if log and (source := Path(log) / part).is_file():
            shutil.copyfile(source, logs / part)
    if answer := records.answer(name):
        (folder / "trajs" / f"{name}.json").write_text(
            json.dumps(answer, indent=1), encoding="utf-8"
        )


def _metadata(results: SweBenchResults, settings: Mapping[str, Any]) -> dict[str, Any]:
    samples = int(settings.get("num_samples", 1))
    return {
        "info": {"name": results.model, "authors": "", "site": "", "logo": "", "report": ""},
        "tags": {
            "model": [results.model],
            "org": [],
            "checked": False,
            "os_model": False,
            "os_system": True,
            "system": {"attempts": str(samples)},
        },
    }

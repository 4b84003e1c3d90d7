"""The folder of a collection: one model, asked in one way; and the files in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from srl_agent.evaluation.folder import evaluation_folder, model_label
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.runs.files import replace_file
from srl_agent.runs.ownership import (
    CONFIG,
    check_same_settings,
    read_settings_file,
    write_settings_file,
)

DRAFTS, REJECTS, TRAJECTORIES = "drafts.jsonl", "rejects.jsonl", "trajectories.jsonl"


def default_folder(task: str, source: str, model: GeneratorConfig) -> Path:
    """The folder of a collection that names none: ``runs/collect-<task>-<source>-<model>``."""
    local = Path(model.model).expanduser().is_dir()
    name = model_label(model).replace("/", "-") if local else Path(model.model).name
    return Path("runs") / f"collect-{task}-{Path(source).stem}-{name}"


@contextmanager
def collection_folder(
    folder: Path, task: str, settings: Mapping[str, Any], identity: Mapping[str, Any]
) -> Iterator[None]:
    """Own the folder of a collection, with ``config.yaml`` written.

    Args:
        folder: The folder; new, empty, or of a run of the same task.
        task: The command: ``"math"``, ``"rewrite"``, ...
        settings: All of them, to be read.
        identity: Those on which answers depend: all of a folder have the same.

    Raises:
        ConfigError: The folder is a file, holds something else, or answers that were
            given to other settings; or it is in use by another process.
    """
    with evaluation_folder(folder, f"collect {task}", "run"):
        plain = json.loads(json.dumps(identity))
        drafts = folder / DRAFTS
        if drafts.is_file() and drafts.stat().st_size > 0:
            before = read_settings_file(folder / CONFIG).get("identity")
            known = before if isinstance(before, dict) else {}
            check_same_settings(folder, known, plain, "answers")
        written = {"task": f"collect {task}", "settings": dict(settings), "identity": plain}
        write_settings_file(folder / CONFIG, json.loads(json.dumps(written)))
        yield


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSONL file whole."""
    # ASCII, so that a lone surrogate of a model survives.
    replace_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())

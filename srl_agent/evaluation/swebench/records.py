"""What a run on SWE-bench leaves on disk.

Each record is written as soon as it is finished, so a killed run resumes where it was.

``predictions.jsonl``: patches in the harness's format. ``answers/<instance_id>.json``:
prompts, answers and edits. ``judgements.jsonl``: verdicts; of several on one instance
the last one holds. A patch counts as written once it is in ``predictions.jsonl``.
``instances.json``: hashes of what the instances were when they were answered and
judged, so that a data set that changes under its name is noticed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srl_agent.evaluation.folder import evaluation_folder, read_settings
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.runs.files import drop_cut_line, replace_file, text_hash
from srl_agent.runs.ownership import CONFIG, check_same_settings, write_settings_file
from srl_envs.data.jsonl import read_lines
from srl_envs.errors import DataError, InfrastructureError

PREDICTIONS, JUDGEMENTS, ANSWERS, INSTANCES = (
    "predictions.jsonl",
    "judgements.jsonl",
    "answers",
    "instances.json",
)

_ASKED_WITH = ("repo", "base_commit", "problem_statement", "patch")
_JUDGED_WITH = (
    "FAIL_TO_PASS",
    "PASS_TO_PASS",
    "image",
    "eval_script",
    "log_parser",
    "eval_type",
    "version",
)
"""Columns on which a patch depends, and those on which a verdict depends beside the patch."""


class Records:
    """The records of one run's folder; may be written to by several threads.

    Args:
        folder: The run's folder, held by :func:`swebench_folder`.

    Attributes:
        predictions: Instance id -> patch.
        judgements: Instance id -> the last verdict on that patch.

    Raises:
        DataError: A line before the last is damaged. A last line that a kill cut off is
            taken away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ANSWERS).mkdir(exist_ok=True)
        self.predictions = {
            str(row["instance_id"]): str(row["model_patch"])
            for row in _lines(folder / PREDICTIONS, ("instance_id", "model_patch"))
        }
        self.judgements: dict[str, Judgement] = {}
        self._verdicts: dict[tuple[str, str], Judgement] = {}
        for row in _lines(folder / JUDGEMENTS, ("instance_id", "outcome", "patch_sha256")):
            of_patch = row.pop("patch_sha256")
            name = str(row["instance_id"])
            judgement = Judgement(**{**row, "failing": tuple(row.get("failing", ()))})
            self._verdicts[name, of_patch] = judgement
            if of_patch == text_hash(self.predictions.get(name, "")):
                self.judgements[name] = judgement
        self._lock = threading.Lock()

    def require_same(self, instances: Sequence[SweBenchInstance]) -> None:
        """Check that instances have not changed since they were answered or judged.

        Then records what they are.

        Raises:
            DataError: Some are not; the message names them and their columns.
        """
        path = self.folder / INSTANCES
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            before = {}
        except ValueError:
            raise DataError(
                f"{path} is damaged: choose another --output_dir, or delete it if you know that the"
                " instances are the same."
            ) from None
        changes = []
        for instance in instances:
            name, now = instance.instance_id, _column_hashes(instance)
            is_answered = name in self.predictions or bool(self.answer(name))
            is_judged = (
                name in self.judgements
                and self.judgements[name].outcome != "infrastructure_failure"
            )
            binding = (*_ASKED_WITH * is_answered, *_JUDGED_WITH * is_judged)
            changed = [
                column
                for column in binding
                if name in before and before[name].get(column) != now[column]
            ]
            if changed:
                changes.append(f"{name} ({', '.join(changed)})")
            before[name] = now
        if changes:
            raise DataError(
                f"{self.folder} holds answers or verdicts on {len(changes)} instances that have"
                f" changed in the data set since: {'; '.join(changes)}. Put the rows back, or"
                " choose another --output_dir."
            )
        replace_file(path, (json.dumps(before, indent=1) + "\n").encode())

    def add_prediction(self, instance_id: str, model: str, patch: str) -> None:
        """Write one patch through to the file system.

        Raises:
            InfrastructureError: It cannot be written.
        """
        with self._lock:
            self.predictions[instance_id] = patch
            self._append(
                PREDICTIONS,
                {"instance_id": instance_id, "model_name_or_path": model, "model_patch": patch},
            )

    def verdict(self, instance_id: str, patch: str) -> Judgement | None:
        """The last verdict on any patch of an instance."""
        return self._verdicts.get((instance_id, text_hash(patch)))

    def add_judgement(self, judgement: Judgement, patch: str | None = None) -> None:
        """Write one verdict through to the file system.

        Args:
            judgement: The verdict.
            patch: On which patch; None is the instance's prediction.

        Raises:
            InfrastructureError: It cannot be written.
        """
        with self._lock:
            name = judgement.instance_id
            of_patch = text_hash(self.predictions[name] if patch is None else patch)
            self._verdicts[name, of_patch] = judgement
            if of_patch == text_hash(self.predictions[name]):
                self.judgements[name] = judgement
            self._append(JUDGEMENTS, asdict(judgement) | {"patch_sha256": of_patch})

    def write_answer(self, instance_id: str, answer: Mapping[str, Any]) -> None:
        """Replace the record of an instance's prompts and answers.

        Raises:
            InfrastructureError: It cannot be written.
        """
        path = self.folder / ANSWERS / f"{instance_id}.json"
        try:
            replace_file(path, (json.dumps(answer, indent=1) + "\n").encode())
        except OSError as error:
            raise _unwritable(path, error) from error

    def answer(self, instance_id: str) -> dict[str, Any]:
        """The record of an instance's prompts and answers so far; empty if there is none.

        Raises:
            DataError: It is damaged.
        """
        path = self.folder / ANSWERS / f"{instance_id}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DataError(f"{path} is damaged: delete it, and what it held is asked for again.")
        return found

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        try:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps(row) + "\n"
                )  # ASCII, so that a lone surrogate of the model survives
        except OSError as error:
            raise _unwritable(self.folder / name, error) from error


@contextmanager
def swebench_folder(
    folder: Path, settings: Mapping[str, Any], asking: Mapping[str, Any], judging: Mapping[str, Any]
) -> Iterator[None]:
    """Own a run's folder, made if it is missing, with ``config.yaml`` written.

    Args:
        folder: The folder.
        settings: The resolved config.
        asking: Settings on which patches depend: they must stay the same once a patch
            or an answer is there.
        judging: Settings on which verdicts depend: they must stay the same once a
            verdict is there.

    Raises:
        ConfigError: The folder is a file, holds something else or records made with
            other settings, or is in use by another process.
    """
    with evaluation_folder(folder, "swebench"):
        # what decides verdicts is kept as it was until there is one, so that patches can be made
        # first and judged otherwise later
        answered = _is_filled(folder / PREDICTIONS) or any((folder / ANSWERS).glob("*.json"))
        before = (
            read_settings(folder)["identity"] if answered or _is_filled(folder / JUDGEMENTS) else {}
        )
        for part, now, binds in (
            ("asking", asking, answered),
            ("judging", judging, _is_filled(folder / JUDGEMENTS)),
        ):
            if binds:
                check_same_settings(folder, before.get(part, {}), now, "records")
        identity = {"asking": dict(asking), "judging": dict(judging)}
        write_settings_file(folder / CONFIG, {"task": "swebench", **settings, "identity": identity})
        yield


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects of a file of records, after its last line was mended."""
    if not drop_cut_line(path):
        return []
    rows = []
    for number, row in read_lines(path):
        for key in keys:
            if not isinstance(row.get(key), str):
                raise DataError(
                    f"{path}, line {number}: the key {key!r} is missing. Delete the line, and it is"
                    " made again."
                )
        rows.append(row)
    return rows


def _column_hashes(instance: SweBenchInstance) -> dict[str, str]:
    values = {column: instance.row.get(column) for column in (*_ASKED_WITH, *_JUDGED_WITH)}
    values |= {
        "FAIL_TO_PASS": instance.fail_to_pass,
        "PASS_TO_PASS": instance.pass_to_pass,
    }  # as a list or as text: they are the same
    return {
        column: text_hash(json.dumps(value, default=str))[:16] for column, value in values.items()
    }


def _unwritable(path: Path, error: OSError) -> InfrastructureError:
    return InfrastructureError(
        f"{path} cannot be written: {error.strerror}. Make room and give the same command again."
    )

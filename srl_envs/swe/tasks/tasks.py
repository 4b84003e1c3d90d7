"""What a built-in task is, and the list of them (``tasks.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from srl_envs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SweTask:
    """One bug: where its code comes from, what a user reported, and which tests decide.

    Attributes:
        id: Unique among the tasks, usable as a file name and in an image's tag.
        package: Name in the registry.
        base_version: The release that has the bug.
        base_sha256: Of its source archive.
        fix_version: The release that mends it.
        fix_sha256: Of its source archive.
        license: SPDX expression of the package.
        url: The project's home.
        attribution: Who wrote the package.
        issue: The report, as its user would write it; our own words.
        source_files: What the gold patch changes, relative to the repository.
        gold_lines: For a source file in which the fix release changed more than this
            bug: first and last line, in the fix release's file, of the changes that
            belong to the gold patch. A file that is not named here is taken whole.
        test_files: The hidden tests and their data, taken from the fix release.
        test_command: Runs the hidden tests in the repository; prints one line a test
            after pytest's "short test summary info".
        fail_to_pass: Node ids of the tests that fail before the fix and pass after it.
        pass_to_pass: Node ids of the tests in the same files that pass before and
            after. Ids with white space in them are left out, because parsers of test
            logs split there; so are tests with subtests, which versions of pytest
            report differently.
    """

    id: str
    package: str
    base_version: str
    base_sha256: str
    fix_version: str
    fix_sha256: str
    license: str
    url: str
    attribution: str
    issue: str
    source_files: tuple[str, ...]
    gold_lines: Mapping[str, tuple[tuple[int, int], ...]]
    test_files: tuple[str, ...]
    test_command: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]


@cache
def load_tasks() -> tuple[SweTask, ...]:
    """All built-in tasks, in the order of the file that lists them."""
    rows = yaml.safe_load((files("srl_envs.swe.tasks") / "tasks.yaml").read_text(encoding="utf-8"))
    return tuple(_task(row) for row in rows)


def load_task(task_id: str) -> SweTask:
    """One built-in task by its id.

    Raises:
        ConfigError: There is no such task.
    """
    tasks = {task.id: task for task in load_tasks()}
    if task_id not in tasks:
        raise ConfigError(f"There is no built-in task {task_id!r}: use one of {', '.join(tasks)}.")
    return tasks[task_id]


def _task(row: Mapping[str, Any]) -> SweTask:
    values: dict[str, Any] = {
        field.name: row[field.name] for field in fields(SweTask) if field.name != "gold_lines"
    }
    for name in ("source_files", "test_files", "fail_to_pass", "pass_to_pass"):
        values[name] = tuple(values[name])
    gold_lines = {
        path: tuple((first, last) for first, last in ranges)
        for path, ranges in row.get("gold_lines", {}).items()
    }
    return SweTask(**values, gold_lines=gold_lines)

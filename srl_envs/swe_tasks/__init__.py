"""The built-in software-engineering tasks: real bugs of real packages, whose source comes from the package registry.

A task names two releases of a package: the *base* release has the bug, the *fix* release mends it and brings a test for it. Nothing of the
packages is stored here but names, hashes and line numbers; both source archives are fetched when a task is set up. The repository that an agent
sees is the base release as it was published; the hidden tests are the fix release's test files; the gold patch is computed from the two.

Archives are read from the index that pip is configured for, but not with ``pip download``: that runs the package's build code on this machine to
learn its metadata, and takes seconds an archive.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.package_index import download_sdist

_NOT_SOURCE = ("__pycache__", "*.pyc", ".idea", "*.egg-info")
"""Left behind in some archives by the machine that built them; ``.idea`` holds the maintainers' later commit messages."""

_GITIGNORE = "__pycache__/\n*.pyc\n.pytest_cache/\n"
"""Most projects leave theirs out of the archive; without one, whatever Python compiles would count as a change of the agent's."""


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
        gold_lines: For a source file in which the fix release changed more than this bug: first and last line, in the fix release's file, of the
            changes that belong to the gold patch. A file that is not named here is taken whole.
        test_files: The hidden tests and their data, taken from the fix release.
        test_command: Runs the hidden tests in the repository; prints one line a test after pytest's "short test summary info".
        fail_to_pass: Node ids of the tests that fail before the fix and pass after it.
        pass_to_pass: Node ids of the tests in the same files that pass before and after. Ids with white space in them are left out, because
            parsers of test logs split there; so are tests with subtests, which versions of pytest report differently.
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
    rows = yaml.safe_load((files("srl_envs") / "data" / "swe_tasks" / "tasks.yaml").read_text(encoding="utf-8"))
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
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(SweTask) if field.name != "gold_lines"}
    for name in ("source_files", "test_files", "fail_to_pass", "pass_to_pass"):
        values[name] = tuple(values[name])
    gold_lines = {path: tuple((first, last) for first, last in ranges) for path, ranges in row.get("gold_lines", {}).items()}
    return SweTask(**values, gold_lines=gold_lines)


@dataclass(frozen=True, slots=True)
class Sources:
    """The two unpacked releases of a task.

    Attributes:
        base: Folder of the release with the bug, as published.
        fix: Folder of the release that mends it, as published.
    """

    base: Path
    fix: Path


def fetch_sdists(task: SweTask, folder: Path) -> Sources:
    """Both source archives of a task, fetched from the package index where ``folder`` does not hold them yet, checked and unpacked.

    Several tasks can share the folder, and several processes. Nothing of an archive is run.

    Raises:
        InfrastructureError: The index cannot be reached or does not have the release.
        DataError: An archive's SHA-256 is not the task's, or it is not what a source archive should be.
    """
    return Sources(
        _release(task.package, task.base_version, task.base_sha256, folder),
        _release(task.package, task.fix_version, task.fix_sha256, folder),
    )


def _release(package: str, version: str, sha256: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{package}-{version}"
    archive = folder / f"{name}.tar.gz"
    if not archive.is_file() or _sha256(archive.read_bytes()) != sha256:
        content = download_sdist(package, version)
        if _sha256(content) != sha256:
            raise DataError(f"The archive {archive.name} from the package index has SHA-256 {_sha256(content)}, not {sha256}: it is not the one of the task.")
        scratch = archive.with_name(f".{archive.name}.{os.getpid()}.part")
        scratch.write_bytes(content)
        scratch.replace(archive)
    target = folder / name
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as unpacked:
            _unpack(archive, Path(unpacked))
            if not (Path(unpacked) / name).is_dir():
                raise DataError(f"{archive} does not hold the folder {name}.")
            try:
                (Path(unpacked) / name).rename(target)
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
    return target


def _unpack(archive: Path, target: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise InfrastructureError("This Python cannot unpack archives safely: use Python 3.10.12 or later.")
    try:
        with tarfile.open(archive) as file:
            file.extractall(target, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def base_tree(task: SweTask, folder: Path, target: Path) -> Path:
    """The repository that an agent starts from: the base release, with its own tests and nothing of the fix.

    It gets a ``.gitignore`` if it has none.

    Args:
        task: Which task.
        folder: Where archives are kept, see :func:`fetch_sdists`.
        target: A folder that does not exist yet; the repository is made there.

    Returns:
        ``target``.

    Raises:
        InfrastructureError: See :func:`fetch_sdists`.
        DataError: See :func:`fetch_sdists`.
    """
    shutil.copytree(fetch_sdists(task, folder).base, target, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
    if not (target / ".gitignore").exists():
        (target / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
    return target


def fixed_test_files(task: SweTask, folder: Path) -> dict[str, bytes]:
    """The hidden tests: path in the repository -> content in the fix release.

    Raises:
        InfrastructureError: See :func:`fetch_sdists`.
        DataError: See :func:`fetch_sdists`, or a file is not in the release.
    """
    fix = fetch_sdists(task, folder).fix
    return {path: _read(fix, path) for path in task.test_files}


def gold_patch(task: SweTask, folder: Path) -> str:
    """The fix as a unified diff that ``git apply`` takes: the releases' difference in the task's source files, cut to the bug's own lines.

    Raises:
        InfrastructureError: See :func:`fetch_sdists`.
        DataError: See :func:`fetch_sdists`, or a file is not in the release.
    """
    sources = fetch_sdists(task, folder)
    parts = []
    for path in task.source_files:
        old = _lines(_read(sources.base, path))
        new = _lines(_read(sources.fix, path))
        parts.append(_file_patch(path, old, _chosen(old, new, task.gold_lines.get(path))))
    return "".join(parts)


def _read(release: Path, path: str) -> bytes:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise DataError(f"The path {path!r} leads out of the repository.")
    if not (release / path).is_file():
        raise DataError(f"The release {release.name} does not hold {path}.")
    return (release / path).read_bytes()


def _lines(content: bytes) -> list[str]:
    """Lines with their ends, parted at line feeds only, as git does."""
    text = content.decode("utf-8")
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _chosen(old: list[str], new: list[str], ranges: tuple[tuple[int, int], ...] | None) -> list[str]:
    """``old`` with those changes towards ``new`` that touch one of the line ranges of ``new``; None takes all."""
    if ranges is None:
        return new
    result: list[str] = []
    for tag, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        first, last = new_start + 1, max(new_end, new_start + 1)
        wanted = tag != "equal" and any(first <= high and low <= last for low, high in ranges)
        result += new[new_start:new_end] if wanted else old[old_start:old_end]
    return result


def _file_patch(path: str, old: list[str], new: list[str]) -> str:
    lines = [f"diff --git a/{path} b/{path}\n"]
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)

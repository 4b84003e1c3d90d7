"""The two releases of a built-in task: the start, the hidden tests and the gold patch."""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srl_envs.errors import DataError, InfrastructureError
from srl_envs.swe.tasks.package_index import download_sdist
from srl_envs.swe.tasks.tasks import SweTask

_NOT_SOURCE = ("__pycache__", "*.pyc", ".idea", "*.egg-info")
"""Left in some archives by the build; ``.idea`` holds the maintainers' later commit messages."""

GITIGNORE = "__pycache__/\n*.pyc\n.pytest_cache/\n"
"""Most archives lack one; without it, what Python compiles would count as the agent's change."""


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
    """Both source archives of a task, checked and unpacked; fetched if ``folder`` lacks them.

    Several tasks can share the folder, and several processes. Nothing of an archive is
    run.

    Raises:
        InfrastructureError: The index cannot be reached or does not have the release.
        DataError: An archive's SHA-256 is not the task's, or it is not what a source
            archive should be.
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
            raise DataError(
                f"The archive {archive.name} from the package index has SHA-256 "
                f"{_sha256(content)}, not {sha256}: it is not the one of the task."
            )
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
        raise InfrastructureError(
            "This Python cannot unpack archives safely: use Python 3.10.12 or later."
        )
    try:
        with tarfile.open(archive) as file:
            file.extractall(target, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def base_tree(task: SweTask, folder: Path, target: Path) -> Path:
    """The repository that an agent starts from: the base release with its tests, without the fix.

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
    shutil.copytree(
        fetch_sdists(task, folder).base, target, ignore=shutil.ignore_patterns(*_NOT_SOURCE)
    )
    if not (target / ".gitignore").exists():
        (target / ".gitignore").write_text(GITIGNORE, encoding="utf-8")
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
    """The fix as a patch for ``git apply``: the releases' difference, cut to the bug's own lines.

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
    """Lines with their ends, split at line feeds only, as git does."""
    text = content.decode("utf-8")
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _chosen(
    old: list[str], new: list[str], ranges: tuple[tuple[int, int], ...] | None
) -> list[str]:
    """``old`` with the changes that touch one of the line ranges of ``new``; None takes all."""
    if ranges is None:
        return new
    result: list[str] = []
    for tag, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        first, last = new_start + 1, max(new_end, new_start + 1)
        wanted = tag != "equal" and any(first <= high and low <= last for low, high in ranges)
        result += new[new_start:new_end] if wanted else old[old_start:old_end]
    return result


def _file_patch(path: str, old: list[str], new: list[str]) -> str:
    lines = [f"diff --git a/{path} b/{path}\n"]
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)

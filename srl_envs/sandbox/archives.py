"""The files of a folder or a commit, without hidden tests, as a tar archive for an image."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from srl_envs.errors import ConfigError


def archive_of_folder(folder: Path, workdir: str, leave_out: Sequence[str]) -> io.BytesIO:
    """A folder's files, symbolic links as links; no ``.git``, at whatever depth.

    Args:
        folder: Whose files.
        workdir: The folder in the archive that they are in.
        leave_out: Patterns of what is left out: of a file's path, or of a folder above
            it (``"tests"``, ``"tests/"``, ``"src/*/tests"``); one without a slash
            matches a name at any depth (``"test_*.py"``).

    Raises:
        ConfigError: A pattern matches nothing.
    """
    archive = io.BytesIO()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in _kept(names, leave_out, str(folder)):
            tar.add(folder / name, _below(workdir) + name, recursive=False, filter=owned_by_root)
    archive.seek(0)
    return archive


def archive_of_commit(commit: Any, workdir: str, leave_out: Sequence[str]) -> io.BytesIO:
    """A commit's files, straight from git's objects.

    ``git archive`` would leave out or rewrite files as a ``.gitattributes`` says.

    Args:
        commit: GitPython's.
        workdir: The folder in the archive that they are in.
        leave_out: Patterns, see :func:`archive_of_folder`.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    entries = {str(entry.path): entry for entry in commit.tree.traverse()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in _kept(sorted(entries), leave_out, f"the commit {commit.hexsha}"):
            entry, member = entries[name], owned_by_root(tarfile.TarInfo(_below(workdir) + name))
            member.mtime = commit.committed_date
            if (
                entry.type != "blob"
            ):  # a folder, or a submodule, whose files are not part of the commit
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            content = entry.data_stream.read()
            if stat.S_ISLNK(entry.mode):
                member.type, member.linkname = (
                    tarfile.SYMTYPE,
                    content.decode("utf-8", "surrogateescape"),
                )
                tar.addfile(member)
            else:
                member.mode, member.size = (
                    (0o755 if entry.mode & stat.S_IXUSR else 0o644),
                    len(content),
                )
                tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    return archive


def _kept(names: Sequence[str], leave_out: Sequence[str], where: str) -> list[str]:
    """The paths without those that a pattern matches, and without what is git's own.

    Raises:
        ConfigError: A pattern matches nothing: hidden tests would stay in the image.
    """
    names = [name for name in names if ".git" not in name.split("/")]
    left_out: set[str] = set()
    for pattern in leave_out:
        matched = {name for name in names if _matches(name, pattern.strip("/").removeprefix("./"))}
        if not matched:
            raise ConfigError(
                f"leave_out: {pattern!r} matches nothing in {where}. Give paths relative to it, or "
                "names."
            )
        left_out |= matched
    return [name for name in names if name not in left_out]


def _matches(name: str, pattern: str) -> bool:
    parts = name.split("/")
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in parts)
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return any(
        fnmatchcase(path, pattern) or fnmatchcase(path, pattern.removeprefix("**/"))
        for path in above
    )


def _below(workdir: str) -> str:
    return workdir.strip("/") + "/"


def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive, changed to belong to root: a filter of ``tarfile``."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member

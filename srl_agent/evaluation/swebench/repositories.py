"""The repositories of instances: one bare mirror each, in a cache.

Files and names are read at ``base_commit`` directly from git's objects.

No instance is ever checked out, so any number of threads and processes can read at
once; whoever finds a mirror or a commit missing fetches it under a file lock. Reads are
one-off git commands: GitPython's object database keeps a process open that threads
cannot share.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from srl_agent.evaluation.swebench.image_repository import objects_of_image
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.rollouts.image_budget import ImageBudget
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.sandbox.protocol import SandboxError

_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_REGULAR = "100"  # how git's modes of regular files begin
_LISTINGS_KEPT = 32
# A fetch of one commit by its hash, from a repository that may be shallow itself.
_UPLOAD_PACK = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
_SLOW = (
    "-c",
    "http.lowSpeedLimit=1000",
    "-c",
    "http.lowSpeedTime=60",
)  # a connection without progress is given up


class RepositoryError(InfrastructureError):
    """The repository or commit of an instance is unavailable.

    That instance is not judged; the others are.
    """


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a commit.

    Attributes:
        mode: git's, six octal digits.
        object: Hash of the blob.
    """

    mode: str
    object: str


class CommitFiles(Mapping[str, bytes]):
    """The regular files of one commit: path -> contents, read when asked for.

    Names that are not UTF-8 or hold unprintable characters are left out: no prompt and
    no answer could name them. Contents are git's own: of a file in Git LFS, the
    pointer.

    Attributes:
        commit: Full hash.
        special: Paths that are not regular files -> what they are: ``"symbolic link"``
            or ``"submodule"``.
    """

    def __init__(self, mirror: Path, commit: str, entries: Mapping[str, TreeEntry]) -> None:
        self.commit = commit
        self.special = {
            path: _kind(entry.mode)
            for path, entry in entries.items()
            if not entry.mode.startswith(_REGULAR)
        }
        self._mirror = mirror
        self._entries = {path: entry for path, entry in entries.items() if path not in self.special}

    def __getitem__(self, path: str) -> bytes:
        return _git(self._mirror, "cat-file", "blob", self._entries[path].object)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def mode(self, path: str) -> str:
        """Git's mode of a file: ``"100644"``, or ``"100755"`` if it can be executed."""
        return "100755" if self._entries[path].mode == "100755" else "100644"


class Repositories:
    """The door to all instances' repositories.

    Args:
        cache: Folder of the mirrors, ``{owner}__{name}.git`` each; made if it is not
            there. Processes can share it.
        source: Where a missing commit is fetched from: ``"github"``, ``"image"`` (the
            repository ``/testbed`` in the instance's own Docker image), or a folder of
            clones named ``{owner}__{name}``, ``{owner}/{name}`` or ``{name}``, bare or
            not.
        github: Where ``"github"`` is.
        images: Fetches images that the engine does not hold; without it they are
            errors.

    Raises:
        ConfigError: The source is none of these.
    """

    def __init__(
        self,
        cache: str | Path,
        source: str | Path = "github",
        *,
        github: str = "https://github.com",
        images: ImageBudget | None = None,
    ) -> None:
        self.cache = Path(cache).expanduser().absolute()  # git runs in other folders
        self._github = github.rstrip("/")
        self._source = source
        self._images = images
        if source not in ("github", "image"):
            self._source = Path(source).expanduser().absolute()
            if not self._source.is_dir():
                raise ConfigError(
                    f"The source of repositories is {str(source)!r}: use 'github', 'image', or a"
                    " folder of clones that exists."
                )
        self._files = lru_cache(maxsize=_LISTINGS_KEPT)(_files_of)

    def files(self, instance: SweBenchInstance) -> CommitFiles:
        """The files at the instance's ``base_commit``.

        Raises:
            RepositoryError: Repository or commit cannot be had.
        """
        return self._files(self._mirror_with(instance), instance.base_commit)

    def tree(self, instance: SweBenchInstance) -> list[str]:
        """The paths of :meth:`files`, in git's order."""
        return list(self.files(instance))

    def read(self, instance: SweBenchInstance, path: str) -> bytes:
        """The contents of one of :meth:`files`.

        Raises:
            KeyError: The commit has no such regular file.
            RepositoryError: Repository or commit cannot be had.
        """
        return self.files(instance)[path]

    def _mirror_with(self, instance: SweBenchInstance) -> Path:
        """The mirror of the instance's repository, once it holds the commit."""
        name = instance.repo.replace("/", "__")
        mirror = self.cache / f"{name}.git"
        if _holds(mirror, instance.base_commit):
            return mirror
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f"{name}.lock"):
                if not _holds(mirror, instance.base_commit):  # else another process was faster
                    self._fetch(instance, mirror)
                if not _holds(mirror, instance.base_commit):
                    raise RepositoryError(
                        f"{instance.instance_id}: {instance.base_commit} is not a commit of"
                        f" {instance.repo}."
                    )
        except OSError as error:
            raise RepositoryError(
                f"{instance.instance_id}: the cache of repositories {self.cache} cannot be written:"
                f" {error.strerror or error}."
            ) from error
        return mirror

    def _fetch(self, instance: SweBenchInstance, mirror: Path) -> None:
        if not mirror.exists():
            self._make(instance, mirror)
        if _holds(mirror, instance.base_commit):
            return
        # Into the mirror that others read: git brings whole packs or none.
        if self._source == "image":
            try:
                with (
                    self._held(instance.image),
                    objects_of_image(instance, mirror.parent, _git) as repository,
                ):
                    _fetch_commit(mirror, instance, str(repository), "--upload-pack", _UPLOAD_PACK)
            except SandboxError as error:
                raise RepositoryError(f"{instance.instance_id}: {error}") from error
        elif self._source == "github":
            _fetch_commit(mirror, instance, self._address(instance))
        else:
            _fetch_commit(
                mirror, instance, str(self._clone_of(instance)), "--upload-pack", _UPLOAD_PACK
            )

    def _held(self, image: str) -> AbstractContextManager[object]:
        """Keeps the image during the body of the ``with``.

        It is fetched first, if there is a budget to fetch with.
        """
        return self._images.holding(image) if self._images and image else nullcontext()

    def _make(self, instance: SweBenchInstance, mirror: Path) -> None:
        """A new mirror with all branches and tags of its source, complete or not at all.

        The mirror of an image starts empty.
        """
        for left in mirror.parent.glob(
            f".{mirror.name}.*"
        ):  # the lock is ours: a killed process left them
            shutil.rmtree(left)
        scratch = Path(tempfile.mkdtemp(dir=mirror.parent, prefix=f".{mirror.name}."))
        try:
            clone = None if self._source in ("github", "image") else self._clone_of(instance)
            if clone and _has_own_objects(
                clone
            ):  # links to files that git never changes: seconds and megabytes less than a fetch
                try:
                    _git(scratch, "clone", "-q", "--bare", "--local", str(clone), str(scratch))
                except RepositoryError as error:
                    raise RepositoryError(
                        f"{instance.instance_id}: {clone} cannot be cloned: {error}"
                    ) from error
            else:
                _git(scratch, "init", "-q", "--bare", str(scratch))
            if self._source == "github":
                _fetch_commit(
                    scratch,
                    instance,
                    self._address(instance),
                    refs=("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
                )
            scratch.chmod(0o755)  # a scratch folder is its owner's alone, a cache may be shared
            scratch.rename(mirror)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _address(self, instance: SweBenchInstance) -> str:
        return f"{self._github}/{instance.repo}.git"

    def _clone_of(self, instance: SweBenchInstance) -> Path:
        owner, name = instance.repo.split("/")
        for candidate in (f"{owner}__{name}", f"{owner}/{name}", name):
            for folder in (Path(self._source, candidate), Path(self._source, f"{candidate}.git")):
                if (folder / ".git").exists() or (folder / "HEAD").is_file():
                    return folder.resolve()
        raise RepositoryError(
            f"{instance.instance_id}: {self._source} holds no clone of {instance.repo}: name its"
            f" folder {owner}__{name}."
        )


def why_not_text(content: bytes) -> str:
    """Why a file's contents cannot be in a prompt; empty if they can."""
    if content.startswith(_LFS):
        return "Git LFS pointer"
    return "binary file" if b"\0" in content else ""


def _fetch_commit(
    mirror: Path, instance: SweBenchInstance, address: str, *options: str, refs: Sequence[str] = ()
) -> None:
    """Fetch the instance's commit, or these references instead."""
    commit = instance.base_commit
    what = instance.repo if refs else f"commit {commit} of {instance.repo}"
    wanted = refs or [f"+{commit}:refs/base/{commit}"]
    fetch = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--update-shallow")
    try:
        _git(
            mirror,
            *_SLOW,
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
            *fetch,
            *options,
            address,
            *wanted,
        )
    except RepositoryError as error:
        raise RepositoryError(
            f"{instance.instance_id}: {what} cannot be fetched from {address}: {error}"
        ) from error


def _has_own_objects(clone: Path) -> bool:
    """Whether a repository keeps all its objects itself, where they can be linked to."""
    objects = (clone / ".git" if (clone / ".git").exists() else clone) / "objects"
    return objects.is_dir() and not (objects / "info" / "alternates").exists()


def _kind(mode: str) -> str:
    return "submodule" if mode == "160000" else "symbolic link"


def _holds(mirror: Path, commit: str) -> bool:
    if not mirror.is_dir():
        return False
    try:
        _git(mirror, "cat-file", "-e", f"{commit}^{{tree}}")
    except RepositoryError:
        return False
    return True


def _files_of(mirror: Path, commit: str) -> CommitFiles:
    entries = {}
    for line in _git(mirror, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        head, _, name = line.partition(b"\t")
        mode, _, blob = head.decode("ascii").split(" ")
        try:
            path = name.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if path.isprintable():
            entries[path] = TreeEntry(mode, blob)
    return CommitFiles(mirror, commit, entries)


def _git(folder: Path, *arguments: str) -> bytes:
    """Standard output of a git command on a bare repository."""
    try:
        import git  # looks for git's executable
    except ImportError:
        raise RepositoryError("git is not installed, or not on PATH.") from None
    environment = {
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }
    try:
        # The folder is given, not looked for: neither GIT_DIR nor the folder of this process has a
        # say.
        output: Any = git.Git(os.fspath(folder)).execute(
            ["git", f"--git-dir={folder}", *arguments],
            env=environment,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
        )
    except git.GitCommandError as error:
        lines = str(error.stderr).strip().removeprefix("stderr: '").removesuffix("'").splitlines()
        said = [line for line in lines if line.startswith(("fatal:", "error:"))]
        raise RepositoryError(
            (said or lines or [f"git {arguments[0]} failed with status {error.status}"])[0].strip()[
                :300
            ]
        ) from None
    content: bytes = output
    return content

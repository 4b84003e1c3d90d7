"""Files of a container by the engine's own calls: they need nothing in the image, and see through symbolic links only inside the container."""

from __future__ import annotations

import io
import posixpath
import tarfile
import time
from typing import Any

import docker.errors

from srl_envs.sandbox.container_exec import execute
from srl_envs.sandbox.engine import engine_call
from srl_envs.sandbox.protocol import SandboxFileError

_MAX_LINKS = 40
# The engine gives modes as Go's os.FileMode: the kind of a file stands in the high bits.
_GO_FOLDER = 1 << 31
_GO_NOT_REGULAR = _GO_FOLDER | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


def read(client: Any, container: str, path: str, limit: int) -> bytes:
    """The contents of a file, at most ``limit`` bytes long.

    Raises:
        SandboxFileError: No such file, a folder, or too large.
    """
    return _fetch(client, container, path, limit)[1]


def write(client: Any, container: str, path: str, content: bytes, limit: int) -> None:
    """Create or replace a file; an existing one keeps mode and owner, a symbolic link keeps pointing to what is replaced.

    Raises:
        SandboxFileError: A folder stands in its place, a file stands where a folder is needed, or the content is too large.
    """
    if len(content) > limit:
        raise SandboxFileError(f"{path}: {len(content)} bytes are more than the {limit} that a file here may have.")
    try:
        member, _, path = _fetch(client, container, path, limit)
    except FileNotFoundError:
        member = tarfile.TarInfo()
        made = execute(client, container, ["mkdir", "-p", "--", posixpath.dirname(path)])
        if made.exit_code:
            raise SandboxFileError(f"{path} cannot be created: {made.text.strip()}") from None
    member.name, member.size, member.mtime = posixpath.basename(path), len(content), time.time()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(member, io.BytesIO(content))
    with engine_call(f"write {path} in a container"):
        client.api.put_archive(container, posixpath.dirname(path), archive.getvalue())


def listing(client: Any, container: str, path: str, depth: int) -> list[str]:
    """Paths below a folder, folders with a ``/`` at the end, sorted.

    Raises:
        SandboxFileError: No such path.
    """
    find = 'find "$1" -maxdepth "$2" -type d -print0 && printf "\\0\\0" && find "$1" -maxdepth "$2" ! -type d -print0'
    found = execute(client, container, ["sh", "-c", find, "sh", path, str(depth)])
    folders, separator, others = found.text.partition("\0\0")
    if found.exit_code and not separator:
        raise SandboxFileError(f"No such file or folder: {path}")
    return sorted([*(f"{name}/" for name in folders.split("\0") if name), *(name for name in others.split("\0") if name)])


class _NoSuchFile(SandboxFileError, FileNotFoundError):
    """There is nothing at a path."""


def _fetch(client: Any, container: str, path: str, limit: int) -> tuple[tarfile.TarInfo, bytes, str]:
    """Header, contents and real path of a regular file."""
    for _ in range(_MAX_LINKS):
        with engine_call(f"read {path} in a container"):
            try:
                chunks, found = client.api.get_archive(container, path)
            except docker.errors.NotFound:
                raise _NoSuchFile(f"No such file: {path}") from None
            except docker.errors.APIError as error:
                if "not a directory" not in str(error.explanation):
                    raise
                raise SandboxFileError(f"{path} cannot be read: a file stands in the place of a folder.") from None
        if not found["linkTarget"]:
            break
        path = posixpath.join(posixpath.dirname(path), found["linkTarget"])  # the engine resolves it inside the container
    else:
        raise SandboxFileError(f"{path} is a symbolic link that leads in a circle.")
    if found["mode"] & _GO_NOT_REGULAR:
        raise SandboxFileError(f"{path} is {'a folder' if found['mode'] & _GO_FOLDER else 'no regular file'}.")
    if found["size"] > limit:
        raise SandboxFileError(f"{path} has {found['size']} bytes, more than the {limit} that a file here may have.")
    with engine_call(f"read {path} in a container"):
        archive = io.BytesIO(b"".join(chunks))
    with tarfile.open(fileobj=archive) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member is not None else None
        if member is None or file is None:
            raise SandboxFileError(f"{path} changed while it was read.")
        return member, file.read(), path

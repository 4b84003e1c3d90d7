"""Files of a container by the engine's own calls.

They need nothing in the image, and follow symbolic links only inside the container.
"""

from __future__ import annotations

import errno
import io
import posixpath
import tarfile
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import docker.errors

from srl_envs.sandbox.container import (
    GO_FOLDER,
    GO_NOT_REGULAR,
    BrokenContainerError,
    Container,
    Executed,
)
from srl_envs.sandbox.engine import engine_call
from srl_envs.sandbox.protocol import SandboxError, SandboxFileError

_MAX_LINKS = 40
_MAX_NAME, _MAX_PATH = 255, 4095  # bytes, of Linux
# The engine works on the image's layers. What is mounted over them it neither sees nor writes, and
# says that all went well.
_MOUNTED = ("/dev/", "/proc/", "/sys/")
_PATH_ERRORS = {
    "not a directory": errno.ENOTDIR,
    "too many links": errno.ELOOP,
    "too many levels of symbolic links": errno.ELOOP,
    "is a directory": errno.EISDIR,
    "resource busy": errno.EBUSY,
    "file name too long": errno.ENAMETOOLONG,
}

# Makes the folder of a new file, and tells where the file really is to be: below links to folders,
# or where a link leads that leads nowhere yet.
_PLACE = """set -e
path=$1
if [ -L "$path" ]; then path=$(readlink -f -- "$path") || { echo "it is a link into a folder that is not there"; exit 1; }; fi
mkdir -p -- "${path%/*}/"
cd -P -- "${path%/*}/"
printf '%s/%s' "$PWD" "${path##*/}"
"""


def read(container: Container, path: str, limit: int) -> bytes:
    """The contents of a file, at most ``limit`` bytes long.

    Raises:
        SandboxFileError: No such file, a folder, or too large.
    """
    return _fetch(container, path, limit)[1]


def write(container: Container, path: str, content: bytes, limit: int) -> None:
    """Create or replace a file.

    An existing one keeps mode and owner, a symbolic link keeps pointing to its target.

    Raises:
        SandboxFileError: A folder stands in its place, a file stands where a folder is
            needed, or the content is too large.
    """
    if len(content) > limit:
        raise _too_large(path, len(content), limit)
    try:
        member, _, path = _fetch(container, path, limit)
    except FileNotFoundError:
        member = tarfile.TarInfo()
        placed = _run(container, path, ["sh", "-c", _PLACE, "sh", path])
        if placed.exit_code:
            raise SandboxFileError(f"{path} cannot be created: {placed.text.strip()}") from None
        path = placed.text
        if path.startswith(_MOUNTED):
            raise SandboxFileError(
                f"{path} cannot be created: no file of {', '.join(_MOUNTED)} can. A command can "
                "write there."
            ) from None
    member.name, member.size, member.mtime = posixpath.basename(path), len(content), time.time()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(member, io.BytesIO(content))
    with engine_call(f"write {path} in a container"):
        try:
            container.client.api.put_archive(
                container.id, posixpath.dirname(path), archive.getvalue()
            )
        except docker.errors.APIError as error:
            raise _path_error(path, str(error.explanation)) or error from None


def listing(container: Container, path: str, depth: int) -> list[str]:
    """Paths below a folder, folders with a ``/`` at the end, sorted.

    Raises:
        SandboxFileError: No such path.
    """
    _require_possible(path)
    path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    find = (
        'find -H "$1" -maxdepth "$2" -type d -print0 && printf "\\0\\0" && '
        'find -H "$1" -maxdepth "$2" ! -type d -print0'
    )
    found = _run(container, path, ["sh", "-c", find, "sh", path, str(depth)])
    folders, separator, others = found.text.partition("\0\0")
    if found.exit_code and not separator:
        raise _NoSuchFile(f"No such file or folder: {path}", errno.ENOENT)
    return sorted(
        [
            *(f"{name.rstrip('/')}/" for name in folders.split("\0") if name),
            *(name for name in others.split("\0") if name),
        ]
    )


class _NoSuchFile(SandboxFileError, FileNotFoundError):
    """There is nothing at a path."""


def _require_possible(path: str) -> None:
    """Whatever text a model takes for a path must not look like a failure of the engine."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise SandboxFileError(
            f"{path!r} is no path that a file call can take: it is not UTF-8.", errno.EINVAL
        ) from None
    if (
        b"\0" in encoded
        or len(encoded) > _MAX_PATH
        or any(len(name) > _MAX_NAME for name in encoded.split(b"/"))
    ):
        raise SandboxFileError(
            f"{path[:300]!r} is no path: it holds a NUL character, or is too long.", errno.EINVAL
        )


def _run(container: Container, path: str, program: Sequence[str]) -> Executed:
    try:
        return container.execute(program)
    except BrokenContainerError as error:
        raise SandboxFileError(f"{path} cannot be reached: {error}") from None


def _path_error(path: str, reason: str) -> SandboxFileError | None:
    """The error of the path that the engine's message names; None if it names none."""
    if "No such container" not in reason and (
        "Could not find the file" in reason or "no such file" in reason.lower()
    ):
        return _NoSuchFile(f"No such file: {path}", errno.ENOENT)
    known = next((known for known in _PATH_ERRORS if known in reason), None)
    return (
        SandboxFileError(f"{path} cannot be reached: {known}.", _PATH_ERRORS[known])
        if known
        else None
    )


def _too_large(path: str, size: int, limit: int) -> SandboxFileError:
    return SandboxFileError(
        f"{path}: {size} bytes are more than the {limit} that a file here may have.", errno.EFBIG
    )


def _ask(container: Container, path: str) -> Any:
    """The engine's answer about a path.

    Its body is not read yet: that of a large folder would keep the engine busy.
    """
    api = container.client.api
    with engine_call(f"read {path} in a container"):
        return api.get(
            api._url("/containers/{0}/archive", container.id),
            params={"path": path},
            stream=True,
            timeout=api.timeout,
        )


def _stat(container: Container, path: str) -> dict[str, Any]:
    if found := container.stat(path):
        return found
    with (
        closing(_ask(container, path)) as answer,
        engine_call(f"read {path} in a container"),
    ):  # only this one says what is wrong
        reason = (
            str(answer.json()["message"])
            if answer.status_code >= 400
            else "it changed while it was read"
        )
    raise _path_error(path, reason) or SandboxError(
        f"Could not read {path} in a container: {reason}"
    )


def _fetch(container: Container, path: str, limit: int) -> tuple[tarfile.TarInfo, bytes, str]:
    """Header, contents and real path of a regular file."""
    _require_possible(path)
    for _ in range(_MAX_LINKS):
        found = _stat(container, path)
        if not found["linkTarget"]:
            break
        path = posixpath.join(
            posixpath.dirname(path), found["linkTarget"]
        )  # the engine resolves it inside the container
    else:
        raise SandboxFileError(f"{path} is a symbolic link that leads in a circle.", errno.ELOOP)
    if found["mode"] & GO_FOLDER:
        raise SandboxFileError(f"{path} is a folder.", errno.EISDIR)
    if found["mode"] & GO_NOT_REGULAR:
        raise SandboxFileError(f"{path} is no regular file.", errno.EINVAL)
    if found["size"] > limit:
        raise _too_large(path, found["size"], limit)
    with closing(_ask(container, path)) as answer, engine_call(f"read {path} in a container"):
        if answer.status_code != 200:
            raise SandboxFileError(f"{path} changed while it was read.")
        archive = io.BytesIO()
        for chunk in answer.iter_content(1 << 20):
            archive.write(chunk)
            if archive.tell() > limit + (1 << 20):  # it grew
                raise SandboxFileError(f"{path} changed while it was read.")
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member is not None else None
        if member is None or file is None:
            raise SandboxFileError(f"{path} changed while it was read.")
        return member, file.read(), path

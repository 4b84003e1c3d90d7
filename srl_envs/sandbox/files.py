"""Files of a sandbox, by programs that run in it: with the rights of its user, and no others.

They need what any image with bash has (``find``, ``head``, ``mkdir``, ``stat``; busybox's
will do), and see what commands see: other file systems too.
"""

from __future__ import annotations

import errno

from srl_envs.sandbox.box import Box, BrokenBoxError
from srl_envs.sandbox.protocol import SandboxFileError

_MAX_NAME, _MAX_PATH = 255, 4095  # bytes, of Linux

# What bash and the C library (glibc, musl) say in English, and what it means.
_REASONS = {
    "no such file or directory": errno.ENOENT,
    "is a directory": errno.EISDIR,
    "not a directory": errno.ENOTDIR,
    "too many levels of symbolic links": errno.ELOOP,
    "symbolic link loop": errno.ELOOP,
    "permission denied": errno.EACCES,
    "operation not permitted": errno.EPERM,
    "file name too long": errno.ENAMETOOLONG,
    "filename too long": errno.ENAMETOOLONG,
    "read-only file system": errno.EROFS,
    "no space left on device": errno.ENOSPC,
    "text file busy": errno.ETXTBSY,
    "file exists": errno.ENOTDIR,  # a file where mkdir needs a folder
    "not a regular file": errno.EINVAL,
}
_TOO_LARGE = 3
_MAX_LISTING = 96 * 1024 * 1024  # bytes

# Opens nothing but regular files: others may block, or never end.
_CHECKS = r"""
export LC_ALL=C
path=$1 limit=$2
fail() { echo "$1" >&2; exit 1; }
if [ -d "$path" ]; then fail 'is a directory'; fi
if [ -e "$path" ]; then
    [ -f "$path" ] || fail 'not a regular file'
    size=$(stat -L -c %s -- "$path") || exit
    if [ "$size" -gt "$limit" ]; then echo "$size" >&2; exit 3; fi
"""
_READ = (
    _CHECKS
    + r"""
fi
exec < "$path" || exit
exec head -c "$((limit + 1))"
"""
)
_WRITE = (
    _CHECKS
    + r"""
elif [ ! -L "$path" ]; then
    mkdir -p -- "${path%/*}/" || exit
fi
exec > "$path" || exit
exec head -c "$3"
"""
)
_LIST = r"""
export LC_ALL=C
if [ ! -e "$1" ] && [ ! -L "$1" ]; then : < "$1"; exit 1; fi
if [ -d "$1" ] && [ "$2" -gt 0 ] && ! { [ -r "$1" ] && [ -x "$1" ]; }; then
    echo 'permission denied' >&2
    exit 1
fi
find -H "$1" -maxdepth 0 >/dev/null || exit 1
find -H "$1" -maxdepth "$2" -type d -print0 2>/dev/null
printf '\0\0'
find -H "$1" -maxdepth "$2" ! -type d -print0 2>/dev/null
exit 0
"""


def read(box: Box, path: str, limit: int) -> bytes:
    """The contents of a file, at most ``limit`` bytes long.

    Raises:
        SandboxFileError: No such file, a folder, too large, or not the user's to read.
    """
    content = _run(box, _READ, path, str(limit), limit=limit)
    if len(content) > limit:  # it grew, or its size is unknown as in /proc
        raise _too_large(path, len(content), limit)
    return content


def write(box: Box, path: str, content: bytes, limit: int) -> None:
    """Create or replace a file.

    An existing one keeps mode and owner, a symbolic link keeps pointing to its target.

    Raises:
        SandboxFileError: There is a folder in its place, or a file where a folder is
            needed, the content or what it would replace is too large, or the user may
            not write there.
    """
    if len(content) > limit:
        raise _too_large(path, len(content), limit)
    _run(box, _WRITE, path, str(limit), str(len(content)), limit=limit, stdin=content)


def listing(box: Box, path: str, depth: int) -> list[str]:
    """Paths below a folder, folders with a ``/`` at the end, sorted.

    Bytes of names that are not UTF-8 are replaced. A folder below that the user may not
    read is listed without its content.

    Raises:
        SandboxFileError: No such path, or not the user's to read.
    """
    path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    found = _run(box, _LIST, path, str(depth), limit=0).decode("utf-8", "replace")
    folders, _, others = found.partition("\0\0")
    if not folders and not others:
        raise SandboxFileError(f"{path} cannot be reached: find lists nothing.")
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
            f"{path!r} cannot be a path of a file call: it is not UTF-8.", errno.EINVAL
        ) from None
    if (
        b"\0" in encoded
        or len(encoded) > _MAX_PATH
        or any(len(name) > _MAX_NAME for name in encoded.split(b"/"))
    ):
        raise SandboxFileError(
            f"{path[:300]!r} cannot be a path: it has a NUL character, or is too long.",
            errno.EINVAL,
        )


def _run(
    box: Box, script: str, path: str, *arguments: str, limit: int, stdin: bytes = b""
) -> bytes:
    """Run a script on a path; what it wrote."""
    _require_possible(path)
    program = ["bash", "-p", "-c", script, "bash", path, *arguments]
    try:
        done = box.execute(program, stdin=stdin, max_output=limit + _MAX_LISTING)
    except BrokenBoxError as error:
        raise SandboxFileError(f"{path} cannot be reached: {error}") from None
    if not done.exit_code:
        return done.output
    said = done.error.rpartition("\n")[2]
    if done.exit_code == _TOO_LARGE and said.isdecimal():
        raise _too_large(path, int(said), limit)
    if done.exit_code == 128 + 25:  # SIGXFSZ: the kernel's limit on one file
        raise SandboxFileError(f"{path} cannot be reached: file too large.", errno.EFBIG)
    reason = next((known for known in _REASONS if known in done.error.lower()), None)
    if reason is None:
        said = said or f"exit code {done.exit_code}"
        raise SandboxFileError(f"{path} cannot be reached: {said[:300]}")
    if _REASONS[reason] == errno.ENOENT:
        raise _NoSuchFile(f"No such file or folder: {path}", errno.ENOENT)
    if _REASONS[reason] == errno.EISDIR:
        raise SandboxFileError(f"{path} is a folder.", errno.EISDIR)
    raise SandboxFileError(f"{path} cannot be reached: {reason}.", _REASONS[reason])


def _too_large(path: str, size: int, limit: int) -> SandboxFileError:
    return SandboxFileError(
        f"{path}: {size} bytes are more than the {limit} that a file here may have.", errno.EFBIG
    )

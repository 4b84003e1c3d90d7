"""The accounts of a container: files that the engine reads whenever it starts something there.

If commands leave a pipe in their place, the engine waits for it without an end.
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
from typing import Any

_ACCOUNTS = {"/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "/etc/group": b"root:x:0:\n"}
_MAX_ACCOUNTS = 60_000  # bytes
_MAX_LINKS = 10
# The engine gives modes as Go's os.FileMode: the kind of a file is in the high bits.
_NOT_REGULAR = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


def are_plain(client: Any, container: str) -> bool:
    """Whether the engine can read the accounts to their end, and soon.

    Also true where there are none. The files are not opened.

    Args:
        client: Of the engine.
        container: Its id.
    """
    return all(_is_plain(client, container, path) for path in _ACCOUNTS)


def mend(client: Any, container: str) -> None:
    """Put plain files in the place of accounts that are not.

    Raises:
        docker.errors.APIError: Something is in the way.
    """
    for path, content in _ACCOUNTS.items():
        if not _is_plain(client, container, path):
            member = tarfile.TarInfo(posixpath.basename(path))
            member.size, member.mode = len(content), 0o644
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.addfile(member, io.BytesIO(content))
            client.api.put_archive(container, posixpath.dirname(path), archive.getvalue())


def _is_plain(client: Any, container: str, path: str) -> bool:
    found = _stat(client, container, path)
    for _ in range(_MAX_LINKS):
        if not found or not found["linkTarget"]:
            break
        path = posixpath.join(posixpath.dirname(path), found["linkTarget"])
        found = _stat(client, container, path)
    return not found or not (
        found["linkTarget"] or found["mode"] & _NOT_REGULAR or found["size"] > _MAX_ACCOUNTS
    )


def _stat(client: Any, container: str, path: str) -> dict[str, Any] | None:
    """Mode, size and link target of a path, from the engine; None if it knows nothing of it."""
    api = client.api
    answer = api.head(
        api._url("/containers/{0}/archive", container),
        params={"path": path},
        timeout=api.timeout,
    )
    if answer.status_code != 200:
        return None
    return dict(json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"])))

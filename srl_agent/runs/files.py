"""Files that are there whole or not at all, and files of lines that a kill may cut."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def partial_name(path: Path) -> str:
    """The name in the same folder under which :func:`replace_file` writes.

    A kill may leave it behind.
    """
    return f".{path.name}.partial"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, so that neither a reader nor a kill ever meets half of it."""
    partial = path.with_name(partial_name(path))
    partial.write_bytes(content)
    os.replace(partial, path)


def text_hash(text: str) -> str:
    """The SHA-256 of a text, which may hold what is not Unicode."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def drop_cut_line(path: Path) -> bool:
    """Take away a last line that a kill cut off; whether lines are left."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        os.truncate(path, whole)
    return whole > 0

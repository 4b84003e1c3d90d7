"""The objects that a run keeps in JSON files, by what they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from srl_agent.reports.viewer.kept_groups import Listed, Row, Rows
from srl_agent.reports.viewer.kinds import Kind

_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading an object of another version raises."""

_Made = TypeVar("_Made")


class KeptObjects:
    """Where the objects of a run are; they are read when they are needed.

    Args:
        folder: The run's.
        kind: Which files, and to what their objects belong.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.kind = kind
        self._folder = folder
        self._seen: dict[Path, tuple[tuple[int, int], int]] = {}  # which file, read up to where
        self._places: dict[str, dict[Path, list[tuple[int, int]]]] = {}

    def changed(self) -> list[str]:
        """The keys to which something was added since the last time, or taken away."""
        found = {one: None for pattern in self.kind.files for one in self._folder.glob(pattern)}
        keys: dict[str, None] = {}
        for gone in [path for path in self._seen if path not in found]:
            keys |= self._forget(gone)
        for path in sorted(found):
            try:
                keys |= self._read(path)
            except FileNotFoundError:  # replaced just now
                continue
        return list(keys)

    def listed(self, key: str) -> tuple[Listed | None, Row | None]:
        """What belongs to a key, read once: :meth:`group` and :meth:`episode`."""
        try:
            rows = self._rows(key)
        except (OSError, *_BROKEN):
            return None, None
        return _made(self.kind.group, rows), _made(self.kind.episode, rows)

    def group(self, key: str) -> Listed | None:
        """What belongs to a key as a group; None if it is not one, or not readable now."""
        return self.listed(key)[0]

    def episode(self, key: str) -> Row | None:
        """The same as an episode, in the form of ``episodes.jsonl``."""
        return self.listed(key)[1]

    def _rows(self, key: str) -> Rows:
        found: dict[str, list[Any]] = {}
        for path, places in list(self._places[key].items()):
            with path.open("rb") as file:
                for offset, size in list(places):
                    file.seek(offset)
                    found.setdefault(path.name, []).append(json.loads(file.read(size)))
        return found

    def _read(self, path: Path) -> dict[str, None]:
        state, whole = path.stat(), path.suffix == ".json"
        is_now = (state.st_ino, state.st_mtime_ns if whole else 0)
        was, start = self._seen.get(path, (is_now, 0))
        keys: dict[str, None] = {}
        if was != is_now or state.st_size < start:  # written anew
            keys, start = self._forget(path), 0
        elif whole and start:
            return {}
        one = _object(path) if whole else None
        rows = [(one, 0, state.st_size)] if one is not None else json_rows(path, start)
        for row, offset, size in rows:
            start = offset + size
            for key in self._keys(path, row):
                self._places.setdefault(key, {}).setdefault(path, []).append((offset, size))
                keys[key] = None
        self._seen[path] = (is_now, start)
        return keys

    def _keys(self, path: Path, row: Any) -> list[str]:
        try:
            return list(self.kind.keys(path.name, row))
        except _BROKEN:
            return []

    def _forget(self, path: Path) -> dict[str, None]:
        self._seen.pop(path, None)
        return {key: None for key, files in self._places.items() if files.pop(path, None)}


def _made(make: Callable[[Rows], _Made | None], rows: Rows) -> _Made | None:
    try:
        return make(rows)
    except (StopIteration, *_BROKEN):
        return None


def json_rows(path: Path, start: int) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The objects of a JSONL file from a byte on, with their place; damaged lines are skipped."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return  # it is being written
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row, start, len(line)
            start += len(line)


def _object(path: Path) -> Any:
    """What a file holds; None if it is damaged or JSON Lines."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None

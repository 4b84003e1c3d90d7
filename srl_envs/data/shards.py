"""Which files of a folder hold a split: one file, or the shards of one set."""

from __future__ import annotations

import re
from pathlib import Path

from srl_envs.data.jsonl import PACKED_SUFFIXES
from srl_envs.errors import DataError

_TEXTS = (".jsonl", ".json", ".csv", ".tsv")
_BINARIES = (".parquet", ".arrow")
_SUFFIXES = (*_TEXTS, *_BINARIES, *(text + end for end in PACKED_SUFFIXES for text in _TEXTS))
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What datasets writes beside the rows."""
HELD_OUT = re.compile(
    r"(?:.*[-_.])?(?:test|validation|valid|val|dev|eval)(?:[-_.#].*)?", re.IGNORECASE
)
"""A name of what is not for training."""
_SHARD = re.compile(  # train-00000-of-00002, also with a hash behind it; train-0, 0000
    r"(?P<name>.*?)[-_.#]?(?P<index>\d+)-of-(?P<count>\d+)(?:[-_.#]\w+)?"
    r"|(?P<stem>(?:.*[-_.#])?)(?P<number>\d+)"
)


def _suffix(file: Path) -> str:
    """The file's kind in small letters: one of the known ones, or its plain suffix."""
    packed = file.suffix.lower() in PACKED_SUFFIXES
    return ("".join(file.suffixes[-2:]) if packed else file.suffix).lower()


def _stem(file: Path) -> str:
    return file.name[: len(file.name) - len(_suffix(file))]


def kind_of(file: Path) -> str:
    """What is in a file, unpacked: ``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``..."""
    kind = _suffix(file)
    return kind if kind in (*_TEXTS, *_BINARIES) else kind[: kind.rindex(".")]


def files_of(path: Path, split: str) -> list[Path]:
    """The files that hold a split, its shards in order; a file is its own.

    Raises:
        DataError: There is none, they are of several sets, or a shard is missing.
    """
    if path.is_file():
        if _suffix(path) not in _SUFFIXES:
            raise DataError(
                f"{path} is not a supported file type: use {', '.join((*_TEXTS, *_BINARIES))};"
                f" texts also packed ({', '.join(PACKED_SUFFIXES)})."
            )
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist.")
    files = sorted(
        file
        for file in path.rglob("*")
        if _suffix(file) in _SUFFIXES
        and not _is_hidden(file.relative_to(path))
        and file.name not in _ABOUT
    )
    others = [file for file in files if split == "train" and not HELD_OUT.fullmatch(_stem(file))]
    candidates = _of_split(files, path, split) or others
    sets = {_set_of(file) for file in candidates}
    if len(candidates) == 1 and not _shard_of(candidates[0])[1]:
        return candidates
    if len(sets) != 1:
        found = ", ".join(str(file.relative_to(path)) for file in files[:20]) or "nothing"
        found += f" and {len(files) - 20} more" if len(files) > 20 else ""
        raise DataError(
            f"{path} must hold one file for the split {split!r}, like {split}.jsonl, or its shards,"
            f" like {split}-00000-of-00002.parquet; it holds {found}. Or give the path of the file"
            " itself."
        )
    return _in_order(candidates, split)


def _of_split(files: list[Path], folder: Path, split: str) -> list[Path]:
    """The files that a name says are of a split: ``train-0.csv``, ``data/train/0000.csv``."""
    exact = [
        file
        for file in files
        if re.fullmatch(rf"{re.escape(split)}([-.#].*|_\d+)?", _stem(file), re.IGNORECASE)
    ]
    parts = {
        file: [part.lower() for part in (*file.relative_to(folder).parts[:-1], _stem(file))]
        for file in files
    }
    return (
        exact
        or [file for file in files if split in parts[file][:-1]]
        or [
            file
            for file in files
            if re.search(rf"[-_.]{re.escape(split)}(?:[-_.#]\d.*)?$", parts[file][-1])
        ]
    )


def _shard_of(file: Path) -> tuple[str, int, int]:
    """Name, number of shards (0 if the name does not say) and number of a file in shards."""
    match = _SHARD.fullmatch(_stem(file))
    if match is None:
        return _stem(file), 0, -1
    if match["count"]:
        return match["name"], int(match["count"]), int(match["index"])
    return match["stem"], 0, int(match["number"])


def _set_of(file: Path) -> tuple[Path, str, str, int, bool]:
    """What is the same for all shards of a set."""
    name, count, number = _shard_of(file)
    return file.parent, _suffix(file), name, count, number < 0


def _in_order(shards: list[Path], split: str) -> list[Path]:
    """All shards of a set, the first one first.

    Raises:
        DataError: One is missing, or there twice.
    """
    numbers = {file: _shard_of(file)[2] for file in shards}
    count = _shard_of(shards[0])[1]
    found = sorted(numbers.values())
    if found not in ([*range(count or len(found))], [*range(1, (count or len(found)) + 1)]):
        names = ", ".join(file.name for file in sorted(shards, key=numbers.__getitem__)[:20])
        problem = (
            f"holds {len(found)} of {count} files"
            if count
            else "holds files, numbered with a gap or not from 0 or 1,"
        )
        raise DataError(
            f"{shards[0].parent} {problem} of the split {split!r} ({names}): fetch what is"
            " missing, remove what is there twice, or give the path of one file."
        )
    return sorted(shards, key=numbers.__getitem__)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)

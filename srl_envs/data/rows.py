"""Rows of a data set, from a local file or folder, or from the hub."""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from srl_envs.data.jsonl import open_text, parse_json, read_lines
from srl_envs.errors import DataError, InfrastructureError, MissingDependencyError

_SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz", ".parquet")
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves in a folder
_SHARD = re.compile(r"(?P<name>.+)-\d+-of-(?P<count>\d+)")


def read_rows(
    source: str,
    hub_name: str,
    path: Path | None,
    split: str,
    config: str | None = None,
    revision: str | None = None,
) -> Iterable[Mapping[str, Any]]:
    """The rows of one split.

    Args:
        source: The source's name, for messages.
        hub_name: Its name on the hub; empty if it has none.
        path: A file (``.jsonl``, ``.json``, ``.csv``, these also as ``.gz``, or
            ``.parquet``); or a folder with one for the split, also in shards
            (``train-00000-of-00002.parquet``), which are joined in order; or a folder
            that ``datasets`` saved. None reads the hub.
        split: ``"train"``, ``"test"``, or another name that the set has.
        config: The set's configuration on the hub; None where it has one only.
        revision: A branch, tag or commit on the hub; None takes the newest.

    Raises:
        DataError: There is no such file, or it cannot be read.
        InfrastructureError: The hub cannot be reached.
    """
    if path is None:
        if not hub_name:
            raise DataError(
                f"The source {source!r} has no data set on the hub: give the path of a file."
            )
        config = config or ("main" if source == "gsm8k" else None)
        return _hub_rows(hub_name, config, revision, split)
    if path.is_dir() and (saved := _saved_folder(path, split)):
        return _saved_rows(saved)
    return (row for file in _files_of(path, split) for row in _file_rows(file))


def _saved_folder(path: Path, split: str) -> Path | None:
    """The folder of the split that ``datasets`` saved; None if it is no such folder.

    Raises:
        DataError: It holds other splits.
    """
    if (path / _SAVED).is_file():
        return path
    splits = sorted(file.parent for file in path.glob(f"*/{_SAVED}"))
    if not splits and not (path / _SAVED_SPLITS).is_file():
        return None
    for folder in splits:
        if folder.name == split or (len(splits) == 1 and split == "train"):
            return folder
    found = ", ".join(folder.name for folder in splits) or "none"
    raise DataError(
        f"{path} holds no split {split!r}: it holds {found}. Give the folder of a split itself."
    )


def _saved_rows(folder: Path) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(f'{folder} needs datasets: pip install "datasets"') from None
    try:
        rows: Iterable[Mapping[str, Any]] = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever the libraries raise on damaged files
        raise DataError(
            f"{folder} is not a readable data set ({_first_line(error)}): save it again."
        ) from None
    return rows


def _suffix(file: Path) -> str:
    """The file's kind, which is one of the known ones, or its plain suffix."""
    return "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix


def _stem(file: Path) -> str:
    return file.name.removesuffix(_suffix(file))


def _files_of(path: Path, split: str) -> list[Path]:
    if path.is_file():
        if _suffix(path) not in _SUFFIXES:
            raise DataError(f"{path} is not a supported file type: use {', '.join(_SUFFIXES)}.")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist.")
    files = sorted(
        file
        for file in path.rglob("*")
        if _suffix(file) in _SUFFIXES and not _is_hidden(file.relative_to(path))
    )
    of_split = [file for file in files if re.fullmatch(rf"{re.escape(split)}(-.*)?", _stem(file))]
    candidates = of_split or (files if split == "train" else [])
    shards = [_SHARD.fullmatch(_stem(file)) for file in candidates]
    sets = {
        (file.parent, _suffix(file), shard["name"], int(shard["count"])) if shard else file
        for file, shard in zip(candidates, shards, strict=True)
    }
    if len(sets) != 1:
        found = ", ".join(str(file.relative_to(path)) for file in files[:20]) or "nothing"
        found += f" and {len(files) - 20} more" if len(files) > 20 else ""
        raise DataError(
            f"{path} must hold one file for the split {split!r}, like {split}.jsonl; it holds "
            f"{found}. Or give the path of the file itself."
        )
    if shards[0] and len(candidates) != int(shards[0]["count"]):
        raise DataError(
            f"{candidates[0].parent} holds {len(candidates)} of {int(shards[0]['count'])} files of "
            f"the split {split!r}: fetch the others too."
        )
    return candidates


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _file_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    kind = _suffix(file).removesuffix(".gz")
    if kind == ".parquet":
        return _parquet_rows(file)
    if kind == ".csv":
        return _csv_rows(file)
    if kind == ".jsonl" or _holds_lines(file):
        return (row for _, row in read_lines(file))
    return _json_rows(file)


def _holds_lines(file: Path) -> bool:
    """Whether a ``.json`` is JSON Lines: its first line is an object, and more lines follow."""
    try:
        with open_text(file) as lines:
            first, *more = islice((line for line in lines if line.strip()), 2)
        return bool(more) and isinstance(json.loads(first), dict)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        return False  # read as one text, it gets its message


def read_saved_run(file: Path) -> Mapping[str, Any]:
    """The row of a run that an agent saved: an object, or the bare list of its messages.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    found = _json(file)
    if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
        return {"messages": found}
    if not isinstance(found, dict):
        raise DataError(f"{file} must hold one JSON object, or a list of messages.")
    return found


def _json(file: Path) -> Any:
    try:
        with open_text(file) as opened:
            text = opened.read()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from None
    return parse_json(text, str(file))


def _json_rows(file: Path) -> list[Mapping[str, Any]]:
    rows = _json(file)
    if isinstance(rows, dict):
        rows = rows.get("data", [rows])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f'{file} must hold a list of objects, {{"data": [...]}} with such a list, or one '
            "object a line."
        )
    return rows


def _csv_rows(file: Path) -> list[Mapping[str, Any]]:
    limit = csv.field_size_limit(2**31 - 1)  # a cell may hold a long trace
    rows: list[Mapping[str, Any]] = []
    try:
        with open_text(file, newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            names = reader.fieldnames or []
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise DataError(
                    f"{file}, line 1: two columns are named {twice[0]!r}: rename one, or remove it."
                )
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{file}, line {reader.line_num}: not as many cells as the first line has "
                        "names."
                    )
                rows.append(row)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a readable CSV file: {error}.") from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _parquet_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingDependencyError(f'{file} needs pyarrow: pip install "datasets"') from None
    try:
        rows: list[Mapping[str, Any]] = parquet.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not a readable parquet file: {error}") from None
    return rows


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _hub_rows(
    hub_name: str, config: str | None, revision: str | None, split: str
) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingDependencyError(f'{hub_name} needs the hub: pip install "datasets"') from None
    serves = (
        "Without the hub, give a local copy: --dataset_path FILE_OR_FOLDER (path=... in Python), "
        f"a .jsonl or .parquet with the rows of {hub_name}; "
        "or set HF_HUB_OFFLINE=1 if it was fetched before."
    )
    offline = datasets.config.HF_HUB_OFFLINE
    try:
        if not offline:  # asked once: the libraries themselves would try again for minutes
            HfApi().dataset_info(hub_name, revision=revision, timeout=10)
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(
            hub_name, config, split=split, revision=revision
        )
    except (
        Exception
    ) as error:  # whatever the libraries raise: the user needs to know what would serve
        at = f" at revision {revision!r}" if revision else ""
        raise InfrastructureError(
            f"{hub_name}{at} cannot be fetched from the hub ({_first_line(error)}). {serves}"
        ) from None
    return rows

"""Rows of a data set, from a local file or folder, or from the hub."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from srl_envs.data.jsonl import (
    UNREADABLE,
    open_text,
    parse_json,
    read_lines,
    unreadable,
)
from srl_envs.data.shards import HELD_OUT, files_of, kind_of
from srl_envs.errors import DataError, InfrastructureError, MissingDependencyError

_NAMES_OF_LISTS = {"train", "validation", "valid", "dev", "test", "rows"}
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves in a folder


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
        path: A file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, these also packed;
            ``.parquet``, ``.arrow``); or a folder with one for the split, also in shards
            (``train-00000-of-00002.parquet``, ``train-0.jsonl``, ``train/0000.parquet``),
            which are joined in order; or a folder that ``datasets`` saved. None reads
            the hub.
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
    return (row for file in files_of(path, split) for row in _file_rows(file))


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
        alone = len(splits) == 1 and split == "train" and not HELD_OUT.fullmatch(folder.name)
        if folder.name == split or alone:
            return folder
    found = ", ".join(folder.name for folder in splits) or "none"
    raise DataError(
        f"{path} holds no split {split!r}: it holds {found}. Give the folder of a split itself."
    )


def _saved_rows(folder: Path) -> Iterable[Mapping[str, Any]]:
    return _by_datasets(folder, lambda datasets: datasets.load_from_disk(str(folder)))


def _by_datasets(place: Path, read: Callable[[Any], Any]) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(f'{place} needs datasets: pip install "datasets"') from None
    try:
        rows: Iterable[Mapping[str, Any]] = read(datasets)
    except Exception as error:  # whatever the libraries raise on damaged files
        raise DataError(
            f"{place} is not a readable data set ({_first_line(error)}): save it again."
        ) from None
    return rows


def _file_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    kind = kind_of(file)
    if kind == ".parquet":
        return _parquet_rows(file)
    if kind == ".arrow":
        return _arrow_rows(file)
    if kind in (".csv", ".tsv"):
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
    except (*UNREADABLE, ValueError, RecursionError):
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
    except UNREADABLE as error:
        raise unreadable(file, error) from None
    return parse_json(text, str(file))


def _json_rows(file: Path) -> list[Mapping[str, Any]]:
    rows = _json(file)
    if isinstance(rows, dict):
        in_columns = all(isinstance(row, dict) for row in rows.values())
        one_row = not (in_columns or rows.keys() <= _NAMES_OF_LISTS)
        rows = rows.get("data", [rows] if one_row else None)
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
            first = opened.readline()
            delimiter = max(",;\t", key=first.count)
            reader = csv.DictReader(chain([first], opened), strict=True, delimiter=delimiter)
            names = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
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
    except UNREADABLE as error:
        raise unreadable(file, error) from None
    except csv.Error as error:
        raise DataError(f"{file} is not a readable CSV file: {error}.") from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _arrow_rows(file: Path) -> Iterable[Mapping[str, Any]]:
    return _by_datasets(file, lambda datasets: datasets.Dataset.from_file(str(file)))


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

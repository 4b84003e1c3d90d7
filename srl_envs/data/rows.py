"""Rows of a data set, from a local file or folder, or from the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from srl_envs.data.jsonl import parse_json, read_lines
from srl_envs.errors import DataError, InfrastructureError, MissingDependencyError

_SUFFIXES = (".jsonl", ".json", ".parquet")
_SHARD = re.compile(r"(?P<name>.+)-\d+-of-(?P<count>\d+)")


def read_rows(
    source: str, hub_name: str, path: Path | None, split: str, config: str | None = None
) -> Iterable[Mapping[str, Any]]:
    """The rows of one split.

    Args:
        source: The source's name, for messages.
        hub_name: Its name on the hub; empty if it has none.
        path: A ``.jsonl``, ``.json`` or ``.parquet`` file, or a folder with one for the
            split, also in shards (``train-00000-of-00002.parquet``), which are joined
            in order; None reads the hub.
        split: ``"train"``, ``"test"``, or another name that the set has.
        config: The set's configuration on the hub; None where it has one only.

    Raises:
        DataError: There is no such file, or it cannot be read.
        InfrastructureError: The hub cannot be reached.
    """
    if path is None:
        if not hub_name:
            raise DataError(
                f"The source {source!r} has no data set on the hub: give the path of a file."
            )
        return _hub_rows(hub_name, config or ("main" if source == "gsm8k" else None), split)
    return (row for file in _files_of(path, split) for row in _file_rows(file))


def _files_of(path: Path, split: str) -> list[Path]:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise DataError(f"{path} is not a supported file type: use {', '.join(_SUFFIXES)}.")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist.")
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix in _SUFFIXES and not _is_hidden(file.relative_to(path))
    )
    of_split = [file for file in files if file.stem == split or file.stem.startswith(f"{split}-")]
    candidates = of_split or (files if split == "train" else [])
    shards = [_SHARD.fullmatch(file.stem) for file in candidates]
    sets = {
        (file.parent, file.suffix, shard["name"], int(shard["count"])) if shard else file
        for file, shard in zip(candidates, shards, strict=True)
    }
    if len(sets) != 1:
        found = ", ".join(str(file.relative_to(path)) for file in files) or "nothing"
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
    if file.suffix == ".jsonl":
        return (row for _, row in read_lines(file))
    return _json_rows(file) if file.suffix == ".json" else _parquet_rows(file)


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
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from None
    return parse_json(text, str(file))


def _json_rows(file: Path) -> list[Mapping[str, Any]]:
    rows = _json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file} must hold a list of objects.")
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


def _hub_rows(hub_name: str, config: str | None, split: str) -> Iterable[Mapping[str, Any]]:
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
            HfApi().dataset_info(hub_name, timeout=10)
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(hub_name, config, split=split)
    except (
        Exception
    ) as error:  # whatever the libraries raise: the user needs to know what would serve
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InfrastructureError(
            f"{hub_name} cannot be fetched from the hub ({reason[:200]}). {serves}"
        ) from None
    return rows

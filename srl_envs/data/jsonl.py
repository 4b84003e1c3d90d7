r"""Our own JSONL schema: one trajectory a line, for any domain.

    {"id": "t1", "prompt": "What is 2 + 3 * 4?", "answer": "14", "steps": [
        {"title": "Multiply first", "thought": "Products come before sums.", "action":
        "3 * 4 = 12."}, "2 + 12 = 14."]}

Required: ``prompt`` and a non-empty list ``steps``; a step is a string, or an object
with ``action`` and any of ``title``, ``heading``, ``thought``, ``observation``,
``gap``. Optional: ``id`` (else the line's number), ``answer``, ``preamble``, ``tail``,
``domain``, ``metadata`` (an object). The first line may be a header record, ``{"header":
{...}}``, which says how the file was made. A file of one's own is not filtered: the first
line that does not fit is an error that names file, line and key. Text must be Unicode:
half of a surrogate pair (``"\ud800"``) is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any, cast

from srl_envs.data.lone_surrogates import lone_surrogate
from srl_envs.data.registry import SourceRequest
from srl_envs.errors import ConfigError, DataError, MissingDependencyError
from srl_envs.trajectory import ExpertStep, Trajectory

_STEP_KEYS = tuple(field.name for field in fields(ExpertStep))
_KEYS = tuple(field.name for field in fields(Trajectory))
_OTHER_FILES = (".parquet", ".csv", ".tsv", ".arrow", ".zip", ".tar", ".xlsx", ".pkl")
_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zst"}
PACKED_SUFFIXES = (*_PACKED, ".zst")
"""The suffixes of packed files that can be read."""
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError)
"""What reading a damaged or misnamed text file raises."""
_LONG_INTEGER = re.compile(r"\d{4301}")  # Python reads 4,300 digits
_NO_UNICODE = "a lone surrogate is not Unicode text, and no tokenizer takes it: remove it"


def load(request: SourceRequest) -> Iterator[Trajectory]:
    """The source ``"jsonl"``: a file, also a packed one (:func:`open_text`).

    Raises:
        ConfigError: No path was given.
        DataError: See :func:`load_jsonl`.
    """
    if request.path is None:
        raise ConfigError("The source 'jsonl' needs the path of a file.")
    if request.path.is_dir() or request.path.suffix.lower() in _OTHER_FILES:
        raise DataError(
            f"{request.path}: the source 'jsonl' reads one file with a JSON object a line "
            "(.jsonl or .jsonl.gz): convert it, or name the source that it is like."
        )
    return load_jsonl(request.path)


def load_jsonl(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a file, read line by line.

    Raises:
        DataError: The file is missing, empty, not UTF-8, or a line does not fit the
            schema.
    """
    seen: set[str] = set()
    found = False
    for number, row in read_lines(path):
        if not found and is_header(row):
            continue
        found = True
        where = f"{path}, line {number}"
        trajectory = _trajectory(row, where, default_id=str(number))
        if place := lone_surrogate(trajectory):
            raise DataError(f"{where}, {place}: {_NO_UNICODE}.")
        if trajectory.id in seen:
            raise DataError(
                f"{where}: the id {trajectory.id!r} was used before: give each trajectory its own."
            )
        seen.add(trajectory.id)
        yield trajectory
    if not found:
        raise DataError(f"{path} holds a header record and no trajectory.")


def is_header(row: Mapping[str, Any]) -> bool:
    """Whether a line is a header record, which says how its file was made."""
    return set(row) == {"header"} and isinstance(row["header"], dict)


def read_header(path: Path) -> dict[str, Any]:
    """The header record of a file; empty if it has none.

    Raises:
        DataError: See :func:`read_lines`.
    """
    _, row = next(read_lines(path))
    return dict(row["header"]) if is_header(row) else {}


def save_trajectories(
    trajectories: Iterable[Trajectory],
    path: str | Path,
    header: Mapping[str, Any] | None = None,
) -> None:
    """Write trajectories for :func:`load_jsonl`; the file appears whole or not at all.

    Args:
        trajectories: What is written.
        path: The file.
        header: How it was made, for a header record; None writes none.

    Raises:
        DataError: The file cannot be written, the metadata of a trajectory is not
            JSON, or its text not Unicode.
    """
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            if header is not None:
                file.write(json.dumps({"header": dict(header)}, ensure_ascii=False) + "\n")
            for trajectory in trajectories:
                file.write(_line(trajectory))
        scratch.replace(target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        scratch.unlink(missing_ok=True)


def _line(trajectory: Trajectory) -> str:
    if place := lone_surrogate(trajectory):
        raise DataError(f"Trajectory {trajectory.id!r}, {place}: {_NO_UNICODE}.")
    try:
        return json.dumps(asdict(trajectory), ensure_ascii=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"Trajectory {trajectory.id!r}: its metadata cannot be written as JSON ({error})."
        ) from None


def parse_json(text: str, where: str, first_line: int = 1) -> Any:
    """What a JSON text says.

    Args:
        text: The text.
        where: The file, for messages.
        first_line: Its number in the file.

    Raises:
        DataError: It is not JSON, or more than Python can hold.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        cut = (
            " The file may be cut off: fetch or write it again." if not text.endswith("\n") else ""
        )
        raise DataError(
            f"{where}, line {first_line + error.lineno - 1}: not valid JSON ({error.msg} at column "
            f"{error.colno}).{cut}"
        ) from None
    except RecursionError:
        place = f"{where}, line {first_line}" if "\n" not in text.rstrip() else where
        raise DataError(f"{place}: objects or lists are nested too deeply to be read.") from None
    except ValueError:  # the only other one that the parser knows
        digits = _LONG_INTEGER.search(text)
        line = first_line + text.count("\n", 0, digits.start() if digits else 0)
        raise DataError(
            f"{where}, line {line}: an integer has more digits than can be read: write it as text."
        ) from None


def open_text(path: Path, newline: str | None = None) -> IO[str]:
    """Open a text file, also a packed one (``.gz``, ``.bz2``, ``.xz``, ``.zst``)."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        try:
            import pyarrow
        except ImportError:
            raise MissingDependencyError(f'{path} needs pyarrow: pip install "datasets"') from None
        unpacked = pyarrow.input_stream(str(path), compression="zstd")
        return io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline=newline)
    opened = _PACKED[suffix](path, "rb") if suffix in _PACKED else path.open("rb")
    return io.TextIOWrapper(cast(IO[bytes], opened), encoding="utf-8-sig", newline=newline)


def unreadable(path: Path, error: BaseException) -> DataError:
    """What to say of a text file whose reading failed."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist.")
    if isinstance(error, UnicodeDecodeError):
        begin = path.open("rb").read(6)
        packed = next((kind for magic, kind in _MAGIC.items() if begin.startswith(magic)), None)
        if packed and path.suffix.lower() not in PACKED_SUFFIXES:
            return DataError(f"{path} is packed: unpack it, or let its name end in .{packed}.")
        return DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it, or "
            "check that it is a text file."
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return DataError(f"{path} cannot be read: {reason}.")


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each non-empty line of a JSONL file.

    Raises:
        DataError: The file is missing, empty, not UTF-8, or a line is not a JSON object.
    """
    found = False
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if not found:
                    _refuse_one_text(line, path)
                row = parse_json(line, str(path), number)
                if not isinstance(row, dict):
                    raise DataError(
                        f"{path}, line {number}: a line must be a JSON object, not "
                        f"{type(row).__name__}."
                    )
                found = True
                yield number, row
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    if not found:
        raise DataError(f"{path} is empty: it must hold one JSON object a line.")


def _refuse_one_text(line: str, path: Path) -> None:
    """Refuse a file whose first line begins a list, or an object that goes on below."""
    text = line.strip()
    if text.startswith("[") or text == "{":
        kind = "list" if text.startswith("[") else "object over several lines"
        raise DataError(
            f"{path} holds one JSON {kind}, but each line must be an object: rewrite it, say with"
            f" jq -c '{'.[]' if kind == 'list' else '.'}' {path.name} > rows.jsonl."
        )


_OTHER_KIND = (
    " A file of another kind needs the name of its source (such as agent, s1k, numbered), with the"
    " file as dataset_path."
)


def _trajectory(row: dict[str, Any], where: str, default_id: str) -> Trajectory:
    _check_keys(row, _KEYS, where, "" if {"prompt", "steps"} & set(row) else _OTHER_KIND)
    steps = row.get("steps")
    if not isinstance(steps, list) or not steps:
        raise DataError(f"{where}: 'steps' must be a non-empty list.")
    texts = {
        key: _text(row, key, where)
        for key in _KEYS
        if key in row and key not in ("steps", "metadata")
    }
    if not texts.get("prompt", "").strip():
        raise DataError(f"{where}: 'prompt' is missing or empty.")
    metadata = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise DataError(f"{where}: 'metadata' must be an object.")
    parsed = tuple(_step(step, f"{where}, step {i}") for i, step in enumerate(steps, 1))
    return Trajectory(**{"id": default_id, **texts}, steps=parsed, metadata=metadata)


def _step(step: Any, where: str) -> ExpertStep:
    fields_of_step = {"action": step} if isinstance(step, str) else step
    if not isinstance(fields_of_step, dict):
        raise DataError(f"{where}: a step is a string or an object with 'action'.")
    _check_keys(fields_of_step, _STEP_KEYS, where)
    texts = {key: _text(fields_of_step, key, where) for key in fields_of_step}
    texts["action"] = texts.get("action", "").strip()
    if not texts["action"]:
        raise DataError(f"{where}: 'action' is missing or empty.")
    return ExpertStep(**texts)


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be text, not {type(value).__name__}.")
    return value


def _check_keys(row: dict[str, Any], valid: Iterable[str], where: str, hint: str = "") -> None:
    unknown = sorted(set(row) - set(valid))
    if unknown:
        raise DataError(
            f"{where}: unknown key {unknown[0]!r}. Valid keys: {', '.join(valid)}.{hint}"
        )

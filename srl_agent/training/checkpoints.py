"""Checkpoints that say whether they are whole, so that a killed or damaged run resumes from the last good one."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

MANIFEST = "manifest.json"


def seal(checkpoint: Path) -> None:
    """Write the manifest, last of all files: the size and the CRC-32 of each. A checkpoint without it was not finished."""
    files = {
        str(path.relative_to(checkpoint)): {"bytes": path.stat().st_size, "crc32": _crc32(path)}
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    scratch = checkpoint / (MANIFEST + ".part")
    scratch.write_text(json.dumps(files, indent=1))
    scratch.replace(checkpoint / MANIFEST)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_text())
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError):
        return f"its {MANIFEST} cannot be read"
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
        if _crc32(path) != expected["crc32"]:
            return f"{name} was changed or is damaged"
    return None


def checkpoints(run_dir: Path) -> list[Path]:
    """A run's checkpoints, the latest first."""
    found = [path for path in run_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def latest_whole(run_dir: Path) -> tuple[Path | None, list[str]]:
    """The latest checkpoint that is whole, and a line about each later one that is not."""
    complaints: list[str] = []
    for checkpoint in checkpoints(run_dir):
        problem = damage(checkpoint)
        if problem is None:
            return checkpoint, complaints
        complaints.append(f"{checkpoint} is left out: {problem}.")
    return None, complaints


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Seals every checkpoint as soon as the trainer has written it."""

    def on_save(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers after all files of a checkpoint are written."""
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum

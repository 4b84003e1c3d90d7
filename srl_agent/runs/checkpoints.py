"""Checkpoints that say whether they are complete.

A killed or damaged run resumes from the last good one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError

MANIFEST = "manifest.json"


def seal(folder: Path) -> None:
    """Write the manifest, last of all files: the size and the CRC-32 of each.

    A folder without it was not finished.
    """
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "crc32": _crc32(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    replace_file(folder / MANIFEST, json.dumps(files, indent=1).encode())


def find_damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder; None if it is whole."""
    try:
        files: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "it is missing" if not folder.is_dir() else "it was not finished"
    except (OSError, ValueError):
        files = None
    if not (
        isinstance(files, dict)
        and files
        and all(
            isinstance(row, dict) and {"bytes", "crc32"} <= row.keys() for row in files.values()
        )
    ):
        return f"its {MANIFEST} cannot be read"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
        if _crc32(path) != expected["crc32"]:
            return f"{name} was changed or is damaged"
    return None


def checkpoints(run_dir: Path) -> list[Path]:
    """A run's checkpoints, the latest first."""
    found = [
        path
        for path in run_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if path.name.rpartition("-")[2].isdigit()
    ]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def latest_whole(run_dir: Path) -> tuple[Path | None, list[str]]:
    """The latest checkpoint that is whole, and a line about each later one that is not."""
    complaints: list[str] = []
    for checkpoint in checkpoints(run_dir):
        problem = find_damage(checkpoint)
        if problem is None:
            return checkpoint, complaints
        complaints.append(f"{checkpoint} is left out: {problem}.")
    return None, complaints


def checkpoint_to_start_from(path: Path) -> Path:
    """The checkpoint that a user names.

    It is the folder itself, or the latest complete one of the named run folder.

    Raises:
        ConfigError: There is none, or it is damaged.
    """
    if not path.is_dir():
        raise ConfigError(
            f"--resume_from_checkpoint: there is no folder {path}. Without the flag a run resumes"
            " from its own latest checkpoint."
        )
    if checkpoints(path):
        found, complaints = latest_whole(path)
        if found is None:
            raise ConfigError(
                f"--resume_from_checkpoint: {' '.join(complaints)} Give another checkpoint."
            )
        return found
    if problem := find_damage(path):
        raise ConfigError(
            f"--resume_from_checkpoint: {path} is not a whole checkpoint of a run: {problem}. Give"
            " another one."
        )
    return path


def best_whole(
    run_dir: Path, metrics: Mapping[int, float], last_step: int, greater_is_better: bool
) -> tuple[Path | None, list[str]]:
    """The whole checkpoint with the best metric, and a line about each better one that is damaged.

    Args:
        run_dir: Holds the checkpoints.
        metrics: The metric of each step that was validated; steps that were not saved
            do not compete.
        last_step: Of the weights that are in memory, which need no checkpoint.
        greater_is_better: Whether a greater metric is better.

    Returns:
        None for the checkpoint if nothing that can be loaded is better than the weights
        in memory.
    """
    complaints: list[str] = []
    for step in sorted(
        metrics,
        key=lambda step: (
            metrics[step] if greater_is_better else -metrics[step],
            step == last_step,
            -step,
        ),
        reverse=True,
    ):
        checkpoint = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if step == last_step:
            break
        if checkpoint.is_dir():
            problem = find_damage(checkpoint)
            if problem is None:
                return checkpoint, complaints
            complaints.append(f"{checkpoint} had the better validation but is left out: {problem}.")
    return None, complaints


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Seals every checkpoint as soon as the trainer has written it."""

    def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """A moved run finds its best checkpoint in its present folder.

        So the checkpoint is not rotated away.
        """
        best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if state.best_global_step and best.is_dir():
            state.best_model_checkpoint = str(best)

    def on_save(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers after this process has written its files of a checkpoint."""
        PartialState().wait_for_everyone()  # until the others have written theirs
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        # A launcher ends all processes when the first one leaves: none may, before the seal.
        PartialState().wait_for_everyone()


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum

"""A full disk or full memory, as one message.

Libraries report them in many ways, and never say what to do.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from srl_envs.errors import InfrastructureError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SPACE_TEXTS = (
    "No space left on device",
    "os error 28",
    "os error 27",
    "Disk quota exceeded",
    "PytorchStreamWriter failed",
    "enforce fail at inline_container.cc",
)
_NO_MEMORY_TEXTS = ("can't allocate memory", "out of memory")


@contextmanager
def explained_errors(folder: Callable[[], Path]) -> Iterator[None]:
    """Turn what libraries raise when the disk or the memory is full into one error with its cure.

    Args:
        folder: Where the run writes; asked when an error comes.

    Raises:
        InfrastructureError: The disk or the memory is full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, MemoryError) as error:
        if is_disk_full(error):
            raise InfrastructureError(_disk_full(error, folder())) from error
        if is_memory_full(error):
            raise InfrastructureError(
                "Memory is full: lower --per_device_train_batch_size, --rollout_rows or"
                " --max_completion_length (or --test_instances and --eval_instances), in another"
                " --output_dir."
            ) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that nothing more can be written."""
    return any(
        (isinstance(link, OSError) and link.errno in _NO_SPACE)
        or (
            isinstance(link, OSError | RuntimeError | SafetensorError)
            and any(text in str(link) for text in _NO_SPACE_TEXTS)
        )
        for link in _chain(error)
    )


def is_memory_full(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that no more memory can be had."""
    return any(
        isinstance(link, MemoryError | torch.OutOfMemoryError)
        or (isinstance(link, RuntimeError) and any(text in str(link) for text in _NO_MEMORY_TEXTS))
        for link in _chain(error)
    )


def _disk_full(error: BaseException, folder: Path) -> str:
    paths = [
        Path(link.filename)
        for link in _chain(error)
        if isinstance(link, OSError) and isinstance(link.filename, str)
    ]
    place = paths[0] if paths else folder
    there = next((path for path in (place, *place.absolute().parents) if path.is_dir()), Path())
    return (
        f"The disk is full: {place} cannot be written ({shutil.disk_usage(there).free / 1e6:.0f} MB"
        " are free there). Free some space and rerun the same command: the run resumes from"
        " its latest whole checkpoint."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__

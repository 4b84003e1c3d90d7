"""What the processes of one run do together, so that none waits for one that has failed."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from srl_envs.errors import ConfigError


def together(step: Callable[[], None]) -> None:
    """Take a step on every process; if it fails on any, all raise the first one's error.

    Raises:
        ConfigError: The step raised it on some process.
    """
    problem = ""
    try:
        step()
    except ConfigError as error:
        problem = str(error)
    problems = gather_object([problem]) if PartialState().num_processes > 1 else [problem]
    if any(problems):
        raise ConfigError(next(filter(None, problems)))


def check_shared(folder: Path) -> None:
    """Check that every process sees what the main process writes into a folder.

    Raises:
        ConfigError: Some are on a machine with a folder of its own.
    """
    process = PartialState()
    if process.num_processes == 1:
        return
    name = [f".shared-{uuid.uuid4().hex}"]
    broadcast_object_list(name)
    if process.is_main_process:
        (folder / name[0]).touch()
    process.wait_for_everyone()
    seen = _appears(folder / name[0])
    blind = [host for host in gather_object(["" if seen else socket.gethostname()]) if host]
    if process.is_main_process:
        (folder / name[0]).unlink()
    if blind:
        raise ConfigError(
            f"{folder} is not shared by all machines of this run: {len(blind)} of"
            f" {process.num_processes} processes, on {', '.join(dict.fromkeys(blind))}, do not see"
            " what the first one writes there. Give --output_dir a folder on a file system that"
            " all machines mount at the same path, such as NFS."
        )


def _appears(file: Path) -> bool:
    """Whether a new file is there; a network file system may show it some seconds later."""
    for wait in (0, 1, 2, 4):
        time.sleep(wait)
        if file.parent.is_dir() and file.name in os.listdir(file.parent):
            return True
    return False

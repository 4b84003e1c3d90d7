"""A process that waits for another one's end, however it ends, and removes its containers.

``python .../reaper.py PID RUN``; started by :mod:`srl_envs.sandbox.ownership`, as a
file, so that waiting costs no import of the package. The engine is that of
``DOCKER_HOST``. If it is killed too, the next prune does its work.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

PERIOD = 0.2
"""Seconds between two looks, where the system cannot wait for a process."""


def main() -> None:
    """Wait in the background, then remove."""
    owner, run = int(sys.argv[1]), sys.argv[2]
    waits = _waiter(owner)
    # Whoever ends a process's children or its group (Ray does) must not end this one.
    if os.fork():
        return
    waits()
    sys.path[0] = str(Path(__file__).parents[2])  # the package's folder, not this one
    from srl_envs.sandbox.ownership import remove_run

    for pause in (
        0.0,
        1.0,
        5.0,
    ):  # a create call that was under way may finish after the first look
        time.sleep(pause)
        remove_run(run)


def _waiter(process: int) -> Callable[[], object]:
    """Waits for the end of a process that lives now."""
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process)
        return lambda: select.select([descriptor], [], [])

    def poll() -> None:
        while True:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                return
            time.sleep(PERIOD)

    return poll


if __name__ == "__main__":
    main()

"""A process that waits for its parent's end, however it ends, and removes its containers.

``python .../watcher.py PARENT_PID RUN``; started by :mod:`srl_envs.sandbox.ownership`,
as a file, so that waiting costs no import of the package. If it is killed too, the next
prune does its work.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PERIOD = 0.2
"""Seconds between two looks."""


def main() -> None:
    """Wait, then remove."""
    parent, run = int(sys.argv[1]), sys.argv[2]
    while os.getppid() == parent:
        time.sleep(PERIOD)
    sys.path[0] = str(Path(__file__).parents[2])  # the package's folder, not this one
    from srl_envs.sandbox.ownership import remove_run

    for pause in (
        0.0,
        1.0,
        5.0,
    ):  # a create call that was under way may finish after the first look
        time.sleep(pause)
        remove_run(run)


if __name__ == "__main__":
    main()

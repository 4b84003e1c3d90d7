"""Work on several bases at once, each in a process: their trainings share nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait

from srl_envs.errors import InfrastructureError, SRLError


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each_base(work: Callable[[int], None], bases: int, jobs: int) -> None:
    """Call ``work`` with each base's number, at most ``jobs`` at a time, each in a process.

    The cores are divided among them. If one fails, or on an interrupt, all end: a
    training writes its checkpoint first.

    Args:
        work: Can be pickled.
        bases: How many.
        jobs: At least 1.

    Raises:
        SRLError: What one of them raised.
        InfrastructureError: One died, or raised something else.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // jobs))
    context = get_context("spawn")
    left, running = list(range(bases)), {}
    try:
        while left or running:
            while left and len(running) < jobs:
                base = left.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, base, sender))
                process.start()
                sender.close()
                running[process.sentinel] = base, process, receiver
            for sentinel in wait(list(running)):
                base, process, receiver = running.pop(sentinel)  # type: ignore[index]
                process.join()
                if receiver.poll():  # also true at its end, when there is nothing to read
                    _raise(base, process.exitcode, receiver)
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join()


def _raise(base: int, status: int | None, receiver: Connection) -> None:
    try:
        raise receiver.recv()
    except EOFError:
        if status:
            raise InfrastructureError(
                f"The process of base {base} ended with status {status}: what it printed says why."
                " Rerun the same command to resume."
            ) from None


def _child(work: Callable[[int], None], base: int, sender: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(base)
    except SRLError as error:
        sender.send(error)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _end_with_parent() -> None:
    """Interrupt this process when its parent has died, however it died."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)

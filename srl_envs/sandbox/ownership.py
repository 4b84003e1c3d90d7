"""Who owns a container: labels name the process, so orphans can be told from live ones."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import docker.errors

from srl_envs.sandbox.engine import connect, engine_address, engine_call
from srl_envs.sandbox.protocol import SandboxError

LABEL = "srl-envs.sandbox"
"""Every container of this package carries this label."""

_PLACE, _PID, _STARTED, _RUN, _HELD = (
    f"{LABEL}.{name}" for name in ("place", "pid", "started", "run", "held")
)
# Threads that make their first sandboxes on an engine at once share one watcher.
_STARTING: defaultdict[str | None, threading.Lock] = defaultdict(threading.Lock)
_IN_USE: set[str] = set()  # values of _HELD


def owner_labels() -> dict[str, str]:
    """Labels of a container that this process is about to create.

    The first call of a process for an engine removes what dead processes left there, and
    starts the watcher that outlives this process.

    Raises:
        SandboxError: The engine cannot be reached.
    """
    return {
        LABEL: "1",
        _PLACE: _place(),
        _PID: str(os.getpid()),
        _STARTED: _start_of(os.getpid()) or "",
        _RUN: run_here(),
    }


def run_here() -> str:
    """The name that this process's containers on this engine share, for :func:`remove_run`.

    Raises:
        SandboxError: The engine cannot be reached.
    """
    address = engine_address()
    with _STARTING[address]:
        return _run_of(os.getpid(), address)


def held_label() -> dict[str, str]:
    """A label by which :func:`prune` knows that this process still uses a container.

    To be taken before the container is made, and given to :func:`let_go` in the end.
    """
    name = secrets.token_hex(8)
    _IN_USE.add(name)
    return {_HELD: name}


def let_go(label: Mapping[str, str]) -> None:
    """A container of :func:`held_label` is not used any more, whether it is gone or not."""
    _IN_USE.discard(label[_HELD])


def prune() -> list[str]:
    """Remove the containers whose owner is dead, and no others.

    Of this process, those that it could not remove while the engine did not answer.
    Owners on another machine, or in another PID namespace, cannot be asked: theirs are
    left alone.

    Returns:
        Short ids of what this call removed; what another prune at the same time removes
        is not among them.

    Raises:
        SandboxError: The engine cannot be reached.
    """
    with closing(connect()) as client:
        orphans = [
            container["Id"] for container in _containers(client, LABEL) if _is_orphan(container)
        ]
        return [container[:12] for container in orphans if _removed(client, container)]


def remove_run(run: str) -> None:
    """Remove all containers of one run: what the watcher does when its process has ended."""
    with closing(connect()) as client:
        for container in _containers(client, f"{_RUN}={run}"):
            _removed(client, container["Id"])


def remove_container(client: Any, container: str) -> bool:
    """Remove a container, running or not; False if it is gone or being removed by another."""
    with engine_call("remove a container"):
        try:
            client.api.remove_container(container, force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # 409: another process is removing it
                raise
            return False
    return True


def _removed(client: Any, container: str) -> bool:
    try:
        return remove_container(client, container)
    except SandboxError:
        return False


def _containers(client: Any, label: str) -> list[dict[str, Any]]:
    with engine_call("list the sandboxes"):
        return list(client.api.containers(all=True, filters={"label": label}))


def _is_orphan(container: Mapping[str, Any]) -> bool:
    labels: Mapping[str, str] = container["Labels"]
    place, pid = labels.get(_PLACE, ""), labels.get(_PID, "")
    if place != _place():
        return bool(container["State"] == "exited") and _is_before_reboot(place)
    if pid == str(os.getpid()) and labels.get(_STARTED) == _start_of(os.getpid()):
        return _HELD in labels and labels[_HELD] not in _IN_USE
    return pid.isdecimal() and _start_of(int(pid)) != labels.get(_STARTED)


def _is_before_reboot(place: str) -> bool:
    """Whether a place is this machine before it was last started: nobody of then is alive."""
    then, now = place.split("/"), _place().split("/")
    return len(then) == len(now) == 3 and then[0] == now[0] and then[1] != now[1]


@lru_cache(maxsize=1)
def _place() -> str:
    """Machine (this boot of it) and PID namespace: where a process id means the same process."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists():
        parts.append(boot.read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink(namespace))
    return "/".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process started, to compare; None if there is none.

    A reused process id has another start.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        try:  # no /proc: macOS
            return subprocess.run(
                ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None
    fields = stat.rpartition(")")[2].split()
    return (
        None if fields[0] in "ZX" else fields[19]
    )  # a zombie is dead; field 22 of proc(5) is the start time


@cache
def _run_of(pid: int, address: str | None) -> str:
    """The name of this process's run, once orphans are gone and its watcher runs.

    A forked child (another pid) gets its own.
    """
    prune()
    run = secrets.token_hex(8)
    subprocess.run(  # ends at once: the watcher is a grandchild
        [sys.executable, str(Path(__file__).with_name("reaper.py")), str(pid), run],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal must not end it
        env={**os.environ, "DOCKER_HOST": address} if address else None,
        check=True,
    )
    return run

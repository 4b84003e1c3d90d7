"""Engines of other machines, reached through the ``ssh`` program."""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from srl_envs.errors import ConfigError
from srl_envs.sandbox.protocol import SandboxError

_SOCKET = "/var/run/docker.sock"
_OPTIONS = (
    "BatchMode=yes",  # a question for a password would wait for ever
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)


class _Tunnel:
    """One ``ssh`` that carries a socket of this machine to the engine's on another."""

    def __init__(self, address: str) -> None:
        self.lock, self._address = threading.Lock(), address
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def socket(self, deadline: float) -> Path:
        """The socket here, once it is there."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._folder is not None
        path = Path(self._folder.name, "docker.sock")
        end = time.monotonic() + deadline
        while not path.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                said = Path(self._folder.name, "log").read_text(errors="replace").strip()
                raise SandboxError(
                    f"No Docker engine answers at {self._address}: ssh says "
                    f"{said[-200:] or 'nothing'!r}. Try: ssh {urlsplit(self._address).netloc}"
                )
            time.sleep(0.02)
        return path

    def close(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="srl-ssh-")
        parts = urlsplit(self._address)
        there = f"{parts.username}@{parts.hostname}" if parts.username else f"{parts.hostname}"
        forward = f"{self._folder.name}/docker.sock:{parts.path.rstrip('/') or _SOCKET}"
        command = ["ssh", "-T", *(word for option in _OPTIONS for word in ("-o", option))]
        command += ["-p", str(parts.port)] if parts.port else []
        with Path(self._folder.name, "log").open("wb") as log:
            # cat ends, and the connection with it, when this process does, however that ends.
            self._process = subprocess.Popen(
                [*command, "-L", forward, "--", there, "cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )


_TUNNELS: dict[tuple[int, str], _Tunnel] = {}  # by process: a forked child makes its own


@atexit.register
def _close_all() -> None:
    for (process, _), tunnel in _TUNNELS.items():
        if process == os.getpid():
            tunnel.close()


def tunnel_to(address: str, deadline: float = 60.0) -> str:
    """The address on this machine that leads to an engine at ``ssh://user@host:port/socket``.

    Each process keeps one connection for an engine, and makes it anew if it broke. The
    port and the socket's path (``/var/run/docker.sock``) may be left out.

    Raises:
        ConfigError: The address names no host.
        SandboxError: ``ssh`` cannot reach the machine.
    """
    if not urlsplit(address).hostname:
        raise ConfigError(f"{address!r} names no host: write ssh://user@host.")
    tunnel = _TUNNELS.setdefault((os.getpid(), address), _Tunnel(address))
    with tunnel.lock:
        return f"unix://{tunnel.socket(deadline)}"

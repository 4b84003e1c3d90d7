"""The engine loses what a program wrote and reports a good end: never an empty file or patch."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.engine import engine_at

pytestmark = pytest.mark.docker


class LosingEngine:
    """Passes everything on to the engine, but loses the output of the next ``to_lose`` programs."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.to_lose = self.lost = 0
        self.address = f"unix://{folder}/docker.sock"
        self._engine = engine.removeprefix("unix://")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"{folder}/docker.sock")
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                here, _ = self._server.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._engine)
                starts = threading.Event()  # a program, on this connection
                for source, target, is_answer in ((here, there, False), (there, here, True)):
                    threading.Thread(
                        target=self._pass, args=(source, target, is_answer, starts), daemon=True
                    ).start()

    def _pass(
        self, source: socket.socket, target: socket.socket, is_answer: bool, starts: threading.Event
    ) -> None:
        head, loses = b"", False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not is_answer:
                    first = data.split(b"\r\n", 1)[0]
                    if first.startswith(b"POST ") and b"/exec/" in first and b"/start" in first:
                        starts.set()
                elif loses:
                    continue
                elif starts.is_set() and self.to_lose:
                    head += data
                    if (end := head.find(b"\r\n\r\n")) >= 0:
                        self.to_lose, self.lost, loses = self.to_lose - 1, self.lost + 1, True
                        data = data[: len(data) - (len(head) - end - 4)]
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def losing(engine: object, tmp_path: Path) -> Iterator[LosingEngine]:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip("the engine has no socket on this machine to stand before")
    proxy = LosingEngine(address, tmp_path)
    yield proxy
    proxy.close()


def test_lost_output_is_asked_for_again_and_never_taken_for_empty(
    losing: LosingEngine, repository_image: str, small_limits: SandboxLimits
) -> None:
    with engine_at(losing.address):
        sandbox = DockerSandbox(repository_image, limits=small_limits)
    with sandbox:
        sandbox.run("echo changed > README.md")
        patch = sandbox.diff()
        assert "+changed" in patch
        for call, right in (
            (lambda: sandbox.read_file("README.md"), b"changed\n"),
            (lambda: sandbox.list_files("src", depth=1)[0], f"{sandbox.workdir}/src/"),
            (sandbox.diff, patch),
        ):
            losing.to_lose = 1
            assert call() == right
        assert losing.lost == 3
        losing.to_lose = 3
        with pytest.raises(SandboxError, match="lost the output of bash"):
            sandbox.read_file("README.md")
        assert sandbox.read_file("README.md") == b"changed\n"

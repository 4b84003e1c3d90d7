"""An engine behind a real ``sshd``, which listens on this machine only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_fleet import until

from srl_envs.errors import ConfigError
from srl_envs.sandbox import DockerSandbox, SandboxError
from srl_envs.sandbox.engine import connect, engine_at
from srl_envs.sandbox.ssh import tunnel_to

FETCH = (
    "apt-get download openssh-server libwrap0 && for package in *.deb; do dpkg -x $package .; done"
)
# In a mount namespace: sshd wants a user and a folder of its own, which this machine may lack.
SSHD = """mount --bind passwd /etc/passwd && mount -t tmpfs none /run && mkdir /run/sshd &&
LD_LIBRARY_PATH=$(dirname "$(find "$PWD" -name 'libwrap.so.0')") \\
exec "$PWD/usr/sbin/sshd" -D -f "$PWD/conf"
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an sshd that takes root's key; ``ssh`` finds the key."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ssh", "ssh-keygen", "unshare"))):
        pytest.skip("an sshd of the test's own takes root, ssh and unshare")
    folder = tmp_path_factory.mktemp("sshd")
    try:
        subprocess.run(["sh", "-c", FETCH], cwd=folder, capture_output=True, check=True)
    except subprocess.CalledProcessError:
        pytest.skip("Debian's package openssh-server cannot be fetched")
    for key in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(make, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    users = Path("/etc/passwd").read_text()
    (folder / "passwd").write_text(f"{users}sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin\n")
    (folder / "conf").write_text(
        f"Port {number}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPidFile none\n"
    )
    (folder / "client").write_text(
        f"IdentityFile {folder}/user\nStrictHostKeyChecking no\nUserKnownHostsFile {folder}/known\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(
        f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n'
    )
    (folder / "bin" / "ssh").chmod(0o755)
    server = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", SSHD], cwd=folder, stderr=subprocess.DEVNULL
    )
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}/bin:{path}"
    while subprocess.run(["ssh", "-p", str(number), "root@127.0.0.1", "true"]).returncode:
        if server.poll() is not None:
            pytest.skip("sshd does not start here")
        time.sleep(0.2)
    yield number
    os.environ["PATH"] = path
    server.kill()
    server.wait()


@pytest.mark.docker
def test_a_sandbox_behind_ssh_ends_with_its_process(engine, base_image, small_limits, port) -> None:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    address = f"ssh://root@127.0.0.1:{port}{host}"
    with (
        engine_at(address),
        DockerSandbox(base_image, workdir="/tmp", limits=small_limits) as sandbox,
    ):
        assert sandbox.run("echo over ssh").output == "over ssh\n"
        sandbox.write_file("large", "x" * 10**6)
        assert sandbox.read_file("large") == b"x" * 10**6
    script = (
        "from srl_envs.sandbox import DockerSandbox\n"
        f"sandbox = DockerSandbox({base_image!r}, workdir='/tmp')\n"
        "print(sandbox.container_id, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "DOCKER_HOST": address},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    container = process.stdout.readline().strip()
    assert engine.containers.list(filters={"id": container})
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert until(lambda: not engine.containers.list(all=True, filters={"id": container}))


def test_a_host_that_is_not_there_is_one_line() -> None:
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh here")
    with (
        engine_at("ssh://root@127.0.0.1:1"),
        pytest.raises(SandboxError, match=r"127\.0\.0\.1:1: ssh says .*refused") as caught,
    ):
        connect()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="names no host"):
        tunnel_to("ssh://")

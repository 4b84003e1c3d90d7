"""An engine behind a port with certificates, as Docker's own variables name them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet_work import IMAGE, expected, products, small_sandbox
from own_engine import OwnEngine, require_own_engines

from srl_envs.fleet import open_fleet
from srl_envs.sandbox import SandboxError
from srl_envs.sandbox.engine import connect, engine_at

CERTIFICATES = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -subj /CN=ca \\
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
for name in server- ''; do
    openssl req -newkey rsa:2048 -nodes -keyout ${name}key.pem -out request -subj /CN=engine
    openssl x509 -req -in request -CA ca.pem -CAkey ca-key.pem -CAcreateserial \\
        -extfile extensions -out ${name}cert.pem
done
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("certificates take openssl")
    folder = tmp_path_factory.mktemp("certificates")
    command = ["sh", "-ec", CERTIFICATES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def behind_tls(
    certificates: Path, fill: Callable[[OwnEngine], None]
) -> Iterator[tuple[OwnEngine, str]]:
    """An engine that also listens on a port of loopback, and the port's address."""
    require_own_engines()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    engine = OwnEngine(
        f"--host={address}",
        "--tlsverify",
        f"--tlscacert={certificates}/ca.pem",
        f"--tlscert={certificates}/server-cert.pem",
        f"--tlskey={certificates}/server-key.pem",
    )
    try:
        fill(engine)
        yield engine, address
    finally:
        engine.remove()


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's variables, on a machine whose web goes through an authority of its own."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    other = certificates / "server-cert.pem"  # a certificate, and not the engine's authority
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))


@pytest.mark.docker
def test_a_fleet_works_through_tls_and_beside_a_socket(behind_tls, trusted) -> None:
    engine, address = behind_tls
    with open_fleet(f"{address},{engine.address}", places=2) as fleet:
        jobs = {f"job {number}": (IMAGE, number, 0.02) for number in range(6)}
        results = dict(fleet.map(products, jobs))
    assert {name: result[0] for name, result in results.items()} == {
        f"job {number}": expected(number) for number in range(6)
    }
    assert {result[1] for result in results.values()} == {address, engine.address}
    with engine_at(address), small_sandbox(IMAGE) as sandbox:
        sandbox.write_file("large", "x" * 10**6)
        assert sandbox.read_file("large") == b"x" * 10**6
    assert not engine.containers()


@pytest.mark.docker
def test_without_certificates_the_error_names_dockers_variables(
    behind_tls, trusted, tmp_path, monkeypatch
) -> None:
    _, address = behind_tls
    named = r"Start it, or set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as for docker\.$"
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with engine_at(address), pytest.raises(SandboxError, match=named):
        connect()
    monkeypatch.delenv("DOCKER_CERT_PATH")
    monkeypatch.delenv("DOCKER_TLS_VERIFY")
    with engine_at(address), pytest.raises(SandboxError, match="HTTPS server.*" + named):
        connect()


@pytest.mark.docker
def test_what_a_library_asks_beside_us_goes_through_tls_too(
    behind_tls, trusted, monkeypatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", behind_tls[1])
    script = (
        "import docker\n"
        "from srl_agent.evaluation.swebench.harness_worker import _change_requests\n"
        "_change_requests({}); assert docker.from_env().ping()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

"""A fleet in a real Ray cluster on this machine: three nodes, each with an engine of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_nodes import HERE, Nodes
from fleet_work import IMAGE, expected, products, small_sandbox, trajectory
from test_fleet import open_containers, until

from srl_envs.data.jsonl import save_trajectories
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.fleet import open_fleet
from srl_envs.fleet.addresses import check_ray
from srl_envs.replay import read_report
from srl_envs.sandbox import SandboxError, SandboxFileError

# Before Ray is imported: then it listens on this machine only.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
# Whatever fills the memory of this machine, it is not the actors.
os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112  Ray spells it so

docker = pytest.mark.docker


@pytest.mark.parametrize(
    "ray", ["", "ray://host:10001", "host", "host:port", "Local", "a b:1", "h:65536"]
)
def test_what_is_not_a_cluster_is_refused(ray: str) -> None:
    with pytest.raises(ConfigError, match="use local, auto, or host:port"):
        check_ray(ray)


@pytest.fixture(scope="module")
def ray() -> Any:
    return pytest.importorskip(
        "ray", reason="Ray is not installed: pip install -e '.[ray]'", exc_type=ImportError
    )


@pytest.fixture(scope="module")
def cluster(ray: Any, three_engines: list[Any]) -> Iterator[Nodes]:
    nodes = Nodes(three_engines)
    yield nodes
    nodes.shutdown()


@docker
def test_actors_and_nodes_may_die(ray, cluster, engines, caplog) -> None:
    """Each result is there once and right, on every engine; what died is replaced."""
    caplog.set_level(logging.INFO, "srl_envs")
    with open_fleet(ray=cluster.address, places=2) as fleet:
        assert fleet.places == 6
        listens_here_only()
        processes = [found for found in fleet.each(os.getpid) if found is not None]
        assert len(set(processes)) == 3
        results = []
        jobs = {f"job {number}": (IMAGE, number, 0.1) for number in range(36)}
        for name, result in fleet.map(products, jobs):
            results.append((name, result))
            if len(results) == 6:
                os.kill(processes[0], signal.SIGKILL)
            if len(results) == 18:
                cluster.kill(cluster.nodes[1])
        assert sorted(name for name, _ in results) == sorted(jobs)
        for name, result in results:
            assert result[0] == expected(int(name.split()[1]))
        assert {result[1] for _, result in results} == {engine.address for engine in engines}
        assert until(lambda: caplog.text.count("is well again, and taken up.") >= 1)
        assert until(lambda: not open_containers(engines))
        cluster.add(engines[1])
        assert until(lambda: caplog.text.count("is well again, and taken up.") >= 2)
        again = dict(fleet.map(products, {f"job {n}": (IMAGE, n, 0.05) for n in range(12)}))
        assert engines[1].address in {result[1] for result in again.values()}
        lost = fleet.open("held", small_sandbox, IMAGE)
        lost.run("echo 1")
        held = sum(len(engine.containers()) for engine in engines)
        assert held == 1  # left for the end of the fleet
    assert until(lambda: not open_containers(engines))


def listens_here_only() -> None:
    """No process of Ray takes connections from elsewhere."""
    sockets = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(word in (process / "cmdline").read_bytes() for word in (b"/ray/", b"ray::")):
                for link in (process / "fd").iterdir():
                    sockets.add(os.readlink(link))
    found = 0
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found += 1
                assert fields[1].split(":")[0] in (
                    "0100007F",
                    "0000000000000000FFFF00000100007F",
                    "00000000000000000000000001000000",
                )
    assert found >= 2


@docker
def test_a_command_in_ray_is_resumed(cluster, engines, tmp_path) -> None:
    """Killed, it leaves no container; the same command does what is left, and no more."""
    source, report = tmp_path / "in.jsonl", tmp_path / "report.jsonl"
    save_trajectories([trajectory(number, IMAGE, pause=0.3) for number in range(12)], source)
    command = [sys.executable, "-m", "srl_envs.replay", "--ray", cluster.address]
    command += ["--source", str(source), "--report", str(report), "--log_level", "debug"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        assert until(lambda: report.exists() and len(report.read_bytes().splitlines()) >= 3)
        driver.kill()
    assert until(lambda: not open_containers(engines))
    before = report.read_text().splitlines()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = report.read_text().splitlines()
    assert lines[: len(before)] == before
    assert Counter(json.loads(line)["id"] for line in lines) == {f"job-{n}": 1 for n in range(12)}
    for number in range(12):
        assert read_report(report)[f"job-{number}"].resolved is (number % 2 == 0)
    assert until(lambda: not open_containers(engines))


@docker
def test_named_engines_get_an_actor_each_and_errors_keep_their_kind(
    ray, engines, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    names = ",".join(engine.address for engine in engines[:2])
    with open_fleet(names, "local", places=1) as fleet:
        listens_here_only()
        assert len(set(fleet.each(os.getpid))) == 2
        sandbox = fleet.open("one", small_sandbox, IMAGE)
        with pytest.raises(SandboxFileError) as caught:
            sandbox.read_file("/no/such/file")
        assert caught.value.errno == 2 and "/no/such/file" in str(caught.value)
        with pytest.raises(SandboxError, match="no-such-image"):
            fleet.open("two", small_sandbox, "no-such-image:ever")
        os.kill(sandbox._host.call(os.getpid), signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="actor"):
            sandbox.run("true")
        with contextlib.suppress(InfrastructureError):
            sandbox.close()
        assert until(lambda: not open_containers(engines))
        with contextlib.closing(fleet.open("again", small_sandbox, IMAGE)) as opened:
            assert opened.run("echo well").output == "well\n"


def test_a_cluster_that_is_not_there_is_one_line(ray: Any) -> None:
    said = r"No Ray cluster can be used at 127\.0\.0\.1:1: Connection refused\. Start one"
    with pytest.raises(InfrastructureError, match=said):
        open_fleet(ray="127.0.0.1:1", places=1)


def test_no_cluster_on_this_machine_is_one_line(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where Ray notes its clusters
    with pytest.raises(InfrastructureError, match=r"^No Ray cluster runs on this machine\. "):
        open_fleet(ray="auto", places=1)

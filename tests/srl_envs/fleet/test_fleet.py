"""A fleet of real engines: each result is there once and is right, whatever dies."""

from __future__ import annotations

import copy
import gc
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import pytest
from fleet_work import IMAGE, expected, products, small_sandbox, trajectory
from own_engine import OwnEngine

from srl_envs.commands import GRAMMARS
from srl_envs.data.jsonl import save_trajectories
from srl_envs.errors import ConfigError
from srl_envs.fleet import Fleet, RemoteSandbox, open_fleet
from srl_envs.fleet.addresses import engine_addresses
from srl_envs.fleet.hosts import EngineHost
from srl_envs.replay import main, read_report
from srl_envs.sandbox import SandboxError


def until(condition: Callable[[], bool]) -> bool:
    """Whether a condition came true; the bound is there for what never does."""
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def names(engines: list[OwnEngine]) -> str:
    return ",".join(engine.address for engine in engines)


def open_containers(engines: list[OwnEngine]) -> list[str]:
    return [one for engine in engines for one in engine.containers()]


@pytest.mark.parametrize(
    "engines",
    ["", "unix://", "unix:relative", "unix:///a,", "tcp://host", "tcp://:1", "tcp://h:x", "ssh://",
     "http://h:1", "/var/run/docker.sock"],
)  # fmt: skip
def test_what_is_not_an_address_is_refused(engines: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a Docker engine"):
        engine_addresses(engines)


def test_addresses_of_all_kinds_are_read() -> None:
    given = "unix:///a/b.sock, tcp://10.0.0.1:2376,ssh://me@host,ssh://host:22/run/docker.sock"
    assert engine_addresses(given) == [part.strip() for part in given.split(",")]


def test_where_no_engine_answers_all_are_named(tmp_path) -> None:
    with pytest.raises(SandboxError, match=r"None of 2 engines.*a\.sock.*b\.sock"):
        open_fleet(f"unix://{tmp_path}/a.sock,unix://{tmp_path}/b.sock", places=1)


def test_failed_work_comes_back_to_its_host_where_all_others_stay_busy(monkeypatch) -> None:
    monkeypatch.setattr("srl_envs.fleet.fleet._ELSEWHERE_S", 0.5)
    calls, held = [], threading.Event()

    def breaks() -> None:
        calls.append(1)
        raise SandboxError("it breaks")

    hosts = [EngineHost(None), EngineHost(None)]
    with Fleet(hosts, places=1) as fleet, ThreadPoolExecutor(1) as threads:
        threads.submit(fleet.run, "holder", held.wait)
        try:
            with pytest.raises(SandboxError, match="it breaks"):
                fleet.run("two", breaks)
        finally:
            held.set()
    assert len(calls) == 3


@pytest.mark.docker
def test_work_goes_where_places_are_free_and_every_result_is_right(engines) -> None:
    with open_fleet(names(engines), places=2) as fleet:
        jobs = {f"job {number}": (IMAGE, number, 0.02) for number in range(24)}
        results = dict(fleet.map(products, jobs))
    assert {name: result[0] for name, result in results.items()} == {
        f"job {number}": expected(number) for number in range(24)
    }
    used = Counter(result[1] for result in results.values())
    assert set(used) == {engine.address for engine in engines}
    assert min(used.values()) >= 4
    assert not open_containers(engines)


@pytest.mark.docker
def test_a_dead_engines_work_is_done_by_the_others_and_it_is_taken_up_again(engines, caplog):
    caplog.set_level(logging.INFO, "srl_envs")
    dying = engines[1]
    with open_fleet(names(engines), places=2) as fleet:
        results = []
        jobs = {f"job {number}": (IMAGE, number, 0.1) for number in range(24)}
        for name, result in fleet.map(products, jobs):
            results.append((name, result))
            if len(results) == 6:
                dying.stop(signal.SIGKILL)
        assert sorted(name for name, _ in results) == sorted(jobs)
        for name, result in results:
            assert result[0] == expected(int(name.split()[1]))
        assert f"{dying.address} does not answer: its work goes to the others" in caplog.text
        assert "Trying again." in caplog.text
        assert len(list((dying.folder / "data" / "containers").iterdir())) >= 1
        dying.restart()
        assert until(lambda: f"{dying.address} is well again, and taken up." in caplog.text)
        assert not open_containers(engines)
        again = fleet.map(products, {f"job {n}": (IMAGE, n, 0.02) for n in range(12)})
        assert dying.address in {result[1] for _, result in again}
    assert not open_containers(engines)


@pytest.mark.docker
def test_more_sandboxes_than_places_wait_and_all_are_right(engines) -> None:
    most = Counter[str]()

    def one(fleet: Fleet, number: int) -> str:
        sandbox = fleet.open(f"sandbox {number}", small_sandbox, IMAGE)
        for engine in engines[:1]:
            most[engine.address] = max(most[engine.address], len(engine.containers()))
        output = sandbox.run(f"echo {number}").output
        sandbox.close()
        return output

    with open_fleet(names(engines), places=2) as fleet, ThreadPoolExecutor(40) as threads:
        outputs = list(threads.map(lambda number: one(fleet, number), range(40)))
    assert outputs == [f"{number}\n" for number in range(40)]
    assert most[engines[0].address] <= 2
    assert not open_containers(engines)


@pytest.mark.docker
def test_a_sandbox_that_nobody_holds_gives_its_place_back(engines) -> None:
    with open_fleet(engines[0].address, places=1) as fleet:
        sandbox: RemoteSandbox | None = fleet.open("first", small_sandbox, IMAGE)
        assert sandbox is not None and sandbox.run("echo 1").output == "1\n"
        del sandbox
        gc.collect()
        second = fleet.open("second", small_sandbox, IMAGE)
        assert len(engines[0].containers()) == 1
        second.close()
        second.close()
        with pytest.raises(SandboxError, match="closed"):
            second.run("true")
    assert copy.deepcopy(fleet) is fleet


@pytest.mark.docker
def test_who_waits_for_a_place_of_a_closed_fleet_is_not_left_waiting(engines) -> None:
    fleet = open_fleet(engines[0].address, places=1)
    first = fleet.open("first", small_sandbox, IMAGE)
    raised: list[Exception] = []

    def wait() -> None:
        try:
            fleet.open("second", small_sandbox, IMAGE)
        except SandboxError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    fleet.close()
    waiting.join(60)
    assert not waiting.is_alive() and "closed" in str(raised[0])
    first.close()


@pytest.mark.docker
def test_environments_share_a_fleet_and_its_places(engines) -> None:
    """Four episodes on two places: what verifies a patch waits for nobody who waits for it."""
    trajectories = [trajectory(number, IMAGE) for number in range(4)]
    with open_fleet(names(engines[:2]), places=1) as fleet:

        def episode(number: int) -> bool:
            env = gym.make(
                "SRL-SWE-v0", trajectories=trajectories, follow="agent", fleet=fleet, max_steps=1
            )
            env.reset(options={"trajectory": number})
            written = GRAMMARS["xml"].command("bash", command=f"echo {number} > value.txt").text
            *_, info = env.step(f"<think>I write.</think>\n{written}")
            env.close()
            return bool(info["correct"])

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(episode, range(4))) == [True, False, True, False]
    assert not open_containers(engines)
    with pytest.raises(ConfigError, match="fleet and make_sandbox exclude each other"):
        gym.make("SRL-SWE-v0", fleet=fleet, make_sandbox=lambda one: small_sandbox(IMAGE))


@pytest.mark.docker
def test_replays_survive_an_engine_and_their_command(engines, tmp_path) -> None:
    """An engine is killed, then the command; the same command does what is left, and no more."""
    source, report = tmp_path / "in.jsonl", tmp_path / "report.jsonl"
    save_trajectories([trajectory(number, IMAGE, pause=0.3) for number in range(16)], source)
    arguments = ["--source", str(source), "--report", str(report), "--engines", names(engines)]
    command = subprocess.Popen(
        [sys.executable, "-m", "srl_envs.replay", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: report.exists() and len(report.read_bytes().splitlines()) >= 4)
        engines[2].stop(signal.SIGKILL)
        assert until(lambda: len(report.read_bytes().splitlines()) >= 8)
    finally:
        command.kill()
        command.wait()
    assert until(lambda: not open_containers(engines[:2]))
    before = report.read_text().splitlines()
    assert main(arguments) == 0
    lines = report.read_text().splitlines()
    assert lines[: len(before)] == before
    assert Counter(json.loads(line)["id"] for line in lines) == {f"job-{n}": 1 for n in range(16)}
    for number in range(16):
        done = read_report(report)[f"job-{number}"]
        assert done.resolved is (number % 2 == 0)
    assert not open_containers(engines[:2])
    engines[2].restart()
    with open_fleet(engines[2].address, places=1):  # taking it up removes what the dead left
        assert not open_containers(engines)

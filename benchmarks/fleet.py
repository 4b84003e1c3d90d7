"""A fleet of three Docker engines on this machine, with and without Ray, put through its deaths.

    python benchmarks/fleet.py                       # every stage, 20 minutes of soak
    python benchmarks/fleet.py --stages soak --minutes 5

Stages: throughput (beside a plain pool on one engine), kills (200 replays while an actor, a node,
an engine and the command are killed), queue (1,000 sandboxes on 32 places), soak (every output is
checked while engines die and come back). Takes root, dockerd, and the extras dev and ray. Figures
are written to benchmarks/results/fleet_2cores/results.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WORK = str(ROOT / "tests" / "srl_envs" / "fleet")
sys.path[:0] = [str(ROOT), WORK, str(ROOT / "tests")]  # the project first: tests/ has its folders
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray listens on this machine only

from fleet_nodes import Nodes
from fleet_work import IMAGE, LIMITS, small_sandbox, trajectory
from own_engine import OwnEngine, own_engines
from small_images import TOOLS, import_image

from srl_envs.command_line import log_to_stderr
from srl_envs.data.jsonl import save_trajectories
from srl_envs.errors import InfrastructureError
from srl_envs.fleet import Fleet, open_fleet
from srl_envs.replay import Replay, read_report, replay
from srl_envs.sandbox.engine import engine_at
from srl_envs.sandbox.images import image_of_tree

RESULTS = ROOT / "benchmarks" / "results" / "fleet_2cores" / "results.json"
PROGRAMS = (*TOOLS, "git", "cat", "rm", "xargs", "env", "sort", "ls", "touch")


@contextlib.contextmanager
def filled_engines(count: int) -> Iterator[list[OwnEngine]]:
    """Engines with an image of git and a repository of one file."""
    with own_engines(count) as engines, tempfile.TemporaryDirectory() as folder:
        Path(folder, "value.txt").write_text("none\n")
        for engine in engines:
            with engine.client() as client:
                base = import_image(client, "srl-fleet-base", PROGRAMS)
            with engine_at(engine.address):
                image_of_tree(Path(folder), IMAGE, base=base)
        yield engines


@contextlib.contextmanager
def ray_cluster(engines: list[OwnEngine]) -> Iterator[Nodes]:
    """A head without work and a node for each engine."""
    cluster = Nodes(engines)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def names(engines: list[OwnEngine]) -> str:
    return ",".join(engine.address for engine in engines)


def containers(engines: list[OwnEngine]) -> int:
    return sum(len(one.containers()) for one in engines if one.process.poll() is None)


def until(condition: Callable[[], bool], seconds: float = 600.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def is_right(result: Replay) -> bool:
    """Whether a verdict, and the patch that it is of, are those of the trajectory."""
    number = int(result.id.removeprefix("job-"))
    patch = (
        f"diff --git a/value.txt b/value.txt\nindex {'0' * 40}..{'0' * 40} 100644\n"
        f"--- a/value.txt\n+++ b/value.txt\n@@ -1 +1 @@\n-none\n+{number}\n"
    )
    return result.resolved is (number % 2 == 0) and result.patch_characters == len(patch)


# -- stages


def throughput(engines: list[OwnEngine], jobs: int) -> dict[str, Any]:
    """Replays a second: a plain pool on one engine, and fleets of as many places."""
    work = partial(replay, limits=LIMITS)
    todo = {f"job-{number}": (trajectory(number, IMAGE),) for number in range(jobs)}

    def plain() -> Iterator[Replay]:
        def one(name: str) -> Replay:
            with engine_at(engines[0].address):
                return work(*todo[name])

        with ThreadPoolExecutor(6) as threads:
            yield from threads.map(one, todo)

    def fleet(engines_of: str | None, ray: str | None, places: int) -> Iterator[Replay]:
        with open_fleet(engines_of, ray, places=places) as opened:
            opened.each(os.getpid)
            began.append(time.monotonic())
            for _, result in opened.map(work, todo):
                assert isinstance(result, Replay), result
                yield result

    began: list[float] = []
    with ray_cluster(engines) as cluster:
        ways: dict[str, Callable[[], Iterator[Replay]]] = {
            "plain pool, one engine": plain,
            "fleet, one engine": lambda: fleet(engines[0].address, None, 6),
            "fleet, three engines": lambda: fleet(names(engines), None, 2),
            "fleet in Ray, three engines": lambda: fleet(None, cluster.address, 2),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(2):  # forth and back, so that a machine that gets busier is fair
            for name, way in list(ways.items())[:: -1 if turn % 2 else 1]:
                began.append(time.monotonic())
                assert all(is_right(result) for result in way())
                rates[name].append(jobs / (time.monotonic() - began[-1]))
    best = {name: max(of) for name, of in rates.items()}
    plain_rate = best["plain pool, one engine"]
    return {
        "jobs": jobs,
        "places": 6,
        "jobs_a_second": {name: [round(x, 2) for x in of] for name, of in rates.items()},
        "share_of_plain": {name: round(of / plain_rate, 3) for name, of in best.items()},
    }


def kills(engines: list[OwnEngine], jobs: int) -> dict[str, Any]:
    """Replays in Ray while an actor, a node, an engine and the command are killed."""
    with tempfile.TemporaryDirectory() as folder, ray_cluster(engines) as cluster:
        source, report = Path(folder, "in.jsonl"), Path(folder, "report.jsonl")
        log = Path(folder, "log")
        save_trajectories([trajectory(number, IMAGE, 0.2) for number in range(jobs)], source)
        command = [sys.executable, "-m", "srl_envs.replay", "--ray", cluster.address]
        command += ["--source", str(source), "--report", str(report)]

        def start() -> subprocess.Popen[bytes]:
            with log.open("ab") as file:
                return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)

        def done() -> int:
            return len(report.read_bytes().splitlines()) if report.exists() else 0

        began, at = time.monotonic(), {}

        def reached(share: float, what: str) -> None:
            assert until(lambda: done() >= share * jobs, 1500), log.read_text()
            at[what] = done()

        driver = start()
        reached(0.15, "actor")
        os.kill(actors()[0], signal.SIGKILL)
        reached(0.35, "node")
        cluster.kill(cluster.nodes[1])
        reached(0.5, "node back")
        cluster.add(engines[1])
        reached(0.6, "engine")
        engines[2].stop(signal.SIGKILL)
        reached(0.75, "engine back")
        engines[2].restart()
        reached(0.85, "driver")
        driver.kill()
        driver.wait()
        none_left = until(lambda: containers(engines) == 0, 60)
        driver = start()
        code = driver.wait()
        lines = [json.loads(line)["id"] for line in report.read_text().splitlines()]
        results = read_report(report)
        return {
            "jobs": jobs,
            "killed_after_verdicts": at,
            "exit_status": code,
            "verdicts": len(results),
            "lost": jobs - len(results),
            "twice": len(lines) - len(set(lines)),
            "wrong": sum(not is_right(result) for result in results.values()),
            "tried_again": log.read_text().count("Trying again."),
            "taken_up_again": log.read_text().count("is well again, and taken up."),
            "none_left_after_the_driver": none_left,
            "containers_left": 0 if until(lambda: containers(engines) == 0, 60) else "some",
            "seconds": round(time.monotonic() - began, 1),
        }


def actors() -> list[int]:
    """Processes of actors on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(b"ray::EngineActor"):
                found.append(int(process.name))
    return sorted(found)


def queue(engines: list[OwnEngine], sandboxes: int) -> dict[str, Any]:
    """Sandboxes that wait for 32 places on two engines; each says its number."""
    most, wrong = 0, 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(1.0):
            most = max(most, containers(engines[:2]))

    def one(fleet: Fleet, number: int) -> bool:
        with contextlib.closing(fleet.open(f"sandbox {number}", small_sandbox, IMAGE)) as sandbox:
            sandbox.run(f"own={number}; echo {number} > own.txt")
            return sandbox.run("echo $own $(cat own.txt)").output == f"{number} {number}\n"

    began = time.monotonic()
    watcher = threading.Thread(target=watch)
    watcher.start()
    with open_fleet(names(engines[:2]), places=16) as fleet, ThreadPoolExecutor(sandboxes) as many:
        wrong = sum(not right for right in many.map(partial(one, fleet), range(sandboxes)))
    stop.set()
    watcher.join()
    return {
        "sandboxes": sandboxes,
        "places": 32,
        "wrong": wrong,
        "most_containers_at_once": most,
        "containers_left": containers(engines),
        "seconds": round(time.monotonic() - began, 1),
    }


def soak(engines: list[OwnEngine], minutes: float) -> dict[str, Any]:
    """Sandboxes whose every output is checked, while engines die and come back at random."""
    chance, started = random.Random(0), {one.address: time.monotonic() for one in engines}
    counts: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    end = time.monotonic() + 60 * minutes

    def job(fleet: Fleet, number: int) -> None:
        if time.monotonic() > end:
            return
        try:
            outputs, address = fleet.run(f"job {number}", checked, number)
        except InfrastructureError as error:
            counts["failed"] += 1
            print(f"job {number} failed: {error}", file=sys.stderr)
            return
        counts["jobs"] += 1
        for factor, output in enumerate(outputs):
            counts["outputs"] += 1
            if output != (f"{number * factor}\n", 0, False, False):
                age = time.monotonic() - started[address]
                wrong.append({"job": number, "factor": factor, "got": output, "engine_s": age})

    def kill_and_restart() -> None:
        while time.monotonic() < end - 30:
            time.sleep(chance.uniform(15, 40))
            engine = chance.choice(engines)
            engine.stop(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            counts["engines killed"] += 1
            time.sleep(chance.uniform(1, 15))
            engine.restart()
            started[engine.address] = time.monotonic()

    began = time.monotonic()
    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    with open_fleet(names(engines), places=2) as fleet, ThreadPoolExecutor(6) as threads:
        list(threads.map(partial(job, fleet), range(1, 10**5)))
        killer.join()
        until(lambda: containers(engines) == 0, 60)
        left = containers(engines)
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        **counts,
        "wrong": wrong,
        "containers_left": left,
    }


def checked(number: int) -> tuple[list[tuple[str, int, bool, bool]], str]:
    """Products in a fresh sandbox: output, exit code, whether it timed out or was restarted."""
    from srl_envs.sandbox.engine import engine_address

    seen = []
    with small_sandbox(IMAGE) as sandbox:
        for factor in range(10):
            done = sandbox.run(f"echo $(( {number} * {factor} )); sleep 0.05")
            seen.append((done.output, done.exit_code, done.timed_out, done.restarted))
    return seen, str(engine_address())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--stages", default="throughput,kills,queue,soak")
    parser.add_argument("--jobs", type=int, default=200, help="replays of kills")
    parser.add_argument("--sandboxes", type=int, default=1000, help="of the queue")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the soak")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    log_to_stderr("warning")
    results = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}
    stages: dict[str, Callable[[list[OwnEngine]], dict[str, Any]]] = {
        "throughput": lambda engines: throughput(engines, 12),
        "kills": lambda engines: kills(engines, chosen.jobs),
        "queue": lambda engines: queue(engines, chosen.sandboxes),
        "soak": lambda engines: soak(engines, chosen.minutes),
    }
    for name in chosen.stages.split(","):
        load = os.getloadavg()[0]
        with filled_engines(3) as engines:
            results[name] = stages[name](engines) | {"load_before": round(load, 1)}
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[name], indent=1), flush=True)


if __name__ == "__main__":
    main()

"""The sandbox beside Docker's own commands, on one engine in one run.

    python benchmarks/sandbox.py

Timed are a command's round trip, getting a clean container, and many containers at once. It
needs a Docker engine at DOCKER_HOST and the base image (python -m srl_envs.sandbox build-base).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from srl_envs.errors import SRLError
from srl_envs.sandbox import BASE_IMAGE, DockerSandbox, SandboxLimits, SandboxPool

COMMAND = "echo $((6*7)); pwd"
LIMITS = SandboxLimits(memory_mib=256)


def median_ms(work: Callable[[], object], times: int) -> float:
    """Median wall time of a call in milliseconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1000


def bash_alone_ms(times: int) -> float:
    """The same command through a bash of this machine that is kept open, without any container."""
    with subprocess.Popen(
        ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as bash:
        assert bash.stdin is not None and bash.stdout is not None

        def round_trip() -> None:
            bash.stdin.write(f"{COMMAND}; echo END\n")
            while bash.stdout.readline() != "END\n":
                continue

        took = median_ms(round_trip, times)
        bash.stdin.close()
    return took


def many_at_once(image: str, containers: int, rounds: int) -> tuple[float, int]:
    """Wall seconds of rounds of commands in many containers at once, and the wrong answers."""

    def one(number: int) -> int:
        with DockerSandbox(image, workdir="/tmp", limits=LIMITS) as sandbox:
            sandbox.run(f"own={number}; echo {number} > own.txt")
            return sum(
                sandbox.run("echo $own $(cat own.txt)").output != f"{number} {number}\n"
                for _ in range(rounds)
            )

    start = time.perf_counter()
    with ThreadPoolExecutor(max_workers=containers) as threads:
        wrong = sum(threads.map(one, range(containers)))
    return time.perf_counter() - start, wrong


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default=BASE_IMAGE)
    parser.add_argument(
        "--times",
        type=int,
        default=20,
        help="repetitions of each measurement (the fast ones: 25 times as many)",
    )
    chosen = parser.parse_args()
    try:
        measure(chosen.image, chosen.times)
    except SRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure(image: str, times: int) -> None:
    """Ours beside docker exec and docker run."""
    docker_run = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--memory",
        "256m",
        "--memory-swap",
        "256m",
        "--cap-drop",
        "ALL",
        image,
        "bash",
        "-c",
        COMMAND,
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    with DockerSandbox(image, workdir="/tmp", limits=LIMITS) as sandbox:
        docker_exec = ["docker", "exec", sandbox.container_id, "bash", "-c", COMMAND]
        ours = median_ms(lambda: sandbox.run(COMMAND), times * 25)
        exec_ms = median_ms(lambda: subprocess.run(docker_exec, **quiet), times)
    run_ms = median_ms(lambda: subprocess.run(docker_run, **quiet), times)
    bash = bash_alone_ms(times * 25)

    def cold() -> None:
        DockerSandbox(image, workdir="/tmp", limits=LIMITS).close()

    cold_ms = median_ms(cold, times)
    acquired = []
    with SandboxPool(lambda: DockerSandbox(image, workdir="/tmp", limits=LIMITS), size=2) as pool:
        for _ in range(times):
            time.sleep(1.5)  # an episode: meanwhile the pool makes the next one
            start = time.perf_counter()
            sandbox = pool.acquire()
            acquired.append(time.perf_counter() - start)
            pool.release(sandbox)
    seconds, wrong = many_at_once(image, 32, 20)
    print(
        f"A command's round trip      ours {ours:8.2f} ms   bash alone {bash:.2f} ms   "
        f"docker exec {exec_ms:6.1f} ms   {exec_ms / ours:.0f}x"
    )
    print(
        f"A clean container, warm     ours {statistics.median(acquired) * 1000:8.2f} ms "
        "  (from a pool of 2)"
    )
    print(
        f"A clean container, cold     ours {cold_ms:8.1f} ms   (with its end)   docker "
        f"run {run_ms:6.1f} ms, which runs one command"
    )
    print(
        f"32 containers at once, 20 commands each: {seconds:.1f} s, "
        f"{wrong} wrong answers of {32 * 20}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""The sandboxes beside each other and beside Docker's own commands, in one run.

    python benchmarks/sandbox.py [--only docker|bubblewrap]

Timed are a command's round trip, getting a clean sandbox, reading a file, many sandboxes at once,
and a start against the size of the repository. Docker needs an engine at DOCKER_HOST and the base
image (python -m srl_envs.sandbox build-base); bubblewrap needs bwrap.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from srl_envs.errors import SRLError
from srl_envs.sandbox import (
    BASE_IMAGE,
    BubblewrapSandbox,
    DockerSandbox,
    Sandbox,
    SandboxLimits,
)
from srl_envs.sandbox.engine import connect
from srl_envs.sandbox.images import image_of_tree

COMMAND = "echo $((6*7)); pwd"
LIMITS = SandboxLimits(memory_mib=256)
FILES = (100, 3_000, 30_000)
UNPACK = "cd /testbed && mv .git/objects/pack/*.pack /tmp/p && git unpack-objects -q < /tmp/p"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}


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


def many_at_once(make: Callable[[], Sandbox], count: int, rounds: int) -> tuple[float, int]:
    """Wall seconds of rounds of commands in many sandboxes at once, and the wrong answers."""

    def one(number: int) -> int:
        with closing(make()) as sandbox:
            sandbox.run(f"own={number}; echo {number} > own.txt")
            return sum(
                sandbox.run("echo $own $(cat own.txt)").output != f"{number} {number}\n"
                for _ in range(rounds)
            )

    start = time.perf_counter()
    with ThreadPoolExecutor(max_workers=count) as threads:
        wrong = sum(threads.map(one, range(count)))
    return time.perf_counter() - start, wrong


def measure_kind(name: str, make: Callable[[], Sandbox], times: int) -> None:
    """A line of what one kind of sandbox takes."""
    with closing(make()) as sandbox:
        command = median_ms(lambda: sandbox.run(COMMAND), times * 25)
        sandbox.write_file("file", "x" * 1000)
        reading = median_ms(lambda: sandbox.read_file("file"), times)
    clean = median_ms(lambda: make().close(), times)
    seconds, wrong = many_at_once(make, 32, 20)
    print(
        f"{name:10} {command:8.2f} ms {clean:13.1f} ms {reading:10.1f} ms {seconds:10.1f} s, "
        f"{wrong} wrong answers of {32 * 20}"
    )


@contextmanager
def images_of(files: int, base: str) -> Iterator[dict[str, str]]:
    """Images of a repository: as we build them, and with one loose object for each file."""
    packed, loose = f"srl-benchmark:{files}", f"srl-benchmark:{files}-loose"
    with tempfile.TemporaryDirectory(prefix="srl-benchmark-") as folder:
        for number in range(files):
            path = Path(folder, f"part{number // 1000}", f"module{number // 10}", f"{number}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"value = {number}\n" * 60)
        image_of_tree(Path(folder), packed, base=base)
    client = connect(deadline=600)  # removing an image takes its time on a busy disk
    dockerfile = io.BytesIO(f"FROM {packed}\nRUN {UNPACK}\n".encode())
    client.images.build(fileobj=dockerfile, tag=loose, network_mode="none", rm=True)
    try:
        yield {"packed": packed, "loose": loose}
    finally:
        for image in (loose, packed):
            client.images.remove(image, force=True)
        client.close()


def starts(image: str, times: int) -> tuple[float, int, float, float]:
    """Milliseconds of a start, bytes that it wrote, milliseconds of the first patch and others."""
    started, patched, written = [], [], 0
    client = connect()
    for _ in range(times):
        before = time.perf_counter()
        with DockerSandbox(image, limits=LIMITS) as sandbox:
            started.append(time.perf_counter() - before)
            listed = client.api.containers(size=True, filters={"id": sandbox.container_id})
            written = max(written, listed[0].get("SizeRw", 0))
            sandbox.run("echo changed >> $(git ls-files | tail -n 1)")
            before = time.perf_counter()
            assert sandbox.diff().count("diff --git") == 1
            patched.append(time.perf_counter() - before)
    client.close()
    return (
        statistics.median(started) * 1000,
        written,
        patched[0] * 1000,
        statistics.median(patched[1:]) * 1000,
    )


def measure_starts(base: str, times: int) -> None:
    """A start against the size of the repository."""
    print("repository                start    written   first patch of an image   next patches")
    for files in FILES:
        with images_of(files, base) as images:
            for kind, image in images.items():
                start, written, first, later = starts(image, times)
                print(
                    f"{files:6} files, {kind:6} {start:8.0f} ms {written:8} B {first:17.0f} ms "
                    f"{later:19.0f} ms"
                )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default=BASE_IMAGE)
    parser.add_argument("--only", choices=("docker", "bubblewrap"), help="default: both")
    parser.add_argument(
        "--times",
        type=int,
        default=20,
        help="repetitions of each measurement (the fast ones: 25 times as many)",
    )
    chosen = parser.parse_args()
    kinds: dict[str, Callable[[], Sandbox]] = {
        "docker": lambda: DockerSandbox(chosen.image, workdir="/tmp", limits=LIMITS),
        "bubblewrap": lambda: BubblewrapSandbox(workdir="/tmp", limits=LIMITS),
    }
    try:
        print("            a command   a clean one   read a file   32 at once, 20 commands each")
        for name, make in kinds.items():
            if chosen.only in (None, name):
                measure_kind(name, make, chosen.times)
        if chosen.only != "bubblewrap":
            measure(chosen.image, chosen.times)
            measure_starts(chosen.image, max(3, chosen.times // 4))
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
    with DockerSandbox(image, workdir="/tmp", limits=LIMITS) as sandbox:
        docker_exec = ["docker", "exec", sandbox.container_id, "bash", "-c", COMMAND]
        ours = median_ms(lambda: sandbox.run(COMMAND), times * 25)
        exec_ms = median_ms(lambda: subprocess.run(docker_exec, **QUIET), times)
    run_ms = median_ms(lambda: subprocess.run(docker_run, **QUIET), times)
    bash = bash_alone_ms(times * 25)

    print(
        f"A command's round trip      ours {ours:8.2f} ms   bash alone {bash:.2f} ms   "
        f"docker exec {exec_ms:6.1f} ms   {exec_ms / ours:.0f}x"
    )
    print(f"docker run                 {run_ms:6.1f} ms, which runs one command")


if __name__ == "__main__":
    sys.exit(main())

"""Load time and memory of 5,000 synthetic trajectories, 270 MB of text.

    python benchmarks/trajectories.py

Each has 27 steps with observations of 2,000 characters.

The file is written by another process, so that this one's memory is what loading costs.
Memory is the growth of the resident set; "peak" is the highest it stood while loading.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import random
import resource
import string
import tempfile
import time
from pathlib import Path

from srl_envs.data import load_trajectories


def write(path: Path, count: int, steps: int, characters: int) -> None:
    """Write the trajectories, each with texts of its own."""
    generator = random.Random(0)
    alphabet = string.ascii_letters + string.digits + "  \n"
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            text = "".join(generator.choices(alphabet, k=characters))
            turns = [
                {"action": f"sed -n {k}p file_{i}.py", "observation": f"{k:06d}{text[6:]}"}
                for k in range(steps)
            ]
            file.write(
                json.dumps({"id": str(i), "prompt": f"Issue {i}", "domain": "swe", "steps": turns})
                + "\n"
            )


def resident_bytes() -> int:
    """This process's resident set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trajectories", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=27)
    parser.add_argument("--characters", type=int, default=2000, help="characters of an observation")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trajectories.jsonl"
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(path, arguments.trajectories, arguments.steps, arguments.characters)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the file could not be written")
        gc.collect()
        before = resident_bytes()
        start = time.perf_counter()
        trajectories = load_trajectories("jsonl", path=path)
        loaded = time.perf_counter()
        after = resident_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    indexing = time.perf_counter()
    instances = trajectories.instances("all_but_last")
    indexed = time.perf_counter()
    walked = sum(len(instance.expert_action) > 0 for instance in instances)
    done = time.perf_counter()
    everything = trajectories.instances("all")
    raw = sum(
        len(one.id)
        + len(one.prompt)
        + sum(len(step.action) + len(step.observation) for step in one.steps)
        for one in trajectories
    )

    print(f"{len(trajectories):,} trajectories, {raw / 1e6:.0f} MB of raw text")
    print("| | value | limit |\n|---|---|---|")
    print(f"| load | {loaded - start:.1f} s | |")
    print(f"| memory / raw text | {(after - before) / raw:.2f} | 1.3 |")
    print(f"| peak memory / raw text | {(peak - before) / raw:.2f} | |")
    print(f"| instances, last step left out / all | {len(instances):,} / {len(everything):,} | |")
    print(f"| index them | {(indexed - indexing) * 1000:.1f} ms | |")
    print(f"| read {walked:,} of them | {done - indexed:.2f} s | |")


if __name__ == "__main__":
    main()

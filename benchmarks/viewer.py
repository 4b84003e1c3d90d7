"""How quick the viewer is on a long run: 134,000 steps and more than a million rollouts.

    python -m benchmarks.viewer                     (some minutes on 2 CPU cores)
    python -m benchmarks.viewer --steps 2000        (a smaller run)

Writes such a run with the code that training writes with, starts
``python -m srl_agent.view`` on it, and measures the time until its first page is there, each
view (median and slowest of several), and the memory of the viewer. Aims: the first page
within 2 s of the command, each other page within 200 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup
from srl_agent.rollouts.rollout_log import RolloutLog
from srl_envs import load_trajectories
from srl_envs.instances import StepInstances
from srl_envs.reward import step_rewards

ANSWERS = 8
LEVELS, PER_LEVEL = 20, 100  # groups that are scored; the run draws from them
_MALFORMED = ("no block at all", "<think>never closed", "<think>a</think>")


def synthetic_group(
    log: RolloutLog, instances: StepInstances, number: int, skill: float, draw: random.Random
) -> RolloutGroup:
    """A group of answers that are the expert's step, damaged the more the less the skill."""
    instance = instances[number % len(instances)]
    texts = []
    for _ in range(ANSWERS):
        if draw.random() > 0.5 + skill / 2:
            texts.append(draw.choice(_MALFORMED))
            continue
        words = instance.expert_action.split(" ")
        kept = [word if draw.random() < 0.2 + 0.8 * skill else "so" for word in words]
        texts.append(f"<think>I continue with the next step.</think>{' '.join(kept)}")
    rewards = step_rewards(texts, [instance.expert_action] * ANSWERS)
    asked = log.asked(instance, texts, rewards)
    assert asked is not None
    completions = [[0] * (len(text) // 4) for text in texts]
    return RolloutGroup([0], completions, rewards, asked=asked)


def write_run(run: Path, steps: int) -> tuple[int, int]:
    """A run of that many steps; how many groups and bytes its log of rollouts has."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("method: srl\nmodel_name_or_path: synthetic\nseed: 0\n")
    log = RolloutLog(run, "all", 4 * 2**30)
    instances = load_trajectories("builtin", count=170).instances("all")
    draw = random.Random(0)
    pool = [
        [
            synthetic_group(log, instances, number, level / LEVELS, draw)
            for number in range(PER_LEVEL)
        ]
        for level in range(LEVELS)
    ]
    with (run / "metrics.jsonl").open("w") as metrics:
        for step in range(1, steps + 1):
            skill = step / (step + steps / 4)
            group = draw.choice(pool[int(skill * LEVELS)])
            assert group.asked is not None
            named = replace(group.asked, id=f"{group.asked.id}-{draw.randrange(steps // 20 + 1)}")
            group = replace(group, asked=named)
            batch = FilledBatch(1, rounds=1)
            (batch.kept if group.spread > 1e-3 else batch.dropped).append(group)
            log.write(batch, step, scale=True, min_std=1e-3)
            metrics.write(json.dumps(_figures(step, group, batch)) + "\n")
    size = sum(path.stat().st_size for path in log.folder.iterdir())
    return steps, size


def _figures(step: int, group: RolloutGroup, batch: FilledBatch) -> dict[str, float | str]:
    mean = statistics.fmean(group.values)
    time_of = {f"time/{name}": 0.1 for name in ("generation", "reward", "forward", "backward")}
    return {
        **{"kind": "train", "step": step, "reward": mean, "reward_all": mean, "loss": 0.01},
        **{"reward_std": group.spread, "groups_kept": len(batch.kept), "grad_norm": 0.5},
        **{"groups_dropped": len(batch.dropped), "format_rate": 0.9, "similarity": 0.5},
        **{"completions/mean_length": 40.0, "completions/max_length": 80.0, **time_of},
        **{f"malformed/{kind}": 0.02 for kind in ("no_think", "unclosed_think", "empty_action")},
    }


VIEWS = {
    "run, curves and instances": "/run/long",
    "instances by spread, page 20": "/run/long?sort=-spread&page=20",
    "groups, newest first": "/run/long/groups",
    "groups, dropped": "/run/long/groups?fate=dropped",
    "groups, one kind, by mean": "/run/long/groups?kind=no_think&sort=mean",
    "groups, page 2000": "/run/long/groups?page=2000",
    "groups, title search": "/run/long/groups?search=product",
    "groups, text search": "/run/long/groups?text=hours",
    "group": "/run/long/group/train.{middle}.0",
}


def measure(run: Path, steps: int) -> Iterator[tuple[str, float, float, float]]:
    """What was measured: median, slowest and processor time in milliseconds (memory in MB)."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "srl_agent.view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        try:
            assert viewer.stdout is not None
            address = viewer.stdout.readline().strip().rstrip("/")
            _get(address + "/run/long")
            first, process = (time.perf_counter() - began) * 1000, psutil.Process(viewer.pid)
            yield "command to first page", first, first, _cpu(process)
            while b"still being read" in _get(address + "/run/long"):
                time.sleep(0.1)
            ready = (time.perf_counter() - began) * 1000
            yield "command to all groups indexed", ready, ready, _cpu(process)
            for name, path in VIEWS.items():
                times, before = [], _cpu(process)
                for number in range(7):
                    middle = max(1, steps // 2 + number)
                    begin = time.perf_counter()
                    _get(address + path.format(middle=middle))
                    times.append((time.perf_counter() - begin) * 1000)
                each = (_cpu(process) - before) / len(times)
                yield name, statistics.median(times), max(times), each
            memory = process.memory_info().rss / 2**20
            yield "memory of the viewer (MB)", memory, memory, 0
        finally:
            viewer.terminate()


def _cpu(process: psutil.Process) -> float:
    """Milliseconds of processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system) * 1000


def _get(address: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=120) as answer:
        content: bytes = answer.read()
    return content


def main() -> None:
    """Write a run, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=134_000, help="groups of 8 (default 134000)")
    parser.add_argument("--keep", type=Path, help="a folder for the run, used again if it is there")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    try:
        run = folder / "long"
        if not run.is_dir():
            begin = time.perf_counter()
            groups, size = write_run(run, arguments.steps)
            seconds = time.perf_counter() - begin
            each = seconds / groups * 1000
            print(
                f"{groups * ANSWERS:,} rollouts in {groups:,} groups: {size / 2**20:.0f} MB on"
                f" disk, made in {seconds:.0f} s ({each:.2f} ms a group)\n"
            )
        print(f"| {'measured':<30} | median | slowest |    CPU |")
        print(f"|{'-' * 32}|-------:|--------:|-------:|")
        for name, median, slowest, cpu in measure(run, arguments.steps):
            print(f"| {name:<30} | {median:6.0f} | {slowest:7.0f} | {cpu:6.0f} |", flush=True)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()

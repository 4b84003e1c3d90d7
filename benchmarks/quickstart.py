"""Print the quick start's three points and paired differences, as the README shows them.

# Run it: about a quarter of an hour on 2 cores.
python benchmarks/quickstart.py
# Read a finished run; --record NAME copies its figures to benchmarks/results/NAME/.
python benchmarks/quickstart.py --run runs/mine
# Its steps on a calm machine and beside another job, with OpenMP's threads waiting and spinning.
python benchmarks/quickstart.py --busy 2
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

RESULTS = Path(__file__).parent / "results"
RECORDED = (
    "summary.json",
    "metrics.jsonl",
    "environment.json",
    "config.yaml",
    "plots/reward.png",
    "plots/similarity.png",
)

# As a user starts it, OMP_WAIT_POLICY is PASSIVE; with torch first, it comes too late.
PASSIVE = "from srl_agent.train import main; raise SystemExit(main())"
DEFAULT = f"import torch; {PASSIVE}"
SHORT = {
    "format_warmup_steps": 0,
    "prompts_per_step": 1,
    "per_device_train_batch_size": 8,
    "max_completion_length": 16,
    "dynamic_sampling": "false",  # the same number of answers in each run
    "require_think": "false",
    "eval_strategy": "no",
    "save_strategy": "no",
    "test_instances": 2,
    "disable_tqdm": "true",
}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, help="a finished run folder; without it the quick start is run"
    )
    parser.add_argument(
        "--record",
        metavar="NAME",
        help="copy summary, metrics, environment, config and two plots to benchmarks/results/NAME",
    )
    parser.add_argument(
        "--busy",
        type=int,
        metavar="STEPS",
        help="only time this many steps: calm, beside another job, and there with spinning threads",
    )
    arguments = parser.parse_args()
    if arguments.busy:
        times = busy_times(arguments.busy)
        print_times(times)
        if arguments.record:
            (RESULTS / arguments.record).mkdir(parents=True, exist_ok=True)
            text = json.dumps(times, indent=1)
            (RESULTS / arguments.record / "busy.json").write_text(text + "\n")
        return 0
    run = arguments.run
    if run is None:
        from srl_agent.train import main as train

        run = Path(tempfile.mkdtemp(prefix="srl-quickstart-")) / "run"
        if status := train(["--output_dir", str(run)]):
            return status
    if not (run / "summary.json").is_file():
        print(f"error: {run} holds no finished run (no summary.json)", file=sys.stderr)
        return 1
    print_table(run)
    if arguments.record:
        target = RESULTS / arguments.record
        target.mkdir(parents=True, exist_ok=True)
        for name in RECORDED:
            shutil.copy(run / name, target / Path(name).name)
    return 0


def busy_times(steps: int) -> dict[str, object]:
    """Seconds a step of three short runs, with the machine's load before each."""
    runs: dict[str, object] = {"cpu_cores": os.cpu_count(), "steps": steps}
    for name, start, jobs in (
        ("calm, threads wait (PASSIVE)", PASSIVE, 0),
        ("busy, threads wait (PASSIVE)", PASSIVE, 1),
        ("busy, threads spin (OpenMP's default)", DEFAULT, 1),
    ):
        load = os.getloadavg()[0]
        with other_jobs(jobs):
            runs[name] = {"seconds": step_seconds(start, steps), "load_before": round(load, 2)}
    return runs


@contextmanager
def other_jobs(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    jobs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def step_seconds(start: str, steps: int) -> list[float]:
    """The seconds of each step of a short quick start."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    with tempfile.TemporaryDirectory(prefix="srl-busy-") as folder:
        settings = {**SHORT, "max_steps": steps, "output_dir": f"{folder}/run"}
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        subprocess.run([sys.executable, "-c", start, *flags], check=True, env=environment)
        rows = map(json.loads, Path(folder, "run", "metrics.jsonl").read_text().splitlines())
        return [round(row["step_time"], 2) for row in rows if row["kind"] == "train"]


def print_times(times: dict[str, object]) -> None:
    """The runs' seconds a step as Markdown, each against the first."""
    runs = {name: run for name, run in times.items() if isinstance(run, dict)}
    calm = fmean(next(iter(runs.values()))["seconds"])
    print(f"\n{times['steps']} steps each on {times['cpu_cores']} cores\n")
    print("| run | seconds a step | against calm | load before |\n|---|---|---|---|")
    for name, run in runs.items():
        mean = fmean(run["seconds"])
        print(f"| {name} | {mean:.1f} | {mean / calm:.2f} | {run['load_before']} |")


def print_table(run: Path) -> None:
    """The stages and differences of a run as Markdown."""
    summary = json.loads((run / "summary.json").read_text())
    print(
        "| stage | step | step reward | well-formed | similarity of the well-formed "
        "|\n|---|---|---|---|---|"
    )
    for stage in summary["stages"]:
        similarity = "-" if stage["similarity"] is None else f"{stage['similarity']:.3f}"
        print(
            f"| {stage['stage']} | {stage['step']} | {stage['reward']:+.3f} | "
            f"{stage['format_rate']:.0%} | {similarity} |"
        )
    for change in summary["differences"]:
        interval = f"{change['low']:+.3f} to {change['high']:+.3f}"
        print(
            f"\n{change['metric']}, {change['from']} -> {change['to']}: "
            f"{change['difference']:+.3f} (95% interval {interval}, "
            f"{change['count']} pairs)",
            end="",
        )
    print(
        f"\n\n{summary['stages'][0]['count']} held-out step instances; "
        f"the whole run took {summary['seconds']['total'] / 60:.1f} minutes."
    )


if __name__ == "__main__":
    sys.exit(main())

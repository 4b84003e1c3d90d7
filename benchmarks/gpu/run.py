"""Measure this project on a GPU, with one command.

    # All stages; results in benchmarks/results/gpu_NAME/ (gpu.json and page.md).
    python benchmarks/gpu/run.py --name h100
    # As many stages as start within nine minutes; rerun the same command for the others.
    python benchmarks/gpu/run.py --name h100 --seconds 540
    # Try all of it on a CPU, within about two minutes; the figures mean nothing.
    python benchmarks/gpu/run.py --name try --tiny --output_dir /tmp/try

A stage runs in a process of its own and takes at most nine minutes. What is done is not
repeated; a stage that failed is tried again. The quick start and the study resume where
they were stopped, so that a study of hours is made in pieces. ``--model`` names a folder
for a machine that reaches no hub; ``benchmarks/gpu/pack.sh`` packs what such a machine
lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.gpu.page import write_page  # noqa: E402
from benchmarks.quickstart import SHORT  # noqa: E402

LIMIT = 530
"""Seconds of a stage; it is then stopped."""
SIZES = ("0.5b", "1.5b", "7b")


@dataclass(frozen=True)
class Stage:
    """One piece of work.

    Attributes:
        name: Its key in the results.
        command: A Python command line.
        read: Its result once the command ended well, as JSON can hold it.
        resumes: Whether the command goes on where it was stopped.
        limit: Seconds after which it is stopped.
    """

    name: str
    command: list[str]
    read: Callable[[], Any]
    resumes: bool = False
    limit: int = LIMIT


def main() -> int:
    """Run the stages that are not done; returns 1 if one failed."""
    options = parsed()
    folder = options.output_dir or ROOT / "benchmarks" / "results" / f"gpu_{options.name}"
    work = options.work_dir or ROOT / "runs" / f"gpu_{options.name}"
    for path in (folder, work):
        path.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    stages = all_stages(options, work)
    if unknown := set(options.only) - {stage.name for stage in stages}:
        print(f"error: unknown stage {min(unknown)!r}: {', '.join(s.name for s in stages)}")
        return 2
    results = read_results(folder, options)
    for stage in stages:
        before = results["stages"].get(stage.name, {})
        if before.get("status") == "done" or (options.only and stage.name not in options.only):
            continue
        left = options.seconds - (time.monotonic() - started)
        if left < min(30, options.seconds):
            print("out of time: rerun the same command for the other stages", flush=True)
            break
        record = run_stage(stage, work, min(stage.limit, left))
        record["seconds"] += before.get("seconds", 0) if stage.resumes else 0
        results["stages"][stage.name] = record
        replace(folder / "gpu.json", json.dumps(results, indent=1) + "\n")
        replace(folder / "page.md", write_page(results))
    print(f"results: {folder / 'page.md'}")
    return int(any(record["status"] == "failed" for record in results["stages"].values()))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="of the machine, for the results' folder")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and little work")
    parser.add_argument("--only", nargs="+", default=[], metavar="STAGE", help="these stages")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="stop after so long; default: never"
    )
    parser.add_argument(
        "--model",
        default="quickstart",
        help="hub name or folder of the quick start's model, whose tokenizer serves the shapes",
    )
    parser.add_argument(
        "--study", default="gpu", help="size of the study: gpu, or a YAML file; default: gpu"
    )
    parser.add_argument("--output_dir", type=Path, help="instead of benchmarks/results/gpu_NAME")
    parser.add_argument("--work_dir", type=Path, help="logs and runs; default: runs/gpu_NAME")
    return parser.parse_args()


def all_stages(options: argparse.Namespace, work: Path) -> list[Stage]:
    """The stages in their order: what is short and tells most comes first."""
    measured = [
        measure(work, "machine", ["machine"], options),
        Stage("tests", ["-m", "pytest", "-q", "-m", "gpu", *gpu_tests()], test_counts(work)),
        quick_start(options, work),
    ]
    sizes = ["tiny"] if options.tiny else SIZES
    for size in sizes:
        for kind in ("lora", "full"):
            flags = ["trainer", "--size", size, *(["--lora"] if kind == "lora" else [])]
            measured.append(measure(work, f"trainer-{size}-{kind}", flags, options))
    measured += [
        measure(work, f"sampler-{size}", ["sampler", "--size", size], options) for size in sizes
    ]
    return [*measured, study(options, work)]


def measure(work: Path, name: str, flags: list[str], options: argparse.Namespace) -> Stage:
    output = work / f"{name}.json"
    command = ["-m", "benchmarks.gpu.measure", flags[0], str(output), *flags[1:]]
    return Stage(name, [*command, "--model", options.model], lambda: json.loads(output.read_text()))


def gpu_tests() -> list[str]:
    """The files that hold tests for a GPU."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "mark.gpu\n" in file.read_text()]


def test_counts(work: Path) -> Callable[[], dict[str, int]]:
    def read() -> dict[str, int]:
        last = (work / "tests.log").read_text().strip().splitlines()[-1]
        return {
            what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped)", last)
        }

    return read


def quick_start(options: argparse.Namespace, work: Path) -> Stage:
    run = work / "quickstart"
    flags = {"model_name_or_path": options.model, "output_dir": str(run)}
    if options.tiny:
        flags |= {name: str(value) for name, value in SHORT.items()}
        flags |= {"max_steps": "1", "num_generations": "2", "per_device_train_batch_size": "2"}
    command = [part for name, value in flags.items() for part in (f"--{name}", value)]
    return Stage(
        "quickstart",
        ["-m", "srl_agent.train", *command],
        lambda: json.loads((run / "summary.json").read_text()),
        resumes=True,
    )


def study(options: argparse.Namespace, work: Path) -> Stage:
    run = work / "study"
    size = str(tiny_study(work, options.model)) if options.tiny else options.study
    return Stage(
        "study",
        ["-m", "benchmarks.study", "--size", size, "--output_dir", str(run)],
        lambda: {"table": (run / "table.md").read_text()},
        resumes=True,
        limit=20 if options.tiny else LIMIT,
    )


def tiny_study(work: Path, model: str) -> Path:
    """The GPU's size of the study with little work."""
    import yaml

    size = yaml.safe_load((ROOT / "benchmarks" / "study" / "gpu.yaml").read_text())
    size |= {"model_name_or_path": model, "seeds": 1, "steps": 2}
    size["training"] |= {"source": "builtin", "count": 170, "held_out": 20, "targets": "all"}
    size["training"] |= {"bf16": False, "gradient_checkpointing": False, "require_think": False}
    size["training"] |= {"prompts_per_step": 2, "num_generations": 2, "max_prompt_length": 1024}
    size["training"] |= {"per_device_train_batch_size": 2, "max_sampling_rounds": 2}
    for part in ("srl", "one_step", "rlvr"):
        size[part] |= {"max_completion_length": 72}
    size["sft"] |= {"max_completion_length": 400}
    for part in ("warmup_solutions", "warmup_steps"):
        size[part] |= {"prompts_per_step": 2, "max_steps": 1, "max_completion_length": 400}
    size["scores"] |= {"questions": 8, "gsm8k": 8, "step_tokens": 72, "answer_tokens": 72}
    size["scores"] |= {"dtype": "float32"}
    path = work / "tiny.yaml"
    path.write_text(yaml.safe_dump(size))
    return path


# ---------------------------------------------------------------- one stage


def run_stage(stage: Stage, work: Path, limit: float) -> dict[str, Any]:
    """Run a stage's command to its end or to its limit: its status, seconds and result."""
    print(f"{stage.name} ...", end=" ", flush=True)
    started, log = time.monotonic(), work / f"{stage.name}.log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *inherited()])}
    with log.open("a") as output:
        child = subprocess.Popen(
            [sys.executable, *stage.command],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = ended(child, limit)
        except KeyboardInterrupt:
            stopped(child)
            raise
    record: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1)}
    if status == 0:
        record |= {"status": "done", "result": stage.read()}
    elif status is None and stage.resumes:
        record["status"] = "in progress"
    else:
        why = f"stopped after {limit:.0f} s" if status is None else last_line(log)
        record |= {"status": "failed", "error": why}
    print(f"{record['status']}, {record['seconds']:.0f} s", flush=True)
    return record


def inherited() -> list[str]:
    return [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []


def ended(child: subprocess.Popen[bytes], limit: float) -> int | None:
    """The exit status of a process; None if it had to be stopped."""
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        stopped(child)
        return None


def stopped(child: subprocess.Popen[bytes]) -> None:
    """End a process: it may write a checkpoint first."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(25)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["nothing was printed"])[-1]


def read_results(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What earlier calls found, or an empty record."""
    path = folder / "gpu.json"
    empty = {"name": options.name, "tiny": options.tiny, "model": options.model, "stages": {}}
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else empty
    if found["tiny"] != options.tiny:
        raise SystemExit(f"error: {path} was measured with other settings: use another --name")
    return found


def replace(path: Path, text: str) -> None:
    """Write a file whole."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())

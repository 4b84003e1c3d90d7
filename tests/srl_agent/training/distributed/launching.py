"""Starts real processes that train a tiny model, several runs a launch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SETTINGS: dict[str, Any] = {
    "require_think": "false",
    "bf16": "false",
    "count": 170,
    "held_out": 20,
    "eval_instances": 3,
    "test_instances": 1,
    "format_warmup_steps": 0,
    "max_completion_length": 24,
    "num_generations": 4,
    "prompts_per_step": 2,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "max_steps": 2,
    "save_steps": 1,
    "eval_steps": 1,
    "disable_tqdm": "true",
}


def job(run: Path, model: Path, killed: Path | None = None, **over: Any) -> dict[str, Any]:
    """A command that trains; ``killed`` is a finished run that it resumes after step 1."""
    settings = {"model_name_or_path": model, "output_dir": run, **SETTINGS, **over}
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return {"flags": flags, "killed": killed and str(killed)}


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": path,  # DeepSpeed calls ninja
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(folder: Path, config: str, processes: int, *jobs: dict[str, Any], **more: str) -> str:
    """Run jobs on processes that accelerate starts with a config of this folder; their log."""
    plan = folder / "jobs.json"
    plan.write_text(json.dumps(jobs))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(HERE / config), "--num_processes", str(processes)),
            *("--main_process_port", "0", str(HERE / "worker.py"), str(plan)),
        ],
        env=environment(FSDP_ON_CPUS="1", **more),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {row["step"]: row for row in found if row["kind"] == kind}  # of each step
    return [last[step] for step in sorted(last)]

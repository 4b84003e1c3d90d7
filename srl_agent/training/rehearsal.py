"""A few micro-batches of a run as it is set, in a folder that is thrown away.

They show that the run works on this machine, and how long its parts take.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from srl_agent.command_line import parse_stages
from srl_agent.runs.machine_errors import explained_errors
from srl_agent.training.doctor import Finding, Place, examine
from srl_agent.training.methods import METHODS
from srl_agent.training.run import Run
from srl_envs.errors import SRLError


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a few optimizer steps of few prompts took.

    Attributes:
        rows: Of a step, over all processes.
        steps: What each step logged: ``time/<phase>`` in seconds, and
            ``completions/mean_length`` where the method samples.
        start_seconds: Until the first step: data, model, trainer.
        peak: Bytes of the GPU; None on a CPU.
    """

    rows: int
    steps: list[dict[str, float]]
    start_seconds: float
    peak: int | None

    def __str__(self) -> str:
        seconds = fmean(phases_of(step) for step in self.steps)
        memory = "" if self.peak is None else f", {self.peak / 2**30:.1f} GiB of the GPU"
        return f"{len(self.steps)} steps of {self.rows} rows, {seconds:.1f} s each{memory}"


def phases_of(step: dict[str, float]) -> float:
    """The seconds of a logged step, all phases together."""
    return sum(value for name, value in step.items() if name.startswith("time/"))


def rehearse(
    arguments: Sequence[str],
    types: Sequence[type],
    stage: int = 0,
    steps: int = 1,
    whole_sampling: bool = False,
) -> Rehearsal:
    """Train for a few steps of the fewest prompts that fill a micro-batch.

    Args:
        arguments: Of the run's command line.
        types: What it is parsed into; the first three are a run's.
        stage: Which of a curriculum; all start from the first one's model here.
        steps: How many.
        whole_sampling: Draw as many completions side by side as the run will.

    Raises:
        SRLError: What the run itself would raise.
    """
    _, before = parse_stages(types, "quickstart", list(arguments))
    args = before[stage][1][1]
    folder = Path(tempfile.mkdtemp(prefix="srl-rehearsal-"))
    flags = _flags(args, folder / "run", steps, whole_sampling)
    name, (data, args, model, *_) = parse_stages(types, "quickstart", [*arguments, *flags])[1][
        stage
    ]
    started = time.monotonic()
    try:
        with explained_errors(lambda: folder):
            logged = Run(name, data, args, model).rehearse()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    inside = sum(map(phases_of, logged))
    peak = torch.cuda.max_memory_allocated() if args.device.type == "cuda" else None
    return Rehearsal(args.rows_per_step, logged, time.monotonic() - started - inside, peak)


def dry_run(arguments: Sequence[str], types: Sequence[type]) -> bool:
    """Print what ``srl_agent.plan`` finds of this machine, then train one micro-batch.

    Args:
        arguments: Of the run's command line.
        types: As for :func:`rehearse`.

    Returns:
        Whether the run would fail.
    """
    name, stages = parse_stages(types, "quickstart", list(arguments))
    failed = False
    for number, (stage, (data, args, model, *_)) in enumerate(stages):
        found = examine(data, args, model, Place.here(), ())
        lines = list(found.findings)
        if not found.fails:
            try:
                done = rehearse(arguments, types, number)
                lines.append(Finding("training", "ok", str(done)))
            except SRLError as error:
                lines.append(Finding("training", "fails", str(error)))
        failed |= any(line.state == "fails" for line in lines)
        if args.process_index == 0:
            print("\n".join([f"stage {stage}"] * (stage != name) + [*map(str, lines)]), flush=True)
    return failed


def _flags(args: Any, folder: Path, steps: int, whole_sampling: bool) -> list[str]:
    """What makes a run short: one micro-batch a step, nothing but training."""
    samples = METHODS.named(args.method).samples
    group = int(args.num_generations) if samples else 1
    at_once = int(args.per_device_train_batch_size) * int(args.world_size)
    prompts = at_once // math.gcd(at_once, group)
    if whole_sampling and samples:
        wanted = min(int(args.rollout_rows) * int(args.world_size), int(args.rows_per_step))
        prompts *= max(1, wanted // (prompts * group))
    settings = {
        "output_dir": folder,
        "prompts_per_step": prompts,
        "max_steps": steps,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "format_warmup_steps": 0,
        "dynamic_sampling": "false",
        "log_rollouts": "none",
        "disable_tqdm": "true",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]

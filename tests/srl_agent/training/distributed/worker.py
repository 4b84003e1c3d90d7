"""One process of a launch: runs the commands of a file, one after another.

accelerate takes FSDP on CPUs for DDP, without a word. Here it is real FSDP2, over gloo.
DeepSpeed compiles an operator of its own for CPUs, for a minute. Here it uses gloo alone.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from srl_agent.train import main
from srl_agent.training.run import Run

as_accelerate_does = PartialState._prepare_backend


def with_fsdp_on_cpus(self: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    backend, kind = as_accelerate_does(self, *args, **kwargs)
    if kind == DistributedType.MULTI_CPU and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        self.device, kind = torch.device("cpu"), DistributedType.MULTI_GPU
    return backend, kind


def killed_after_step_1(whole: Path, run: Path) -> None:
    """A copy of a finished run as a kill after its first step would have left it."""
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("checkpoint-2", "final", "summary*"))
    (run / "report.html").unlink()


if __name__ == "__main__":
    if os.environ.get("FSDP_ON_CPUS"):
        PartialState._prepare_backend = with_fsdp_on_cpus
    if os.environ.get("DS_ACCELERATOR"):
        import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    rank = int(os.environ["RANK"])
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run = Path(job["flags"][job["flags"].index("--output_dir") + 1])
        if rank == 0 and job["killed"]:
            killed_after_step_1(Path(job["killed"]), run)
        if run.name != "srl":  # drawing a report takes longer than these runs, on one process
            Run._report = lambda run: None
        status = main(job["flags"])
        statuses: list[Any] = [None] * int(os.environ["WORLD_SIZE"])
        torch.distributed.all_gather_object(statuses, status)
        if any(statuses):
            sys.exit(f"{run.name} ended with {statuses}")

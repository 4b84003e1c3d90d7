"""``examples/train.slurm``, with stand-ins for SLURM's programs that start both nodes here."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from launching import HERE, environment, free_port, job

from srl_agent.training.trl.terminal import CheckpointOnInterrupt

SCRIPT = Path(__file__).parents[4] / "examples" / "train.slurm"
SRUN = """#!/bin/bash
shift
for node in 0 1; do SLURM_NODEID=$node "$@" & done
wait -n && wait -n
"""


def children(process: int) -> list[int]:
    """A process and all that it started."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    below = [int(child) for child in listed.read_text().split()] if listed.exists() else []
    return [process, *(one for child in below for one in children(child))]


@pytest.mark.slow
def test_two_nodes_write_a_checkpoint_when_their_time_is_over(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "srun": SRUN,
        "scontrol": "#!/bin/bash\necho 127.0.0.1\necho localhost\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    run = tmp_path / "run"
    long = {"max_steps": 200, "save_steps": 200, "eval_steps": 200}
    known = environment()
    known |= {
        "PATH": f"{programs}{os.pathsep}{known['PATH']}",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "CONFIG": str(HERE / "ddp.yaml"),
        "PORT": str(free_port()),
    }
    with (tmp_path / "log").open("w") as log:
        batch = subprocess.Popen(
            ["bash", str(SCRIPT), *job(run, tiny_model_dir, **long)["flags"]],
            env=known,
            stdout=log,
            stderr=log,
        )
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and '"kind": "train"' in metrics.read_text()):
        assert batch.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.1)
    for process in children(batch.pid):  # launchers and ranks: these get it from both
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if b"python" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(process, signal.SIGTERM)
    assert batch.wait(300) != 0
    log_text = (tmp_path / "log").read_text()
    assert "with a checkpoint" in log_text and "KeyboardInterrupt" not in log_text
    assert list(run.glob("checkpoint-*/trainer_state.json")), log_text[-3000:]


def test_only_a_second_ctrl_c_stops_at_once() -> None:
    noted = CheckpointOnInterrupt()
    noted.on_train_begin(None, None, None)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted.interrupted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    finally:
        noted.on_train_end(None, None, None)

"""Runs of the method ``agent`` in real sandboxes: killed there, they leave nothing, and resume."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_train import arguments, environment, losses

from srl_agent.runs.checkpoints import MANIFEST
from srl_agent.train import main


def flags(model: Path, run: Path) -> list[str]:
    settings = {
        **{"method": "agent", "sandbox": "bubblewrap", "episode_turns": 2, "system_prompt": ""},
        **{"source": "builtin_shell", "families": "rank-1", "count": 60, "held_out": 8},
        # What an untaught model writes is malformed, which costs its turns: a loss to compare.
        **{"require_think": "true", "dynamic_sampling": "false"},
        **{"use_cpu": "true", "disable_tqdm": "true", "eval_strategy": "no"},
        **{"test_instances": 1, "prompts_per_step": 1, "max_steps": 3},
    }
    return arguments(model, run, **settings)


def bwrap_below(pid: int) -> list[int]:
    """The processes of bubblewrap among all that a process has started."""
    found = []
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child] * is_bwrap(child) + bwrap_below(child)
    return found


def is_bwrap(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "bwrap"
    except OSError:
        return False


def killed_in_its_sandboxes(command: list[str], checkpoint: Path) -> list[int]:
    """Kill a run with episodes under way; the processes of the sandboxes that it held."""
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    try:
        while not ((checkpoint / MANIFEST).is_file() and (held := bwrap_below(process.pid))):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    return held


@pytest.mark.usefixtures("bubblewrap")
def test_a_run_killed_in_its_sandboxes_leaves_none_and_resumes_to_the_same_losses(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(flags(tiny_model_dir, whole)) == 0
    command = [sys.executable, "-m", "srl_agent.train", *flags(tiny_model_dir, cut)]
    held = killed_in_its_sandboxes(command, cut / "checkpoint-1")
    deadline = time.monotonic() + 300
    while any(map(is_bwrap, held)):
        assert time.monotonic() < deadline, "a sandbox outlives the killed run"
        time.sleep(0.05)
    assert not (cut / "final").exists()
    assert main(flags(tiny_model_dir, cut)) == 0
    before, after = losses(whole), losses(cut)
    assert set(after) == {1, 2, 3} and any(loss[0] for loss in before.values())
    for step, values in after.items():
        assert values == pytest.approx(before[step], rel=1e-3, abs=1e-6), step

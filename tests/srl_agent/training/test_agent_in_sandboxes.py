"""The method ``agent`` on shell tasks in real sandboxes: killed for real, it resumes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_train import arguments, environment, losses

from srl_agent.runs.checkpoints import MANIFEST
from srl_agent.train import main

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one end of an answer, so that it can learn to write commands."""
    folder = tmp_path_factory.mktemp("model") / "commands"
    shutil.copytree(tiny_model_dir, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 0}))
    return folder


def flags(model: Path, run: Path) -> list[str]:
    warm_up = {"format_warmup_steps": 80, "warmup_learning_rate": 1e-2}
    episodes = {"episode_turns": 2, "max_completion_length": 96, "temperature": 0.3}
    tasks = {"source": "builtin_shell", "families": "rank-1", "count": 60, "held_out": 8}
    small = {"test_instances": 1, "prompts_per_step": 1, "eval_strategy": "no", "max_steps": 3}
    return arguments(
        model,
        run,
        **{"method": "agent", "sandbox": "bubblewrap", "system_prompt": ""},
        **{"use_cpu": "true", "disable_tqdm": "true", "dynamic_sampling": "false"},
        **{"require_think": "true", **warm_up, **episodes, **tasks, **small},
    )


def episodes_of(run: Path) -> list[dict[str, object]]:
    path = run / "episodes-0.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_run_killed_in_its_sandboxes_resumes_to_the_same_losses(
    model: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(flags(model, whole)) == 0
    turns = [turn for episode in episodes_of(whole) for turn in episode["turns"]]  # type: ignore[attr-defined]
    assert any("<returncode>" in turn["observation"] for turn in turns), "a command has run"
    command = [sys.executable, "-m", "srl_agent.train", *flags(model, cut)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    while process.poll() is None and not (cut / "checkpoint-1" / MANIFEST).is_file():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "final").exists()
    assert main(flags(model, cut)) == 0
    before, after = losses(whole), losses(cut)
    assert set(after) == {1, 2, 3} and any(loss[0] for loss in before.values())
    for step, values in after.items():
        assert values == pytest.approx(before[step], rel=1e-3, abs=1e-6), step

"""The example of a plugin, installed as a user would, and trained with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[3] / "examples" / "plugin"

USES = """
import gymnasium, json, sys
from srl_envs import StepInstance, load_trajectories
from srl_envs.prompts.step import STEPS_SYSTEM_PROMPT
assert "srl_walks" not in sys.modules, "imported before it is needed"
walk = load_trajectories("walks", count=4, limit=1)[0]
instance = StepInstance(walk, 1)
assert instance.messages[0]["content"] == STEPS_SYSTEM_PROMPT
assert instance.scored("I go north. -> north 7 and so on") == "-> north 7"
env = gymnasium.make("SRL-Steps-v0", source="walks")
observation, info = env.reset(seed=1)
print(json.dumps(env.step("<think>x</think>\\nGo! " + info["expert_action"])[1]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that finds the plugin; what is installed here stays as it is."""
    folder = tmp_path_factory.mktemp("plugin")
    source, site = folder / "source", folder / "site"
    shutil.copytree(PLUGIN, source)  # a build leaves files beside it
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    install += ["--no-build-isolation", "--no-index", "--target", str(site), str(source)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    once = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **once, "PYTHONPATH": path}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


def test_it_is_under_60_lines() -> None:
    lines = [line for file in PLUGIN.iterdir() if file.is_file() for line in file.open()]
    assert 0 < len(lines) < 60


def test_an_installed_plugin_serves_the_environment(environment: dict[str, str]) -> None:
    done = python(environment, "-c", USES)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == 1.0, "of a command, prose does not count"


@pytest.mark.slow
def test_its_names_are_on_the_command_lines(environment: dict[str, str]) -> None:
    replay = python(environment, "-m", "srl_envs.replay", "--help").stdout
    train = python(environment, "-m", "srl_agent.train", "--help").stdout
    assert "walks" in replay and "docker" in replay
    assert "walks" in train and "same_move" in train
    wrong = python(environment, "-m", "srl_agent.train", "--source", "walk")
    assert wrong.returncode == 1 and "Unknown source 'walk': use one of builtin" in wrong.stderr
    assert "walks" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_it_is_trained_with(
    environment: dict[str, str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings: dict[str, object] = {
        "model_name_or_path": tiny_model_dir,
        "output_dir": run,
        "source": "walks",
        "reward": "same_move",
        "require_think": "false",
        "dynamic_sampling": "false",
        "bf16": "false",
        "use_cpu": "true",
        "count": 60,
        "held_out": 8,
        "eval_instances": 4,
        "test_instances": 4,
        "format_warmup_steps": 1,
        "max_completion_length": 24,
        "num_generations": 4,
        "prompts_per_step": 2,
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "save_steps": 1,
        "eval_steps": 1,
    }
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    done = python(environment, "-m", "srl_agent.train", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("kind") == "train" for row in rows) == 2
    samples = (run / "samples" / "base-0.jsonl").read_text()
    assert "-> " in samples and "math" not in samples

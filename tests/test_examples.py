"""The scripts in examples/ run as they are, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRINTED = {
    "compare_two_runs.py": "second run minus first: ",
    "environment_with_your_policy.py": "expert: mean step reward +1.000",
    "score_with_another_trainer.py": "copied: mean reward +1.000\n",
}

WITH_ARGUMENTS = {
    "evaluate_a_server.py",
    "swe_episode_in_a_sandbox.py",
    "train_on_your_jsonl.py",
}


def test_every_example_is_run_and_short() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert {script.name for script in scripts} == PRINTED.keys() | WITH_ARGUMENTS
    for script in scripts:
        assert len(script.read_text(encoding="utf-8").splitlines()) < 60, script.name


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert PRINTED[name] in run.stdout


def test_comparing_a_folder_that_is_not_a_run_says_what_to_name(tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "compare_two_runs.py")
    command = [sys.executable, script, str(tmp_path), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "--output_dir of a finished training run" in run.stderr


@pytest.mark.slow
def test_training_on_a_jsonl_file(tiny_model_dir: Path, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "train_on_your_jsonl.py")
    flags = ["--model_name_or_path", str(tiny_model_dir), "--max_completion_length", "16"]
    run = subprocess.run(
        [sys.executable, script, *flags], capture_output=True, text=True, cwd=tmp_path
    )
    assert (tmp_path / "runs" / "your_jsonl" / "solutions.jsonl").is_file()
    assert "held-out step reward" in run.stderr


def test_a_server_must_be_named() -> None:
    script = str(ROOT / "examples" / "evaluate_a_server.py")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.returncode == 1 and "BASE_URL" in run.stderr


@pytest.mark.docker
@pytest.mark.slow
def test_an_episode_in_a_sandbox(base_image: str) -> None:
    script = str(ROOT / "examples" / "swe_episode_in_a_sandbox.py")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "<function=submit>" in run.stdout and "Observation:" in run.stdout

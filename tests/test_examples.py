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


def test_every_example_is_run_and_short() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert [script.name for script in scripts] == sorted(PRINTED)
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

"""The table of benchmarks/profile.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import profile


def test_differences_are_paired_by_seed_and_step() -> None:
    options = profile.parser().parse_args(["--seeds", "2", "--tokens", "1000"])
    gains = {"selection": 0.3, "dynamic sampling": 0.2, "neither": 0.1}
    hard, easy = -0.5, 0.5
    results = [
        profile.Result(arm, seed, [hard + gain, easy + gain], 10 + seed, 1000, 7)
        for seed in range(2)
        for arm, gain in gains.items()
    ]
    text = profile.report(results, [hard, easy] * 2, options)
    assert "2 held-out steps with 4 answers each" in text
    assert "| selection | +0.300 (-0.200 to +0.800) | 10 | 1,000 | 7 |" in text
    assert "| neither | +0.200 (+0.200 to +0.200) | +0.200, +0.200 |" in text


def test_the_script_does_not_hide_the_standard_library() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "profile.py"
    run = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert run.returncode == 0 and "--profiled" in run.stdout, run.stderr

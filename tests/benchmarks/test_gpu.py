"""What is measured on a GPU runs on a CPU too, and what is done is not repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAGES = {"machine", "tests", "quickstart", "trainer-tiny-lora", "trainer-tiny-full"}
STAGES |= {"sampler-tiny", "study"}


def measured(folder: Path, *flags: str) -> tuple[int, str, dict[str, Any]]:
    """The exit status, what was printed, and the results of a call."""
    command = [sys.executable, "benchmarks/gpu/run.py", "--name", "try", "--tiny"]
    command += ["--output_dir", str(folder / "results"), "--work_dir", str(folder / "work")]
    done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True)
    path = folder / "results" / "gpu.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return done.returncode, done.stdout + done.stderr, found


@pytest.mark.slow
def test_all_stages_run_on_a_cpu(tiny_model_dir: Path, tmp_path: Path) -> None:
    status, printed, found = measured(tmp_path, "--model", str(tiny_model_dir))
    stages = found["stages"]
    assert status == 0, printed
    assert set(stages) == STAGES
    assert {name for name, stage in stages.items() if stage["status"] == "done"} >= (
        STAGES - {"study"}  # which is made in pieces
    )
    for kind in ("lora", "full"):
        result = stages[f"trainer-tiny-{kind}"]["result"]
        assert result["plan"]["peak"] == pytest.approx(result["ours"]["peak"], rel=0.15)
        for trainer in ("stock", "ours"):
            assert result[trainer]["completion_tokens_a_second"] > 0
            assert 0 < result[trainer]["mfu"] < 1
    assert set(stages["sampler-tiny"]["result"]["tokens_a_second"]) >= {"ours", "generate"}
    page = (tmp_path / "results" / "page.md").read_text()
    assert "the figures mean nothing" in page and "plan / measured" in page

    children = tmp_path / "work" / "study" / "children.jsonl"
    before = children.read_text() if children.is_file() else ""
    _, printed, after = measured(tmp_path, "--model", str(tiny_model_dir))
    assert "study ..." in printed or stages["study"]["status"] == "done"
    assert "machine ..." not in printed and "quickstart ..." not in printed
    assert after["stages"]["machine"] == stages["machine"]
    assert after["stages"]["study"]["seconds"] >= stages["study"]["seconds"]
    assert children.read_text().startswith(before)


def test_a_stage_that_fails_is_reported_and_tried_again(tmp_path: Path) -> None:
    flags = ["--model", str(tmp_path / "absent"), "--only", "sampler-tiny"]
    for _ in range(2):
        status, printed, found = measured(tmp_path, *flags)
        assert status == 1 and "sampler-tiny ... failed" in printed
        assert "absent" in found["stages"]["sampler-tiny"]["error"]
    status, printed, _ = measured(tmp_path, "--only", "sampling")
    assert status == 2 and "unknown stage 'sampling'" in printed and "sampler-tiny" in printed

"""OpenMP's threads are said to wait before torch is imported, wherever a user starts something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCHED = """
import importlib.abc, os, runpy, sys

class Torch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print("torch sees", os.environ.get("OMP_WAIT_POLICY"))
            os._exit(0)

sys.meta_path.insert(0, Torch())
what = sys.argv.pop(1)
sys.argv[1:] = ["--help"]
if what.endswith(".py"):
    runpy.run_path(what, run_name="watched")
else:
    runpy.run_module(what, run_name="__main__")
"""
STARTED = [
    *(
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "benchmarks").rglob("*.py"))
        if 'if __name__ == "__main__"' in path.read_text() and path.name != "__main__.py"
    ),
    *("benchmarks.study", "srl_agent.train", "srl_agent.evaluate"),
]


@pytest.mark.parametrize(
    ("what", "own"), [*((what, None) for what in STARTED), ("srl_agent.train", "ACTIVE")]
)
def test_threads_wait_unless_the_user_says_otherwise(what: str, own: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, what],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if "torch sees" in done.stdout:
        assert f"torch sees {own or 'PASSIVE'}" in done.stdout

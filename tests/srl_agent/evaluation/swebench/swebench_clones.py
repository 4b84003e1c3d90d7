"""Helpers of the tests of SWE-bench: git as a user runs it, and instances of the repository that
the fixture ``clones`` makes.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from srl_agent.evaluation.swebench.instances import SweBenchInstance

IDENTITY = (
    "-c",
    "user.name=Tester",
    "-c",
    "user.email=tester@example.org",
    "-c",
    "core.autocrlf=false",
    "-c",
    "commit.gpgSign=false",
)


def run_git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *IDENTITY, *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "replace").strip()


def instance_at(clone: Path, revision: str, **changes: str) -> SweBenchInstance:
    """An instance of ``acme/tool``."""
    values = {
        "instance_id": "acme__tool-1",
        "repo": "acme/tool",
        "base_commit": run_git(clone, "rev-parse", revision),
        "problem_statement": "VALUE should be 3.",
        "patch": (
            "diff --git a/src/tool.py b/src/tool.py\n--- a/src/tool.py\n+++ "
            "b/src/tool.py\n@@ -1 +1 @@\n-VALUE = 1\n+VALUE = 3\n"
        ),
        "test_patch": "",
        **changes,
    }
    return SweBenchInstance(**values, fail_to_pass=("test_tool.py::test_value",), pass_to_pass=())

"""The built-in tasks as instances in SWE-bench's format.

They put the real harness to the test without an image registry.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from srl_envs.sandbox import DockerSandbox
from srl_envs.swe.tasks import SweTask, base_tree, fixed_test_files, gold_patch, load_tasks
from srl_envs.swe.tasks.images import cache_folder, task_image

_EVAL_SCRIPT = """#!/bin/bash
set -uxo pipefail
cd /testbed
git config --global --add safe.directory /testbed
git status
git apply -v - <<'EOF_114329324912'
{test_patch}
EOF_114329324912
: '>>>>> Start Test Output'
{test_command}
: '>>>>> End Test Output'
"""


def builtin_id(task: SweTask) -> str:
    """The id of a task as an instance."""
    return f"{task.package}__{task.package}-{task.id}"


def builtin_row(task: SweTask) -> dict[str, Any]:
    """A task as a row that the harness takes; its image is built where the engine does not hold it.

    Raises:
        SandboxError: The engine or the base image is missing.
        InfrastructureError: The package index cannot be reached.
    """
    image = task_image(task)
    with DockerSandbox(image) as sandbox:
        commit = sandbox.run("git -C /testbed rev-parse HEAD").output.strip()
    test_patch = make_test_patch(task)
    return {
        "instance_id": builtin_id(task),
        "repo": f"{task.package}/{task.package}",
        "base_commit": commit,
        "problem_statement": task.issue,
        "hints_text": "",
        "created_at": "2000-01-01T00:00:00Z",
        "version": task.base_version,
        "patch": gold_patch(task, cache_folder()),
        "test_patch": test_patch,
        "FAIL_TO_PASS": json.dumps(task.fail_to_pass),
        "PASS_TO_PASS": json.dumps(task.pass_to_pass),
        "environment_setup_commit": commit,
        "difficulty": "built-in",
        "image": image,
        "eval_script": _EVAL_SCRIPT.format(test_patch=test_patch, test_command=task.test_command),
        "log_parser": "parse_log_pytest",
        "eval_type": "pass_and_fail",
    }


def build_images(instance_ids: Collection[str]) -> None:
    """Build the images of built-in instances that the engine does not hold.

    Raises:
        SandboxError: The engine or the base image is missing.
        InfrastructureError: The package index cannot be reached.
    """
    for task in load_tasks() if instance_ids else ():
        if builtin_id(task) in instance_ids:
            task_image(task)


def make_test_patch(task: SweTask) -> str:
    """The hidden tests as a patch of the base release."""
    import git

    with tempfile.TemporaryDirectory(prefix="srl-test-patch-") as scratch:
        tree = base_tree(task, cache_folder(), Path(scratch) / "tree")
        repository = git.Repo.init(tree)
        repository.git.add("-A", "-f")
        repository.git.execute(
            [
                "git",
                "-c",
                "user.name=srl",
                "-c",
                "user.email=srl@localhost",
                "-c",
                "commit.gpgSign=false",
                "commit",
                "-q",
                "-m",
                "base",
            ]
        )
        for path, content in fixed_test_files(task, cache_folder()).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        repository.git.add("-A", "-f")
        return str(
            repository.git.diff("--cached", "--binary", "HEAD", strip_newline_in_stdout=False)
        )

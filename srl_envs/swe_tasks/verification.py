"""Does a patch solve a built-in task? Judged by hidden tests in a fresh sandbox that no model ever touched.

The patch is applied without its changes to tests and to what steers them (``conftest.py``, ``pytest.ini``, ``tox.ini``), then the hidden tests are
written over whatever stands there. The patched code and its tests share a process, as in SWE-bench: code that set out to forge the test report could.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from srl_envs.sandbox import Sandbox
from srl_envs.swe_tasks import SweTask, fixed_test_files, load_task
from srl_envs.swe_tasks.images import cache_folder, task_image
from srl_envs.trajectory import Trajectory

_TIMEOUT_S = 300.0
_PATCH = "/tmp/model.patch"
_STEERING = ("conftest.py", "pytest.ini", ".pytest.ini", "tox.ini")
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hidden tests say of a patch.

    Attributes:
        resolved: The patch applies, all tests that the bug failed pass, and all that passed before still do.
        applied: The patch applies; an empty one does.
        failing: Node ids of the tests that should pass and do not; empty if resolved.
        log: Output of ``git apply`` if it failed, else of the tests.
    """

    resolved: bool
    applied: bool
    failing: tuple[str, ...]
    log: str


def verify_patch(trajectory: Trajectory, patch: str, make_sandbox: Callable[[str], Sandbox]) -> bool | None:
    """Whether a patch resolves a trajectory's built-in task; None if it belongs to none.

    Raises:
        SandboxError: The machinery failed: that is no verdict.
    """
    if "task" not in trajectory.metadata:
        return None
    task = load_task(str(trajectory.metadata["task"]))
    sandbox = make_sandbox(task_image(task))
    try:
        return judge(task, patch, sandbox).resolved
    finally:
        sandbox.close()


def judge(task: SweTask, patch: str, sandbox: Sandbox) -> Verdict:
    """Judge a patch in a clean sandbox of the task's image.

    Raises:
        SandboxError: The machinery failed, or the tests did not end in five minutes on a loaded machine: that is no verdict.
    """
    wanted = (*task.fail_to_pass, *task.pass_to_pass)
    if patch.strip():
        sandbox.write_file(_PATCH, patch)
        excluded = [*task.test_files, *(f"**/{name}" for name in _STEERING), *_STEERING]
        exclude = " ".join(f"--exclude='{path}'" for path in excluded)
        applied = sandbox.run(f"cd {sandbox.workdir} && git apply --whitespace=nowarn {exclude} {_PATCH}")
        if applied.exit_code:
            return Verdict(False, False, wanted, applied.output)
    for path, content in fixed_test_files(task, cache_folder()).items():
        sandbox.write_file(f"{sandbox.workdir}/{path}", content)
    run = sandbox.run(f"cd {sandbox.workdir} && {task.test_command}", timeout=_TIMEOUT_S)
    summary = run.output.rpartition("short test summary info")[2]
    passed = {test for outcome, test in _OUTCOME.findall(summary) if outcome in ("PASSED", "XFAIL")}
    failing = tuple(test for test in wanted if test not in passed)
    return Verdict(not failing, True, failing, run.output)

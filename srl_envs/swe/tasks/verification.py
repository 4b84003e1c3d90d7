"""Whether a patch solves a built-in task, judged by hidden tests in a fresh sandbox.

The patch is applied without its changes to tests and to whatever else steers the test
run (:mod:`srl_envs.swe.tasks.steering` has the rule), then the hidden tests are written
over whatever stands there. The patched code and its tests share a process, as in
SWE-bench: code that sets out to forge the test report could.

This is the outcome reward of training, and not the swebench harness, by which
:mod:`srl_agent.evaluation.swebench.harness` judges: a policy in training looks for
whatever raises its reward, so what steers the tests is left out here, where SWE-bench
applies a patch whole; a verdict is wanted in seconds, from a sandbox of the pool; and
this package installs without the harness. Both take image, hidden tests, test command
and the tests that must pass from the same :class:`~srl_envs.swe.tasks.tasks.SweTask`,
and a test of the project holds their verdicts side by side.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from srl_envs.sandbox import Sandbox, SandboxFileError
from srl_envs.swe.tasks import SweTask, fixed_test_files, load_task
from srl_envs.swe.tasks.images import cache_folder, task_image
from srl_envs.swe.tasks.steering import steers
from srl_envs.trajectory import Trajectory

_TIMEOUT_S = 300.0
_PATCH, _CHANGED, _STEERING = "/tmp/model.patch", "/tmp/changed", "/tmp/steering"
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.MULTILINE)

# git alone reads the patch, so that no other reading of it can differ. In the index a renamed file
# is one that goes and one that comes, each with its path.
_READ = (
    f"git apply --cached --whitespace=nowarn {_PATCH} && "
    f"git diff --cached --no-renames --name-only -z HEAD > {_CHANGED}"
)
_APPLY = f"""if [ -s {_STEERING} ]; then
  git --literal-pathspecs reset -q --pathspec-from-file={_STEERING} --pathspec-file-nul; fi &&
git diff --cached --no-renames --binary --no-ext-diff --no-textconv HEAD > {_PATCH} &&
git read-tree HEAD &&
if [ -s {_PATCH} ]; then git apply --whitespace=nowarn {_PATCH}; fi"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hidden tests say of a patch.

    Attributes:
        resolved: The patch applies, all tests that the bug failed pass, and all that
            passed before still do.
        applied: The patch applies; an empty one does.
        failing: Node ids of the tests that should pass and do not; empty if resolved.
        log: Why the patch could not be applied, else the output of the tests.
    """

    resolved: bool
    applied: bool
    failing: tuple[str, ...]
    log: str


def verify_patch(
    trajectory: Trajectory, patch: str, make_sandbox: Callable[[str], Sandbox]
) -> bool | None:
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

    Tests that do not end within five minutes have not passed: they take seconds, so
    that is the patch's doing.

    Raises:
        SandboxError: The machinery failed: that is no verdict.
    """
    wanted = (*task.fail_to_pass, *task.pass_to_pass)
    hidden = fixed_test_files(task, cache_folder())
    try:
        refusal = _apply(task, patch, sandbox) if patch.strip() else ""
        if refusal:
            return Verdict(False, False, wanted, refusal)
        for path, content in hidden.items():
            sandbox.write_file(f"{sandbox.workdir}/{path}", content)
    except SandboxFileError as error:  # too large a patch, or one that leaves no place for a test
        return Verdict(False, False, wanted, str(error))
    run = sandbox.run(f"cd {sandbox.workdir} && {task.test_command}", timeout=_TIMEOUT_S)
    summary = run.output.rpartition("short test summary info")[2]
    passed = {test for outcome, test in _OUTCOME.findall(summary) if outcome in ("PASSED", "XFAIL")}
    failing = tuple(test for test in wanted if test not in passed)
    return Verdict(not failing, True, failing, run.output)


def _apply(task: SweTask, patch: str, sandbox: Sandbox) -> str:
    """Apply a patch without what steers the tests; what git said if it could not."""
    sandbox.write_file(_PATCH, patch)
    read = sandbox.run(f"cd {sandbox.workdir} && {_READ}")
    if read.exit_code:
        return read.output or f"git apply ended with exit code {read.exit_code}"
    changed = sandbox.read_file(_CHANGED).decode("utf-8", "surrogateescape").split("\0")
    left_out = "".join(f"{path}\0" for path in changed if path and steers(path, task))
    sandbox.write_file(_STEERING, left_out)
    applied = sandbox.run(f"cd {sandbox.workdir} && {_APPLY}")
    return (
        ""
        if not applied.exit_code
        else applied.output or f"git apply ended with exit code {applied.exit_code}"
    )

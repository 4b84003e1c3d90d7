"""Whether a patch solves a trajectory's task, judged by hidden tests in a fresh sandbox.

The patch is applied without its changes to tests and to whatever else steers the test
run (:mod:`srl_envs.swe.tasks.protected_files` has the rule), then the hidden tests are written
over whatever stands there. The patched code and its tests share a process, as in
SWE-bench, so code could set out to forge the test report. Therefore one more test of a
random name, which fails, is added to those that pytest runs: a report in which it passes
is not a solution. Code that finds out which test that is can still forge.

This is the outcome reward of training, and not the swebench harness, by which
:mod:`srl_agent.evaluation.swebench.harness` judges: a policy in training looks for
whatever raises its reward, so what steers the tests is left out here, where SWE-bench
applies a patch whole; a verdict is wanted in seconds, from a sandbox of the pool; and
this package installs without the harness. Of the built-in tasks both take image, hidden
tests, test command and the tests that must pass from the same
:class:`~srl_envs.swe.tasks.tasks.SweTask`, and a test of the project holds their
verdicts side by side.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from srl_envs.sandbox import ExecResult, Sandbox, SandboxError, SandboxFileError
from srl_envs.swe.tasks.hidden_tests import HiddenTests, hidden_tests
from srl_envs.swe.tasks.images import with_tests
from srl_envs.swe.tasks.protected_files import is_protected
from srl_envs.trajectory import Trajectory

_PATCH, _CHANGED, _STEERING = "/tmp/model.patch", "/tmp/changed", "/tmp/steering"

# No setting, variable or owner that an image comes with decides what git does.
_GIT = """(for name in $(compgen -v GIT_); do unset "$name"; done
set +o noclobber
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_COUNT=1 LC_ALL=C
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
commit() { git -c user.name=srl -c user.email=srl@localhost -c core.hooksPath=/dev/null \\
  commit -q --no-verify --no-gpg-sign -m "$1"; }
"""

# A patch is made against the files as the agent found them, so what the image did not commit is
# committed first.
_START = """index=$(git rev-parse --git-path index) && git rev-parse -q --verify HEAD >/dev/null &&
touch . "$index.srl" && rm "$index.srl" && { git update-index -q --refresh
if [ -n "$(git status --porcelain)" ]; then git add -A --ignore-errors . 2>/dev/null
git diff --cached --quiet HEAD || commit start; fi; }"""
_SET_UP = f"""git apply --index --whitespace=nowarn {_PATCH} && commit setup"""
_BRING_TESTS = f"git apply --whitespace=nowarn {_PATCH}"

# git alone reads the patch, so that no other reading of it can differ. In the index a renamed file
# is one that goes and one that comes, each with its path.
_READ = (
    f"git apply --cached --whitespace=nowarn {_PATCH} && "
    f"git diff --cached --no-renames --name-only -z HEAD > {_CHANGED}"
)
_APPLY = f"""if [ -s {_STEERING} ]; then
  xargs -0 git --literal-pathspecs reset -q -- < {_STEERING}; fi &&
git diff --cached --no-renames --binary --no-ext-diff --no-textconv --no-color --src-prefix=a/ \\
  --dst-prefix=b/ HEAD > {_PATCH} &&
git read-tree HEAD &&
if [ -s {_PATCH} ]; then git apply --whitespace=nowarn {_PATCH}; fi"""

# The arguments of pytest in a command, and those that leave out tests, or end with one that fails.
_PYTEST = re.compile(r"(?:^|[\s;&/])(?:pytest|py\.test)(?=\s|$)(.*)", re.DOTALL)
_SELECTS = re.compile(
    r"::|\s-(?!r|-)[a-z]*[xkm]|\s--(?:exitfirst|maxfail|lf|last-failed|sw|stepwise|deselect|co)"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hidden tests say of a patch.

    Attributes:
        resolved: The patch applies, all tests that the bug failed pass, and all that
            passed before still do.
        applied: The patch applies; an empty one does.
        failing: Node ids of the tests that should pass and do not; empty if resolved.
        log: Why the patch could not be applied, or that the report is forged; then the
            output of the tests.
    """

    resolved: bool
    applied: bool
    failing: tuple[str, ...]
    log: str


def patch_verdict(
    trajectory: Trajectory, patch: str, make_sandbox: Callable[[Trajectory], Sandbox]
) -> Verdict | None:
    """What the hidden tests say of a patch; None if the trajectory has no tests.

    Raises:
        ConfigError: See :func:`~srl_envs.swe.tasks.hidden_tests.hidden_tests`.
        SandboxError: The machinery failed: that is no verdict.
    """
    tests = hidden_tests(trajectory)
    if tests is None:
        return None
    sandbox = make_sandbox(with_tests(trajectory))
    try:
        return judge(tests, patch, sandbox)
    finally:
        sandbox.close()


def judge(tests: HiddenTests, patch: str, sandbox: Sandbox) -> Verdict:
    """Judge a patch in a clean sandbox of the task's image, tests included.

    Tests that do not end within their time have not passed.

    Raises:
        SandboxError: The machinery failed, or the set-up or the tests do not fit the
            image: that is no verdict.
    """
    wanted = (*tests.fail_to_pass, *tests.pass_to_pass)
    start = _git(sandbox, _START)
    if start.exit_code:
        raise SandboxError(
            f"No patch can be applied to the repository in {sandbox.workdir} of its image: "
            f"{start.output.strip()[-300:]}"
        )
    if tests.setup_patch:
        _require(sandbox, tests.setup_patch, _SET_UP, "setup_patch")
    try:
        refusal = _apply(tests, patch, sandbox) if patch.strip() else ""
        if refusal:
            return Verdict(False, False, wanted, refusal)
        for path, content in tests.files.items():
            sandbox.write_file(f"{sandbox.workdir}/{path}", content)
    except SandboxFileError as error:  # too large a patch, or one that leaves no place for a test
        return Verdict(False, False, wanted, str(error))
    if tests.patch:
        _require(sandbox, tests.patch, _BRING_TESTS, "test_patch")
    must_fail = _add_failing_test(tests, sandbox)
    run = sandbox.run(_in_repository(sandbox, tests.command), timeout=tests.timeout)
    passed = tests.log_parser(run.output)
    failing = tuple(test for test in wanted if test not in passed)
    # Of a command of our own it is known that it reports each test.
    missing = bool(tests.files) and f"FAILED {must_fail}" not in run.output
    if must_fail and not failing and (must_fail in passed or missing):
        forged = f"The report is forged: {must_fail}, which cannot pass, did not fail."
        return Verdict(False, True, wanted, f"{forged}\n{run.output}")
    return Verdict(not failing, True, failing, run.output)


def _add_failing_test(tests: HiddenTests, sandbox: Sandbox) -> str | None:
    """Add a test that fails to a file of the hidden ones.

    Its name is made of words of other tests' names, so that it does not stand out.

    Returns:
        Its node id; None if pytest does not run the tests, or might not run this one.
    """
    called = _PYTEST.search(tests.command)
    if called is None or _SELECTS.search(called[1]):
        return None
    for test in tests.fail_to_pass:
        path, _, name = test.partition("::")
        if not path.endswith(".py") or (".py" in called[1] and path not in called[1]):
            continue
        try:
            content = sandbox.read_file(f"{sandbox.workdir}/{path}")
        except SandboxFileError:  # the patch took its place: its tests will not pass
            return None
        others = re.findall(r"def test_?(\w+)", content.decode(errors="ignore"))
        words = sorted({word for other in others for word in other.split("_") if word.isalpha()})
        random = secrets.SystemRandom()
        chosen = [random.choice(words or ["values"]) for _ in range(3)]
        start = re.match("[a-zA-Z]*_?", name.rpartition("::")[2].partition("[")[0])
        new = f"{start[0] if start else ''}{'_'.join(chosen)}_{random.randrange(10, 1000)}"
        seen = random.randrange(10**6)
        body = f"\n\n\ndef {new}():\n    assert {seen} == {seen + 1}\n"
        sandbox.write_file(f"{sandbox.workdir}/{path}", content + body.encode())
        return f"{path}::{new}"
    return None


def _require(sandbox: Sandbox, patch: str, command: str, what: str) -> None:
    """Apply a patch of the task itself.

    Raises:
        SandboxError: It does not fit the repository.
    """
    sandbox.write_file(_PATCH, patch if patch.endswith("\n") else f"{patch}\n")
    done = _git(sandbox, command)
    if done.exit_code:
        raise SandboxError(
            f"The task's {what} does not fit the repository in {sandbox.workdir} of its image: "
            f"{done.output.strip()[-300:]}"
        )


def _in_repository(sandbox: Sandbox, command: str) -> str:
    return f"cd {shlex.quote(sandbox.workdir)} && {{ {command}\n}}"


def _git(sandbox: Sandbox, command: str) -> ExecResult:
    return sandbox.run(_in_repository(sandbox, f"{_GIT}{command})"), timeout=600.0)


def _apply(tests: HiddenTests, patch: str, sandbox: Sandbox) -> str:
    """Apply a patch without what steers the tests; what git said if it could not."""
    sandbox.write_file(_PATCH, patch)
    read = _git(sandbox, _READ)
    if read.exit_code:
        return read.output or f"git apply ended with exit code {read.exit_code}"
    changed = sandbox.read_file(_CHANGED).decode("utf-8", "surrogateescape").split("\0")
    left_out = "".join(f"{path}\0" for path in changed if path and is_protected(path, tests))
    sandbox.write_file(_STEERING, left_out)
    applied = _git(sandbox, _APPLY)
    return (
        ""
        if not applied.exit_code
        else applied.output or f"git apply ended with exit code {applied.exit_code}"
    )

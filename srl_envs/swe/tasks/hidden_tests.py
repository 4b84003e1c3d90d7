"""The hidden tests of a trajectory's task: those of a built-in one, or of its metadata."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from srl_envs.data.agent_environment import changed_files
from srl_envs.errors import ConfigError
from srl_envs.swe.tasks.images import cache_folder
from srl_envs.swe.tasks.releases import fixed_test_files
from srl_envs.swe.tasks.tasks import SweTask, load_task
from srl_envs.trajectory import Trajectory

LogParser = Callable[[str], set[str]]
"""The output of a test run -> the tests that passed, or failed as expected."""

_PASSED = ("PASSED", "XFAIL")
_SUMMARY = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.MULTILINE)
_VERBOSE = re.compile(r"^(\S+::\S+)\s+(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HiddenTests:
    """Which tests judge a patch, and how they run.

    Attributes:
        command: Runs them in the repository.
        fail_to_pass: Tests that only a solution passes.
        pass_to_pass: Tests that passed before, and must still.
        log_parser: Reads which tests passed.
        test_files: Paths of the tests; a patch's changes to them do not count.
        source_files: Paths that a solution may change though they look like what steers
            tests.
        files: Path -> content of tests that the image does not hold.
        patch: A patch that brings the tests.
        setup_patch: A patch that makes the image's repository the one that the agent
            found.
        timeout: Seconds that they may take; a run that takes longer has not passed.
    """

    command: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    log_parser: LogParser
    test_files: tuple[str, ...] = ()
    source_files: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    patch: str = ""
    setup_patch: str = ""
    timeout: float = 1800.0


def hidden_tests(trajectory: Trajectory) -> HiddenTests | None:
    """The hidden tests of a trajectory; None if it has none.

    Raises:
        ConfigError: Its metadata name no such built-in task, tests without a list of
            those that must pass, or a log parser that is not known.
        InfrastructureError: The tests of a built-in task cannot be fetched.
    """
    metadata = trajectory.metadata
    if "task" in metadata:
        return task_tests(load_task(str(metadata["task"])))
    if "test_command" not in metadata:
        return None
    failing = _texts(trajectory, "FAIL_TO_PASS")
    if not failing:
        raise ConfigError(
            f"Trajectory {trajectory.id!r} has a test_command, but no FAIL_TO_PASS: list the "
            "tests that only a solution passes."
        )
    patch = str(metadata.get("test_patch", ""))
    passing = _texts(trajectory, "PASS_TO_PASS")
    tests = {test.partition("::")[0] for test in (*failing, *passing) if "::" in test}
    tests |= {*_texts(trajectory, "test_files"), *changed_files(patch)}
    return HiddenTests(
        command=str(metadata["test_command"]),
        fail_to_pass=failing,
        pass_to_pass=passing,
        test_files=tuple(sorted(tests)),
        source_files=tuple(sorted({*_texts(trajectory, "source_files")} - tests)),
        patch=patch,
        setup_patch=str(metadata.get("setup_patch", "")),
        log_parser=log_parser(str(metadata.get("log_parser", "pytest"))),
    )


def require_tests_that_run(trajectory: Trajectory) -> None:
    """Refuse tests that could not judge, before anything is run or fetched.

    Raises:
        ConfigError: See :func:`hidden_tests`.
    """
    if "task" in trajectory.metadata:
        load_task(str(trajectory.metadata["task"]))
    else:
        hidden_tests(trajectory)


def task_tests(task: SweTask) -> HiddenTests:
    """The hidden tests of a built-in task, from its fix release.

    Raises:
        InfrastructureError: The release cannot be fetched.
    """
    return HiddenTests(
        command=task.test_command,
        fail_to_pass=task.fail_to_pass,
        pass_to_pass=task.pass_to_pass,
        log_parser=passed_in_pytest,
        test_files=task.test_files,
        source_files=task.source_files,
        files=fixed_test_files(task, cache_folder()),
        timeout=300.0,  # they take seconds: what takes longer is the patch's doing
    )


def log_parser(name: str) -> LogParser:
    """A log parser: ``"pytest"``, or one that the SWE-bench harness has by this name.

    Raises:
        ConfigError: There is none of this name, or the harness is not installed.
    """
    if name in ("pytest", "parse_log_pytest"):
        return passed_in_pytest
    try:
        known: Mapping[str, Any] = importlib.import_module(
            "swebench.harness.log_parsers"
        ).PARSER_REGISTRY
    except ImportError:
        raise ConfigError(
            f"The log parser {name!r} is the SWE-bench harness's: pip install swebench."
        ) from None
    if name not in known:
        raise ConfigError(
            f"log_parser is {name!r}: use 'pytest' or one of {', '.join(sorted(known))}."
        )
    return lambda output: {
        test for test, status in known[name](output, None).items() if status in _PASSED
    }


def passed_in_pytest(output: str) -> set[str]:
    """The tests that passed by pytest's summary (``-rA``), else by its lines (``-v``)."""
    summary = output.rpartition("short test summary info")[2]
    outcomes = [(test, status) for status, test in _SUMMARY.findall(summary)]
    if not any(status in _PASSED for _, status in outcomes):
        outcomes = _VERBOSE.findall(output)
    return {test for test, status in outcomes if status in _PASSED}


def _texts(trajectory: Trajectory, key: str) -> tuple[str, ...]:
    value = trajectory.metadata.get(key, ())
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"Trajectory {trajectory.id!r}: {key} in the metadata must list texts.")
    return tuple(value)

"""How commands log, and how they end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from srl_envs.command_line import PACKAGES, exit_status, log_to_stderr
from srl_envs.errors import DataError, InfrastructureError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("row 3 is empty"), 3, "error: row 3 is empty"),
        (InfrastructureError("no engine"), 3, "error: no engine"),
        (KeyboardInterrupt(), 130, "stopped"),
        (FileNotFoundError(2, "No such file", "data/x"), 3, "error: No such file (data/x)"),
        (
            OSError(28, "No space left", 7),
            3,
            "error: No space left",
        ),  # 7: a file descriptor, as os.fsync gives it
        (OSError("odd"), 3, "error: odd"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert exit_status(command, failed=3, interrupted="stopped") == status
    assert capsys.readouterr().err == line + "\n"


def test_a_fault_of_the_program_is_let_through() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_a_command_gives_its_own_status() -> None:
    assert exit_status(lambda: 5) == 5


@pytest.mark.parametrize(
    ("printing", "status"),
    [("print('a')", 0), ("print('a' * 100_000)", 141), ("print('a', flush=True)", 141)],
    ids=["as-it-ends", "in-its-midst", "at-once"],
)
def test_a_reader_that_leaves_is_no_fault(printing: str, status: int) -> None:
    program = (
        "import sys; from srl_envs.command_line import exit_status; "
        f"sys.exit(exit_status(lambda: {printing} or 0))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    os.close(write)
    assert (done.stderr, done.returncode) == ("", status)


def test_an_output_that_takes_no_more_is_told() -> None:
    program = (
        "import sys; from srl_envs.command_line import exit_status; "
        "sys.exit(exit_status(lambda: print('a') or 0))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert done.stderr == "error: No space left on device (standard output)\n"


# ---------------------------------------------------------------- log


@pytest.fixture()
def _log_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("_log_as_before")
def test_the_log_goes_to_stderr_once_from_its_level_upward(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("info")
    log_to_stderr("warning")
    for name in PACKAGES:
        logging.getLogger(f"{name}.part").info("progress")
        logging.getLogger(f"{name}.part").warning("odd")
    assert capsys.readouterr() == ("", "warning: odd\nwarning: odd\n")


@pytest.mark.parametrize(
    "command",
    [
        ["srl_envs.replay"],
        ["srl_envs.sandbox"],
        ["srl_agent.train"],
        ["srl_agent.evaluate", "math"],
        ["srl_agent.evaluate", "swebench"],
    ],
)
def test_every_command_takes_a_log_level(command: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--log_level" in shown

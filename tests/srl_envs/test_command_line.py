"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from srl_envs.command_line import exit_status
from srl_envs.errors import DataError, InfrastructureError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("row 3 is empty"), 3, "error: row 3 is empty"),
        (InfrastructureError("no engine"), 3, "error: no engine"),
        (KeyboardInterrupt(), 130, "stopped"),
        (FileNotFoundError(2, "No such file", "data/x"), 3, "error: No such file (data/x)"),
        (OSError(28, "No space left", 7), 3, "error: No space left"),  # 7: a file descriptor, as os.fsync gives it
        (OSError("odd"), 3, "error: odd"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_status(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise error

    assert exit_status(command, failed=3, interrupted="stopped") == status
    assert capsys.readouterr().err == line + "\n"


def test_a_fault_of_the_program_is_let_through() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_a_command_gives_its_own_status() -> None:
    assert exit_status(lambda: 5) == 5


@pytest.mark.parametrize("arguments", [["srl_agent.evaluate", "--help"], ["srl_envs.replay", "--help"]])
def test_a_reader_that_leaves_is_no_fault(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", *arguments], stdout=write, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": ""})
    os.close(write)
    assert (done.stderr, done.returncode) == ("", 0)

"""Tasks that are set up by a command and judged by checks, in the sandbox of the episode.

Metadata of such a trajectory:

* ``setup_command``: run once in ``workdir`` before the agent comes;
* ``checks``: a list of ``{"command": ..., "output": ...}``. The task is solved if each
  command, run in ``workdir`` after the episode, ends well and prints this output (white
  space at its ends does not count).

What is expected stays outside of the sandbox, and commands come into it once everything
that the agent left running has ended: it can read neither.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from srl_envs.errors import ConfigError
from srl_envs.sandbox import Sandbox, SandboxError
from srl_envs.trajectory import Trajectory

_TIMEOUT_S = 30.0  # of a check: what takes longer is the agent's doing


@dataclass(frozen=True, slots=True)
class Check:
    """A command, and what it prints if the task is solved."""

    command: str
    output: str


def checks_of(trajectory: Trajectory) -> tuple[Check, ...]:
    """The checks of a trajectory; empty if it has none.

    Raises:
        ConfigError: They are not written as they must be, or it has other tests too.
    """
    given = trajectory.metadata.get("checks")
    if given is None:
        return ()
    where = f"Trajectory {trajectory.id!r}: checks in the metadata"
    if others := sorted({"task", "test_command"} & set(trajectory.metadata)):
        raise ConfigError(f"{where} exclude {others[0]}: a task is judged by one of them.")
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f"{where} are {given!r}: give a list with at least one.")
    for one in given:
        if (
            not isinstance(one, dict)
            or set(one) != {"command", "output"}
            or not all(isinstance(value, str) for value in one.values())
        ):
            raise ConfigError(f"{where} hold {one!r}: give a command and an output, both texts.")
    return tuple(Check(**one) for one in given)


def set_up(trajectory: Trajectory, sandbox: Sandbox) -> None:
    """Run the trajectory's ``setup_command``, if it has one.

    Raises:
        ConfigError: It is not a text.
        SandboxError: It failed: the task does not fit its image.
    """
    command = trajectory.metadata.get("setup_command", "")
    if not isinstance(command, str):
        raise ConfigError(f"Trajectory {trajectory.id!r}: setup_command is not a text.")
    if not command:
        return
    done = sandbox.run(f"({command}\n)", timeout=600.0)
    if done.exit_code:
        raise SandboxError(
            f"The setup_command of {trajectory.id!r} failed with exit code {done.exit_code}: "
            f"{done.output.strip()[-300:]}"
        )


def failing_checks(checks: Sequence[Check], sandbox: Sandbox) -> tuple[str, ...]:
    """The commands of the checks that do not hold; the task is solved if there are none.

    Raises:
        SandboxError: The machinery failed: that is no verdict.
    """
    if not end_shell(sandbox):
        return tuple(check.command for check in checks)
    return tuple(check.command for check in checks if not _holds(check, sandbox))


def end_shell(sandbox: Sandbox) -> bool:
    """End the shell, and with it all that runs; whether a new one has started.

    No function or alias of the shell can prevent the expansion that ends it.

    Raises:
        SandboxError: The machinery failed.
    """
    return sandbox.run(f'"${{__srl_{secrets.token_hex(8)}?}}"').restarted


def _holds(check: Check, sandbox: Sandbox) -> bool:
    command = f"cd {shlex.quote(sandbox.workdir)} && {{ {check.command}\n}}"
    done = sandbox.run(command, timeout=_TIMEOUT_S)
    return done.exit_code == 0 and done.output.strip() == check.output.strip()

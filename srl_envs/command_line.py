"""How every command ends: a user's mistake is one line and a status, not a stack trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from srl_envs.errors import SRLError

INTERRUPTED = 130
"""What a shell reports of a command that Ctrl-C ended."""

READER_LEFT = 141
"""What a shell reports of a command whose output nobody reads any more."""


def program(module: str) -> str:
    """A command's name as it was typed, for ``--help`` and messages.

    Args:
        module: What ``python -m`` runs, such as ``"srl_agent.train"``.

    Returns:
        The console script (``srl-train``) if that was started, else ``python -m`` and
        the module.
    """
    started = Path(sys.argv[0]).name
    return started if started == f"srl-{module.rpartition('.')[2]}" else f"python -m {module}"


def exit_status(
    command: Callable[[], int], *, failed: int = 1, interrupted: str = "interrupted"
) -> int:
    """Run a command and tell on stderr what ended it.

    Args:
        command: Does the work and returns its exit status.
        failed: The status if the input was wrong or the machinery failed.
        interrupted: What to say on Ctrl-C.

    Returns:
        The command's status, ``failed``, 130 on Ctrl-C, or 141 if the reader of its
        output left. Any other exception is a fault of the program and is let through.
    """
    try:
        return command()
    except SRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader of the output has left, as head does when it has seen enough
        return READER_LEFT
    except OSError as error:
        where = f" ({Path(error.filename)})" if isinstance(error.filename, str) else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return failed
    finally:
        _flush_output()


def _flush_output() -> None:
    """Write out what was printed, or drop it if nobody reads; Python then does not complain."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error.strerror} (standard output)", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

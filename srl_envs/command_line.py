"""What all commands share: their log on stderr, and one line for a user's mistake."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from srl_envs.errors import SRLError

INTERRUPTED = 130
"""What a shell reports of a command that Ctrl-C ended."""

READER_LEFT = 141
"""What a shell reports of a command whose output nobody reads any more."""


LOG_LEVELS = ("debug", "info", "warning", "error")
"""What ``--log_level`` takes."""

PACKAGES = ("srl_envs", "srl_agent")


class _StderrHandler(logging.Handler):
    """Writes records to stderr as it is now, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # as logging's own handlers do
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{record.levelname.lower()}: {text}"


def log_to_stderr(level: str = "info") -> None:
    """Show what both packages log from a level upward. A command calls it once.

    As libraries they only log. In your own program, use :mod:`logging` as for any other.

    Args:
        level: One of :data:`LOG_LEVELS`.
    """
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
            logger.addHandler(_StderrHandler())


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
    """Run a command; what ended it is printed on stderr.

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

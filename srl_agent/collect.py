"""Make expert trajectories, every one of them checked.

    # A teacher solves problems with known answers, in titled steps.
    python -m srl_agent.collect math --problems my.csv --model gpt-4.1 --base_url URL/v1
    # Solutions in any form become titled steps with the same numbers and formulas.
    python -m srl_agent.collect rewrite --solutions book.jsonl --model gpt-4.1 --base_url URL/v1
    # A teacher acts in sandboxes; tests decide, and a replay confirms.
    python -m srl_agent.collect swe --model gpt-4.1 --base_url URL/v1
    # Filters drop what is not worth training on, with a page of examples.
    python -m srl_agent.collect curate runs/my/trajectories.jsonl curated.jsonl --languages en
    # Rollouts of a student say which steps teach it: train --profile takes the file.
    python -m srl_agent.collect profile --source curated.jsonl --model MODEL --output steps.jsonl

Every answer is saved as soon as it is finished. Rerun the same command to resume: it asks
nothing twice. `--help` after a command lists its settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import cast

from srl_envs.command_line import exit_status, program
from srl_envs.errors import MissingDependencyError, install_command

COMMANDS = {
    "curate": "srl_agent.collection.curate",
    "profile": "srl_agent.collection.profile",
    "math": "srl_agent.collection.math",
    "rewrite": "srl_agent.collection.rewrite",
    "swe": "srl_agent.collection.swe",
}
"""By name, the module whose ``command(arguments, prog)`` does it and gives the exit status."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_status(
        lambda: _collect(arguments),
        failed=2,
        interrupted="interrupted: what was answered is kept. Rerun the same command to resume.",
    )


def _collect(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        return _command(name)(arguments[1:], f"{program('srl_agent.collect')} {name}")
    if {"-h", "--help"} & set(arguments):
        command = program("srl_agent.collect")
        print((__doc__ or "").strip().replace("python -m srl_agent.collect", command))
        return 0
    *names, last = COMMANDS
    listed = f"{', '.join(names)} or {last}" if names else last
    print(f"error: name what to collect: {listed}. See --help.", file=sys.stderr)
    return 2


def _command(name: str) -> Callable[[list[str], str], int]:
    try:
        module = import_module(COMMANDS[name])
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. This needs the extra train: {install_command('train')}"
        ) from None
    return cast(Callable[[list[str], str], int], module.command)


if __name__ == "__main__":
    sys.exit(main())

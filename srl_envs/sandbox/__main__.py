"""``python -m srl_envs.sandbox build-base|prune``."""

from __future__ import annotations

import argparse
import sys

from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.sandbox.docker_sandbox import BASE_IMAGE


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it did its work."""
    parser = argparse.ArgumentParser(
        prog=program("srl_envs.sandbox"),
        description="Care for the sandboxes of srl_envs. The engine is the one of DOCKER_HOST.",
    )
    parser.add_argument(
        "--log_level",
        choices=LOG_LEVELS,
        default="info",
        help="log messages to show, from this level upward (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser(
        "build-base", help="make the base image from Debian packages (needs root and debootstrap)"
    )
    build.add_argument("--image", default=BASE_IMAGE, help="its name (default: %(default)s)")
    build.add_argument(
        "--suite", default="bookworm", help="release of Debian (default: %(default)s)"
    )
    build.add_argument(
        "--mirror",
        default="http://deb.debian.org/debian",
        help="where the packages come from (default: %(default)s)",
    )
    build.add_argument("--force", action="store_true", help="make it again if it is there")
    commands.add_parser("prune", help="remove containers whose owner is dead, and no others")
    return exit_status(lambda: _run(parser.parse_args(arguments)))


def _run(chosen: argparse.Namespace) -> int:
    log_to_stderr(chosen.log_level)
    if chosen.command == "prune":
        from srl_envs.sandbox.ownership import prune

        removed = prune()
        print(
            f"{len(removed)} container{'' if len(removed) == 1 else 's'} removed"
            + (": " + ", ".join(removed) if removed else ".")
        )
    else:
        from srl_envs.sandbox.images import build_base

        made = build_base(
            chosen.image, suite=chosen.suite, mirror=chosen.mirror, force=chosen.force
        )
        print(f"{chosen.image} is {'made' if made else 'there already'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

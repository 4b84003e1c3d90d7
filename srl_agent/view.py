"""Look at what a model did: a local web page over the folders of runs.

    python -m srl_agent.view runs/mine
    # All runs in a folder, on another port.
    python -m srl_agent.view runs --port 8000
    # The same pages as files to share.
    python -m srl_agent.view runs/mine --export pages
    # What srl_envs.replay --report wrote.
    python -m srl_agent.view replayed.jsonl

Training, evaluations, collections and replays are shown as far as they are on disk; a run
that is going on is followed. Nothing is written into a run's folder. The page is served
on this machine only (127.0.0.1); from another machine, open a tunnel:
``ssh -L 7860:127.0.0.1:7860 HOST``.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from srl_agent.reports.viewer.app import HOST, make_app, read_in_background
from srl_agent.reports.viewer.export import export
from srl_agent.reports.viewer.runs import ShownRun, find_runs
from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.errors import ConfigError, MissingDependencyError, install_command, require


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = _parser().parse_args(argv)
    log_to_stderr(given.log_level)
    return exit_status(lambda: _view(given), failed=2)


def _view(given: argparse.Namespace) -> int:
    require(0 <= given.port < 65536, "port", given.port, "from 0 to 65535; 0 takes a free one")
    require(given.export_pages >= 1, "export_pages", given.export_pages, "at least 1")
    runs = find_runs(given.runs)
    if given.export is not None:
        written = export(runs, given.export, given.export_pages)
        print(written.first)
        if written.left_out:
            print(
                f"{written.pages} pages are written; at least {written.left_out} more are left"
                " out: raise --export_pages.",
                file=sys.stderr,
            )
        return 0
    return _serve(runs, given.port)


def _serve(runs: dict[str, ShownRun], port: int) -> int:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError(
            f"The viewer needs uvicorn: {install_command('view')}"
        ) from error
    app = make_app(runs)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # whoever reads the address may come at once
        except OSError as error:
            raise ConfigError(
                f"Port {port} cannot be used: {error.strerror}. Choose another --port; 0 takes a"
                " free one."
            ) from None
        read_in_background(runs)
        print(f"http://{HOST}:{listening.getsockname()[1]}/", flush=True)
        count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        print(f"{count}. Ctrl-C ends the viewer.", file=sys.stderr)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        server.run(sockets=[listening])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("srl_agent.view"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="the folder of a run (finished, going on or killed), a folder with runs, or the"
        " report of a replay",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7860,
        help="port on 127.0.0.1; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write the pages into this folder, then end"
    )
    parser.add_argument(
        "--export_pages",
        type=int,
        default=1000,
        help="most pages of an export (default: %(default)s)",
    )
    parser.add_argument(
        "--log_level",
        choices=LOG_LEVELS,
        default="info",
        help="log messages to show, from this level upward (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

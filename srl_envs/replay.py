"""Rerun experts' commands in sandboxes and keep the trajectories that still reach their goal.

A filter for anybody's data: a trajectory whose commands do not solve its issue any
more, or whose observations drift away from what the expert saw, teaches a model to act
on what is not there.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.commands import Command
from srl_envs.data import SOURCES, load_trajectories
from srl_envs.data.jsonl import save_trajectories
from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.fleet import Fleet, open_fleet
from srl_envs.fleet.addresses import ENGINES_HELP, RAY_HELP, check_ray, engine_addresses
from srl_envs.prompts.step import cut_middle
from srl_envs.sandbox import DamagedRepositoryError, Sandbox, SandboxLimits
from srl_envs.sandboxes import SANDBOXES
from srl_envs.swe.agent_session import (
    AgentSession,
    drift,
    expert_commands,
    require_runnable,
)
from srl_envs.swe.tasks.checks import checks_of, failing_checks, set_up
from srl_envs.swe.tasks.hidden_tests import require_tests_that_run
from srl_envs.swe.tasks.images import image_of, sandbox_of
from srl_envs.swe.tasks.verification import patch_verdict
from srl_envs.trajectory import Trajectory

_logger = logging.getLogger(__name__)

_COMPARED = 16_000
_LONGEST_TEXT = 2000  # characters of a command or an observation in the report


@dataclass(frozen=True, slots=True)
class ReplayedStep:
    """One command of a replay; long texts are cut in the middle.

    Attributes:
        command: What was run.
        observation: What came back.
        recorded: What the expert saw; empty where it is the same.
        drift: How far the observation is from the recorded one, in [0, 1].
        seconds: How long the command took.
    """

    command: str
    observation: str
    recorded: str
    drift: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of one trajectory.

    Attributes:
        id: The trajectory's.
        resolved: The verdict of its tests; None if it has none, or if the machinery
            failed.
        drift: Mean over its steps of how far the observation is from the recorded one,
            in [0, 1].
        patch_characters: Length of the patch that its commands made.
        failure: What the machinery said if it failed; empty otherwise.
        failing: The tests or checks that do not pass.
        seconds: From the sandbox's start to the verdict.
        steps: What each command gave; empty in reports of earlier versions.
    """

    id: str
    resolved: bool | None
    drift: float
    patch_characters: int
    failure: str = ""
    failing: tuple[str, ...] = ()
    seconds: float = 0.0
    steps: tuple[ReplayedStep, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Replay:
        """A line of a report; raises TypeError if it is not one."""
        steps = tuple(ReplayedStep(**step) for step in row.get("steps", ()))
        return cls(**{**row, "steps": steps, "failing": tuple(row.get("failing", ()))})


def replay(
    trajectory: Trajectory,
    *,
    image: str | None = None,
    limits: SandboxLimits = SandboxLimits(),
    command_timeout: float = 60.0,
    sandbox: str = "docker",
    stop: threading.Event | None = None,
) -> Replay:
    """Run a trajectory's commands in a fresh sandbox, then its tests in another.

    Checks, where it has these, run in the same.

    Args:
        trajectory: Of the domain ``"swe"``.
        image: Where to run; None takes the trajectory's own, see
            :func:`~srl_envs.swe.tasks.images.image_of`.
        limits: Of the sandboxes.
        command_timeout: Seconds that a shell command may take.
        sandbox: A name of :data:`srl_envs.sandboxes.SANDBOXES`.
        stop: Once it is set the replay is given up before the next command.

    Raises:
        ConfigError: The trajectory has no image.
        DataError: A step holds no command that can be read.
        InfrastructureError: The machinery failed, or the replay was given up.
    """
    maker = SANDBOXES.named(sandbox)
    if image is not None:
        trajectory = replace(trajectory, metadata={**trajectory.metadata, "image": image})

    def make(one: Trajectory) -> Sandbox:
        return sandbox_of(one, maker, limits)

    commands = expert_commands(trajectory)
    began, steps = time.monotonic(), []
    with closing(make(trajectory)) as place:
        set_up(trajectory, place)
        checks = checks_of(trajectory)
        if not checks:
            place.diff()  # an image without a repository or git is refused before the work
        session = AgentSession(place, trajectory.grammar, command_timeout)
        for step, command in zip(trajectory.steps, commands, strict=True):
            if stop is not None and stop.is_set():
                raise InfrastructureError("The replay was given up.")
            steps.append(_replayed(session, command, step.observation))
        try:
            patch = "" if checks else place.diff()
        except DamagedRepositoryError:
            patch = ""
        failing = failing_checks(checks, place) if checks else ()
    resolved: bool | None = not failing
    if not checks:
        verdict = patch_verdict(trajectory, patch, make)
        resolved = None if verdict is None else verdict.resolved
        failing = () if verdict is None else tuple(verdict.failing)
    return Replay(
        id=trajectory.id,
        resolved=resolved,
        drift=sum(step.drift for step in steps) / len(steps),
        patch_characters=len(patch),
        failing=failing,
        seconds=round(time.monotonic() - began, 3),
        steps=tuple(steps),
    )


def _replayed(session: AgentSession, command: Command, recorded: str) -> ReplayedStep:
    began = time.monotonic()
    seen = session.observe(command)
    seconds = round(time.monotonic() - began, 3)
    far = drift(command, seen, recorded, _COMPARED)
    return ReplayedStep(
        command=cut_middle(command.text, _LONGEST_TEXT),
        observation=cut_middle(seen, _LONGEST_TEXT),
        recorded=cut_middle(recorded, _LONGEST_TEXT) if far else "",
        drift=far,
        seconds=seconds,
    )


class _Stop(threading.Event):
    """An event whose copy in another process is never set: the fleet ends that process."""

    def __reduce__(self) -> tuple[type[threading.Event], tuple[()]]:
        return threading.Event, ()


def replay_all(
    trajectories: Iterable[Trajectory],
    fleet: Fleet,
    *,
    image: str | None,
    limits: SandboxLimits,
    command_timeout: float,
    sandbox: str = "docker",
) -> Iterator[Replay]:
    """Replays as they finish; a failure of the machinery, even on a second try, ends one only.

    What ends the iteration early (Ctrl-C) ends those under way before their next
    command; the rest is not begun.

    Args:
        trajectories: See :func:`replay`, like the rest.
        fleet: Where they run, and how many at a time.
        image: See there.
        limits: See there.
        command_timeout: See there.
        sandbox: See there.
    """
    stop = _Stop()
    work = partial(
        replay,
        image=image,
        limits=limits,
        command_timeout=command_timeout,
        sandbox=sandbox,
        stop=stop,
    )
    try:
        for name, result in fleet.map(work, {one.id: (one,) for one in trajectories}):
            if isinstance(result, Replay):
                yield result
            else:
                yield Replay(name, None, 1.0, 0, failure=str(result))
    finally:
        stop.set()


def _build_images(trajectories: Sequence[Trajectory]) -> None:
    for trajectory in trajectories:
        image_of(trajectory)


def main(arguments: list[str] | None = None) -> int:
    """Replay a source; 0 if every trajectory could be replayed, whatever came of it."""
    return exit_status(lambda: _run(_parser().parse_args(arguments)), failed=2)


def _run(chosen: argparse.Namespace) -> int:
    log_to_stderr(chosen.log_level)
    _check(chosen)
    trajectories = load_trajectories(
        chosen.source,
        path=chosen.path,
        limit=chosen.limit,
        resolved_only=chosen.resolved_only == "true",
        tasks=chosen.tasks,
    )
    done = read_report(chosen.report)
    open_ones = [trajectory for trajectory in trajectories if trajectory.id not in done]
    for trajectory in open_ones:  # what is missing is reported before hours of work
        require_runnable(trajectory.grammar)
        expert_commands(trajectory)
        require_tests_that_run(trajectory)
    if done:
        _logger.info(
            "%d trajectories are already in %s and are not run again.", len(done), chosen.report
        )
    if open_ones:
        _replay_open(open_ones, done, chosen)
    return _summary(list(trajectories), done, chosen)


def _replay_open(
    open_ones: list[Trajectory], done: dict[str, Replay], chosen: argparse.Namespace
) -> None:
    """Replay what is not done yet; each result is written once, as soon as it is there."""
    from tqdm import tqdm

    with open_fleet(chosen.engines, chosen.ray, places=chosen.jobs) as fleet:
        if chosen.image is None:
            fleet.prepare(_build_images, open_ones)  # built once on each engine
        replays = replay_all(
            open_ones,
            fleet,
            image=chosen.image,
            limits=SandboxLimits(memory_mib=chosen.memory_mib),
            command_timeout=chosen.command_timeout,
            sandbox=chosen.sandbox,
        )
        for result in tqdm(
            replays, total=len(open_ones), unit="trajectory", disable=not sys.stderr.isatty()
        ):
            if not result.failure:
                done[result.id] = result
                if chosen.report:
                    with chosen.report.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(result)) + "\n")
            verdict = {True: "resolved", False: "not resolved", None: result.failure or "no tests"}[
                result.resolved
            ]
            tqdm.write(
                f"{result.id:<50} {verdict:<14} drift {result.drift:.3f}  patch "
                f"{result.patch_characters} characters"
            )


def _summary(
    trajectories: list[Trajectory], done: dict[str, Replay], chosen: argparse.Namespace
) -> int:
    """Print what came of all, and write those that are kept; 1 if the machinery failed."""
    results = [done[trajectory.id] for trajectory in trajectories if trajectory.id in done]
    kept = [
        t
        for t in trajectories
        if t.id in done
        and done[t.id].resolved is not False
        and done[t.id].drift <= chosen.max_drift
    ]
    failed = len(trajectories) - len(results)
    print(
        f"{sum(bool(result.resolved) for result in results)} resolved, "
        f"{sum(result.resolved is False for result in results)} not, "
        f"{sum(result.resolved is None for result in results)} without tests, "
        f"{failed} failed for reasons of the machinery."
    )
    if chosen.output:
        save_trajectories(kept, chosen.output)
        print(f"{len(kept)} of {len(trajectories)} trajectories written to {chosen.output}.")
    return 1 if failed else 0


def _check(chosen: argparse.Namespace) -> None:
    """Refuse what would otherwise fail after hours of work.

    Raises:
        ConfigError: An option is out of its range.
        DataError: A file cannot be written.
    """
    SANDBOXES.named(chosen.sandbox)
    if chosen.engines is not None:
        engine_addresses(chosen.engines)
    if chosen.ray is not None:
        check_ray(chosen.ray)
    if chosen.engines is not None and chosen.sandbox != "docker":
        raise ConfigError(f"--engines has no effect with --sandbox {chosen.sandbox}: remove it.")
    for name in ("jobs", "memory_mib", "command_timeout"):
        if not getattr(chosen, name) > 0:
            raise ConfigError(f"--{name} is {getattr(chosen, name)}: it must be greater than 0.")
    if not 0 <= chosen.max_drift <= 1:
        raise ConfigError(f"--max_drift is {chosen.max_drift}: it must be from 0 to 1.")
    for option, path in (("--report", chosen.report), ("--output", chosen.output)):
        if path is not None:
            _require_writable(option, path)


def _require_writable(option: str, path: Path) -> None:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryFile(
            dir=path.parent
        ):  # whether the folder takes files only a try can tell
            pass
    except OSError as error:
        raise DataError(
            f"{option}: {path} cannot be written ({error.strerror}): name a file in a folder that "
            "exists."
        ) from None


def read_report(path: Path | None) -> dict[str, Replay]:
    """What a report that was begun holds, by id; nothing if there is none.

    Raises:
        DataError: A line is none of a report's.
    """
    if path is None or not path.exists():
        return {}
    done = {}
    for number, line in enumerate(
        path.read_bytes().splitlines(), start=1
    ):  # as text, a U+2028 in a reason would end a line too
        try:
            result = Replay.from_row(json.loads(line))
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: not a line of a replay's report ({error}). Mend or remove "
                "the line, or name another file."
            ) from None
        done[result.id] = result
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("srl_envs.replay"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        default="builtin_swe",
        help=f"source of trajectories (default: %(default)s): {', '.join(SOURCES.names())}, a hub "
        "name of one of them, or a .jsonl in our schema",
    )
    parser.add_argument("--path", type=Path, help="local file or folder of the source")
    parser.add_argument("--limit", type=int, help="at most this many trajectories")
    parser.add_argument(
        "--tasks",
        help="the tasks of agents' trajectories, with their images and hidden tests: a file or "
        "folder of rows, or a data set on the hub (SWE-bench/SWE-smith)",
    )
    parser.add_argument(
        "--resolved_only",
        choices=["true", "false"],
        default="true",
        help="leave out runs that say that they failed, or do not say it (default: %(default)s)",
    )
    parser.add_argument(
        "--image", help="image to run all of them in; without it each names its own"
    )
    parser.add_argument(
        "--sandbox",
        default="docker",
        help=f"where commands run (default: %(default)s): {', '.join(SANDBOXES.names())}",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=2,
        help="trajectories at a time, on each engine (default: %(default)s)",
    )
    parser.add_argument("--engines", help=ENGINES_HELP)
    parser.add_argument("--ray", help=RAY_HELP)
    parser.add_argument(
        "--command_timeout",
        type=float,
        default=60.0,
        help="seconds that a command may take (default: %(default)s)",
    )
    parser.add_argument(
        "--memory_mib",
        type=int,
        default=2048,
        help="memory of a sandbox in MiB (default: %(default)s)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        help="JSONL with one line a trajectory, written as each is finished; what it holds is "
        "not run again",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="JSONL (our schema) of the trajectories that are kept: not unresolved, and within "
        "--max_drift",
    )
    parser.add_argument(
        "--max_drift",
        type=float,
        default=1.0,
        help="largest mean drift that is kept, 0 to 1 (default: %(default)s)",
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

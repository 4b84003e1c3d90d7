"""Small tasks in a shell, made by program: ``source="builtin_shell"``.

Each has a request, files, hidden checks, and an expert's turns. The families
(:data:`FAMILIES`) have three difficulties each. No package is needed but what any image
has: bash, coreutils, find, grep, sed and awk.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

from srl_envs.data.shell import changing, placing, reading
from srl_envs.data.shell.task import ShellTask, trajectory_of
from srl_envs.errors import ConfigError
from srl_envs.trajectory import Trajectory

DIFFICULTIES = (1, 2, 3)
_MAX_DRAWS = 1_000

Family = Callable[[random.Random, int], ShellTask]
"""Draws a task of a difficulty."""

FAMILIES: Mapping[str, Family] = {
    "count": reading.count,
    "find": reading.find,
    "total": reading.total,
    "extract": reading.extract,
    "rank": reading.rank,
    "edit": changing.edit,
    "replace": changing.replace,
    "mend": changing.mend,
    "rename": placing.rename,
    "move": placing.move,
    "delete": placing.delete,
    "permit": placing.permit,
}
"""By name, in the order in which they take turns."""


def generate(
    count: int = 2000, seed: int = 0, families: Sequence[str] | None = None
) -> list[Trajectory]:
    """Make shell tasks with expert solutions.

    Args:
        count: How many; families take turns, then difficulties. A larger count begins
            with the same tasks.
        seed: Decides every task.
        families: Only tasks of these: ``"edit"``, or ``"edit-1"`` for one of its
            difficulties. They are the same tasks as among all. None: all.

    Returns:
        Trajectories with different requests, files and answers. Their metadata have
        ``family`` and ``difficulty`` (1 to 3), and what an environment needs:
        ``image``, ``workdir``, ``setup_command`` and ``checks``.

    Raises:
        ConfigError: ``count`` is more than there are different tasks, or there is no
            such family.
    """
    wanted = _chosen(families)
    seen: set[str] = set()
    made: list[Trajectory] = []
    numbers = itertools.count()
    while len(made) < count:
        number = next(numbers)
        turn, place = divmod(number, len(FAMILIES))
        family = list(FAMILIES)[place]
        difficulty = DIFFICULTIES[turn % len(DIFFICULTIES)]
        task = _different(family, difficulty, number, seed, seen)
        if (family, difficulty) in wanted:
            made.append(task)
    return made


def _chosen(families: Sequence[str] | None) -> set[tuple[str, int]]:
    """Families and difficulties by their names."""
    names = {f"{family}-{level}": (family, level) for family in FAMILIES for level in DIFFICULTIES}
    wanted = set()
    for chosen in FAMILIES if families is None else families:
        of_it = {names[name] for name in names if chosen in (name, names[name][0])}
        if not of_it:
            raise ConfigError(
                f"families names {chosen!r}: use {', '.join(FAMILIES)}, or one with a difficulty"
                f" from {DIFFICULTIES[0]} to {DIFFICULTIES[-1]}, such as edit-1."
            )
        wanted |= of_it
    if not wanted:
        raise ConfigError("families is empty: name some, or leave it out for all.")
    return wanted


def _different(family: str, difficulty: int, number: int, seed: int, seen: set[str]) -> Trajectory:
    """A task whose request and files were not drawn before."""
    draw = random.Random(f"{seed}/{number}")
    for _ in range(_MAX_DRAWS):
        task = FAMILIES[family](draw, difficulty)
        keys = {task.request, repr(sorted(task.files.items()))}
        if not keys & seen:
            seen |= keys
            return trajectory_of(
                task,
                f"shell-{family}-{difficulty}-{seed}-{number}",
                family=family,
                difficulty=difficulty,
            )
    raise ConfigError(
        f"The source 'builtin_shell' ran out of different tasks of the family {family!r} at task "
        f"{number}: ask for at most {number} (count)."
    )

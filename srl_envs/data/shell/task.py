"""The nouns of a shell task, and how it becomes a trajectory."""

from __future__ import annotations

import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from srl_envs.trajectory import ExpertStep, Trajectory

IMAGE, WORKDIR = "srl-base:bookworm", "/srv"
_SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"

_FOLDERS = (
    "archive backup books cases drafts events export guides history inbox items journal "
    "letters logs lists memos notes orders outbox papers parcels plans records reports sales "
    "scans stock store tables texts trips visits"
)
_STEMS = (
    "amber april aspen birch cedar clover copper coral delta ember fern flint garnet harbor "
    "hazel indigo island jade juniper lagoon lemon linen lotus maple meadow mint nickel oak "
    "ocean olive onyx opal orchid pearl pepper pine plum poppy quartz reed river ruby sage "
    "sienna slate tidal topaz tulip umber velvet violet walnut willow zinc"
)
_PEOPLE = (
    "ada amir anna ben bianca carl chen clara dana david elena emil farah felix gina hana "
    "hugo ines ivan jana jonas kai lara leo lina marco maya mila nadia nils olga omar paul "
    "petra quinn rosa ruth sami sara theo tina ugo vera wanda yara yusuf zoe"
)
FOLDERS, STEMS, PEOPLE = (tuple(words.split()) for words in (_FOLDERS, _STEMS, _PEOPLE))


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the expert.

    Attributes:
        thought: Why the command is run.
        command: For bash, in a new shell in the work folder.
        output: What it prints.
    """

    thought: str
    command: str
    output: str = ""


@dataclass(frozen=True, slots=True)
class ShellTask:
    """A small task in a folder of files.

    Attributes:
        request: What is asked for.
        files: Path in the work folder -> content, at the start.
        turns: The expert's, without the submission.
        checks: Commands and what they print if the task is solved, run afterwards; the
            first fails at the start.
        modes: Path -> mode of those files whose mode is not 644.
    """

    request: str
    files: Mapping[str, str]
    turns: Sequence[Turn]
    checks: Sequence[tuple[str, str]]
    modes: Mapping[str, str] = field(default_factory=dict)


def trajectory_of(task: ShellTask, id: str, **metadata: Any) -> Trajectory:
    """A task as a trajectory of the domain ``swe``, with the submission as its last step."""
    turns = [*task.turns, Turn("The result is as asked for, so I hand it in.", _SUBMIT)]
    steps = tuple(
        ExpertStep(
            f"```bash\n{turn.command}\n```",
            thought=turn.thought,
            observation="" if turn.command == _SUBMIT else seen(turn.output),
        )
        for turn in turns
    )
    kept = {
        "grammar": "bash",
        "image": IMAGE,
        "workdir": WORKDIR,
        "setup_command": _setup(task),
        "checks": [{"command": command, "output": output} for command, output in task.checks],
    }
    return Trajectory(id, task.request, steps, domain="swe", metadata={**kept, **metadata})


def seen(output: str) -> str:
    """What an agent is shown of a command that ended well."""
    return f"<returncode>0</returncode>\n<output>\n{output}</output>"


def unchanged(files: Mapping[str, str]) -> tuple[str, str]:
    """A check that files are as they were."""
    return f"cat {' '.join(map(shlex.quote, files))}", "".join(files.values())


def lines(values: Sequence[object]) -> str:
    """Values, one a line."""
    return "".join(f"{value}\n" for value in values)


def folder_name(draw: random.Random) -> str:
    """A name of two words for a folder."""
    return f"{draw.choice(FOLDERS)}-{draw.choice(STEMS)}"


def some(randomness: random.Random, words: Sequence[str], count: int) -> list[str]:
    """Different words, in alphabetical order."""
    return sorted(randomness.sample(words, count))


def _setup(task: ShellTask) -> str:
    folders = sorted({path.rpartition("/")[0] for path in task.files} - {""})
    made = [f"mkdir -p {' '.join(map(shlex.quote, folders))}"] if folders else []
    made += [
        f"printf %s {shlex.quote(content)} > {shlex.quote(path)}"
        for path, content in task.files.items()
    ]
    made += [f"chmod {mode} {shlex.quote(path)}" for path, mode in task.modes.items()]
    return " && ".join(made)

"""Explain the reward of an answer: the parse, every matching block, 2M/T with its numbers.

    # An answer and the expert's step, as files; - reads the standard input.
    python -m srl_agent.explain answer.txt --expert expert.txt
    # The expert's step of an instance, several answers as a group.
    python -m srl_agent.explain a.txt b.txt --source builtin_swe --instance parse-microseconds/1
    # A page instead of the text.
    python -m srl_agent.explain answer.txt --expert expert.txt --html why.html

It also says what autojunk, the bound on length, and for a command ``scored: arguments``
would change, and what each answer's advantage in the group would be.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from srl_agent.reports.explanation import Explanation, Target, explain, in_group
from srl_agent.reports.explanation_output import print_explanations, write_page
from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.commands import GRAMMARS, Scored, scored_text
from srl_envs.data import SOURCES, load_trajectories
from srl_envs.errors import ConfigError, DataError, require
from srl_envs.instances import StepInstance
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.rewards import REWARDS

_BOOLEAN = ("true", "false")


@dataclass(frozen=True, slots=True)
class _Compared:
    """What answers are compared with, and the same with ``scored: arguments``."""

    target: Target
    arguments: Target | None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = _parser().parse_args(argv)
    log_to_stderr(given.log_level)
    return exit_status(lambda: _explain(given), failed=2)


def _explain(given: argparse.Namespace) -> int:
    longest = given.max_reward_characters
    require(longest >= 1, "max_reward_characters", longest, "at least 1")
    settings = RewardSettings(
        autojunk=given.autojunk == "true",
        max_characters=longest,
        format=ResponseFormat(
            think_prefilled=given.think_prefilled == "true",
            require_think=given.require_think == "true",
        ),
        name=given.reward,
    )
    if given.answers.count("-") + (given.expert == "-") > 1:
        raise ConfigError("The standard input (-) can be read once: give the other text as a file.")
    compared = _compared(given)
    explanations: Sequence[Explanation] = [
        explain(
            "standard input" if name == "-" else name,
            _read(name),
            compared.target,
            settings,
            arguments=compared.arguments,
            truncated=given.truncated,
        )
        for name in given.answers
    ]
    explanations, group = in_group(explanations, given.rewards, given.scale_rewards == "group")
    if given.html is not None:
        write_page(given.html, explanations, group, compared.target.title)
        print(given.html)
    else:
        print_explanations(explanations, group)
    return 0


def _compared(given: argparse.Namespace) -> _Compared:
    if (given.expert is None) == (given.instance is None):
        raise ConfigError("Give the expert's step: either --expert FILE or --instance ID.")
    if given.expert is not None:
        return _of_file(_read(given.expert), given.grammar, given.scored)
    require(
        given.grammar is None,
        "grammar",
        given.grammar,
        "left out: the instance's trajectory has it",
    )
    return _of_instance(_instance(given), given.scored)


def _of_file(expert: str, grammar: str | None, scored: Scored) -> _Compared:
    if grammar is None:
        require(
            scored == "action", "scored", scored, "action, or give --grammar: it reads commands"
        )
        return _Compared(Target(expert), None)

    def target(how: Scored) -> Target:
        return Target(
            scored_text(expert, grammar, how), lambda action: scored_text(action, grammar, how)
        )

    return _Compared(target(scored), None if scored == "arguments" else target("arguments"))


def _of_instance(instance: StepInstance, scored: Scored) -> _Compared:
    def target(how: Scored) -> Target:
        asked = replace(instance, settings=PromptSettings(scored=how))
        return Target(asked.expert_action, asked.scored, asked.title)

    commands = instance.trajectory.has_commands
    require(commands or scored == "action", "scored", scored, "action: the step is not a command")
    other = target("arguments") if commands and scored == "action" else None
    return _Compared(target(scored), other)


def _instance(given: argparse.Namespace) -> StepInstance:
    trajectories = load_trajectories(
        given.source, path=given.path, seed=given.split_seed, count=given.count
    )
    instances = trajectories.instances("all")
    for instance in instances:
        if instance.id == given.instance:
            return instance
    names = [instance.id for instance in instances]
    close = difflib.get_close_matches(given.instance, names, n=3, cutoff=0.5) or names[:3]
    raise DataError(
        f"{trajectories.source} has no instance {given.instance!r} among its {len(names)}: an id is"
        f" a trajectory's and the number of a step, such as {', '.join(close)}."
    )


def _read(name: str) -> str:
    content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("srl_agent.explain"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("answers", nargs="+", metavar="ANSWER", help="files with an answer each; - is stdin")
    add("--expert", metavar="FILE", help="the expert's step; - is stdin")
    add("--instance", metavar="ID", help="the expert's step of an instance of --source instead")
    add("--source", default="builtin", help=f"one of {', '.join(SOURCES.names())}, or a .jsonl in"
        " our schema (default: %(default)s)")  # fmt: skip
    add("--path", type=Path, help="local file or folder of the source")
    add("--split_seed", type=int, default=0, help="what the built-in source generates (default: 0)")
    add("--count", type=int, default=2000, help="problems of the built-in source (default: 2000)")
    add("--grammar", help=f"the expert's step is a command in {', '.join(GRAMMARS.names())}")
    add("--scored", choices=get_args(Scored), default="action",
        help="what of a command is compared (default: %(default)s)")  # fmt: skip
    add(
        "--reward",
        default="similarity",
        help=f"{', '.join(REWARDS.names())} (default: %(default)s)",
    )
    add(
        "--autojunk",
        default="false",
        help="difflib's heuristic (default: %(default)s)",
        choices=_BOOLEAN,
    )
    add("--max_reward_characters", type=int, default=16_000,
        help="so many first characters of an action can match (default: %(default)s)")  # fmt: skip
    add("--require_think", default="true", help="false accepts answers without a think block"
        " (default: %(default)s)", choices=_BOOLEAN)  # fmt: skip
    add("--think_prefilled", default="false", help="the prompt opened the think block"
        " (default: %(default)s)", choices=_BOOLEAN)  # fmt: skip
    add("--truncated", action="store_true", help="the answers hit the token limit")
    add("--rewards", type=float, nargs="+", default=[], metavar="R",
        help="rewards of further answers of the group")  # fmt: skip
    add("--scale_rewards", choices=("group", "none"), default="group",
        help="whether advantages are divided by the deviation (default: %(default)s)")  # fmt: skip
    add("--html", type=Path, metavar="FILE", help="write a page instead of the text")
    add("--log_level", choices=LOG_LEVELS, default="warning",
        help="log messages to show, from this level upward (default: %(default)s)")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())

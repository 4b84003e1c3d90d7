"""Write any source as the data set of another trainer, with splits and settings recorded.

    python -m srl_envs.export --to verl gsm8k data/verl

OUT then holds train and validation in the trainer's format, what else its configuration
needs, and export.json with all settings. docs/trainers.md goes on from there.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from srl_envs import __version__
from srl_envs.adapters.episodes import EpisodeRow
from srl_envs.adapters.rows import StepRow
from srl_envs.adapters.tables import TABLES, AnyRow
from srl_envs.command_line import LOG_LEVELS, exit_status, log_to_stderr, program
from srl_envs.commands import Scored
from srl_envs.data import SOURCES, load_trajectories
from srl_envs.data.agent_sets import HUB_SPLITS
from srl_envs.data.splits import check_whole_number, split_by_question
from srl_envs.errors import ConfigError, DataError, require
from srl_envs.instances import StepInstances
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.rewards import REWARDS, needs_state
from srl_envs.sandboxes import SANDBOXES
from srl_envs.trajectory import Targets, Trajectory

_logger = logging.getLogger(__name__)

_MANIFEST = "export.json"
_OF_EPISODES = ("sandbox", "max_steps")
_OF_STEPS = ("targets", "scored", "reward", "autojunk", "max_reward_characters")
_OF_COMMANDS = (
    "history_turns",
    "observation_characters",
    "max_prompt_bytes",
    "scored",
    "sandbox",
)


def main(arguments: list[str] | None = None) -> int:
    """Write a data set; 0 if it is there."""
    return exit_status(lambda: _run(_parser().parse_args(arguments)), failed=2)


def _run(chosen: argparse.Namespace) -> int:
    log_to_stderr(chosen.log_level)
    _check(chosen)
    source = _source(chosen)
    trajectories = load_trajectories(**source, drop_benchmark_overlap=chosen.drop_benchmark_overlap)
    found, left_out = list(trajectories), trajectories.rejected
    _check_effect(chosen, found)
    if chosen.episodes:
        found = [one for one in found if one.has_verdict]
        if without := len(trajectories) - len(found):
            left_out["no tests and no answer, so no verdict"] = without
        if not found:
            raise DataError(
                f"{chosen.source}: no trajectory has tests or an answer, so no episode has a"
                " verdict: export steps instead."
            )
    splits = {"train": found}
    if chosen.held_out:
        train, validation = split_by_question(found, chosen.held_out, chosen.split_seed)
        splits = {"train": train, "validation": validation}
    splits["train"] = splits["train"][: chosen.limit]
    table = TABLES[chosen.to]
    chosen.out.mkdir(parents=True, exist_ok=True)
    counts = {
        split: table.write(_rows(some, source, chosen), chosen.out, split)
        for split, some in splits.items()
    }
    for name, text in table.files.items():
        (chosen.out / name).parent.mkdir(parents=True, exist_ok=True)
        (chosen.out / name).write_text(text, encoding="utf-8")
    manifest = _manifest(chosen, source, splits, counts, left_out)
    text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
    (chosen.out / _MANIFEST).write_text(text, encoding="utf-8")
    what = "episodes" if chosen.episodes else "steps"
    print(f"{chosen.out}: " + ", ".join(f"{n} {what} in {split}" for split, n in counts.items()))
    return 0


def _check(chosen: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is read.

    Raises:
        ConfigError: A setting is out of its range, or has no effect.
        DataError: The folder is not free.
    """
    check_whole_number("--held_out", chosen.held_out, 0)
    if chosen.limit is not None:
        check_whole_number("--limit", chosen.limit, 1)
    SANDBOXES.named(chosen.sandbox)
    REWARDS.named(chosen.reward)
    if chosen.max_steps is not None:
        check_whole_number("--max_steps", chosen.max_steps, 1)
    if chosen.out.exists() and not chosen.out.is_dir():
        raise DataError(f"{chosen.out} is a file: name a new folder.")
    if chosen.out.exists() and any(chosen.out.iterdir()):
        raise DataError(f"{chosen.out} is not empty: name a new folder.")
    without, when = (_OF_STEPS, "with") if chosen.episodes else (_OF_EPISODES, "without")
    if given := _given(chosen, without):
        raise ConfigError(f"--{given[0]} has no effect {when} --episodes true: leave it out.")
    if needs_state(chosen.reward):
        raise ConfigError(
            f"--reward {chosen.reward} compares in the expert's sandbox, which rows of steps do not"
            " have: use another reward, or our trainer."
        )
    _prompt(chosen)
    _reward(chosen)


def _check_effect(chosen: argparse.Namespace, found: Sequence[Trajectory]) -> None:
    """Refuse settings that nothing in the source answers to.

    Raises:
        ConfigError: A setting has no effect.
    """
    names, missing = tuple[str, ...](), ""
    if not any(one.has_commands for one in found):
        names, missing = _OF_COMMANDS, "commands"
    elif all(one.domain == "swe" for one in found):
        names, missing = ("title_hint",), "titles"
    if given := _given(chosen, names):
        raise ConfigError(
            f"--{given[0]} has no effect: {chosen.source} has no {missing}. Leave it out."
        )


def _given(chosen: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Those of the settings that are not at their default."""
    parser = _parser()
    return [name for name in names if getattr(chosen, name) != parser.get_default(name)]


def _source(chosen: argparse.Namespace) -> dict[str, Any]:
    """The arguments of load_trajectories; files by absolute path, for workers elsewhere."""
    named = {
        "source": chosen.source,
        "path": chosen.path,
        "count": chosen.count,
        "seed": chosen.split_seed,
        "hub_split": chosen.hub_split,
        "resolved_only": chosen.resolved_only,
        "tasks": chosen.tasks,
        "config": chosen.dataset_config,
        "revision": chosen.dataset_revision,
    }
    for key in ("source", "path", "tasks"):
        if named[key] is not None and Path(named[key]).expanduser().exists():
            named[key] = str(Path(named[key]).expanduser().absolute())
    return {key: value for key, value in named.items() if value is not None}


def _prompt(chosen: argparse.Namespace) -> PromptSettings:
    return PromptSettings(
        title_hint=chosen.title_hint,
        history_turns=chosen.history_turns,
        observation_characters=chosen.observation_characters,
        max_prompt_tokens=chosen.max_prompt_bytes,
        scored=chosen.scored,
    )


def _reward(chosen: argparse.Namespace) -> RewardSettings:
    longest = chosen.max_reward_characters
    require(longest >= 1, "max_reward_characters", longest, "at least 1")
    return RewardSettings(
        autojunk=chosen.autojunk,
        max_characters=longest,
        format=ResponseFormat(chosen.think_prefilled, chosen.require_think),
        name=chosen.reward,
    )


def _rows(
    trajectories: Sequence[Trajectory], source: Mapping[str, Any], chosen: argparse.Namespace
) -> Iterator[AnyRow]:
    prompt, reward = _prompt(chosen), _reward(chosen)
    if not chosen.episodes:
        for instance in StepInstances(trajectories, chosen.targets, prompt):
            yield StepRow.of(instance, reward)
        return
    settings: dict[str, Any] = {"reward": asdict(reward), "sandbox": chosen.sandbox}
    if chosen.max_steps is not None:
        settings["max_steps"] = chosen.max_steps
    for trajectory in trajectories:
        yield EpisodeRow.of(trajectory, source, prompt, **settings)


def _manifest(
    chosen: argparse.Namespace,
    source: Mapping[str, Any],
    splits: Mapping[str, Sequence[Trajectory]],
    counts: Mapping[str, int],
    left_out: Mapping[str, int],
) -> dict[str, Any]:
    """What was exported and how: enough to export it again."""
    return {
        "srl_envs": __version__,
        "to": chosen.to,
        "rows": "episodes" if chosen.episodes else "steps",
        "source": dict(source),
        "split": {"held_out": chosen.held_out, "split_seed": chosen.split_seed},
        "limit": chosen.limit,
        "targets": chosen.targets,
        "prompt": asdict(_prompt(chosen)),
        "reward": asdict(_reward(chosen)),
        "counts": {
            split: {"trajectories": len(splits[split]), "rows": rows}
            for split, rows in counts.items()
        },
        "left_out": dict(left_out),
    }


def _true(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError("give true or false")
    return text == "true"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("srl_envs.export"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", help=f"{', '.join(SOURCES.names())}, a hub name, or a .jsonl in our schema")
    add("out", type=Path, help="a new folder")
    add("--to", required=True, choices=sorted(TABLES), help="whose format")
    add(
        "--episodes",
        type=_true,
        default=False,
        metavar="true|false",
        help="whole episodes that the model acts through, each with a verdict, and not steps"
        " (default: false)",
    )
    _add_source(parser)
    _add_prompt(parser)
    _add_reward(parser)
    add("--sandbox", default="docker", help=f"of episodes: {', '.join(SANDBOXES.names())}")
    add("--max_steps", type=int, help="most turns of an episode (default: the environment's)")
    add(
        "--log_level",
        choices=LOG_LEVELS,
        default="info",
        help="log messages to show, from this level upward (default: %(default)s)",
    )
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("source").add_argument
    add("--path", help="local file or folder of the source")
    add(
        "--held_out",
        type=int,
        default=60,
        help="questions kept for validation; 0 keeps none (default: %(default)s)",
    )
    add("--split_seed", type=int, default=0, help="decides which (default: %(default)s)")
    add("--limit", type=int, help="at most this many training trajectories")
    add("--count", type=int, help="problems that a built-in source generates (default: 2000)")
    add("--hub_split", choices=HUB_SPLITS, help="spelling of swe_smith (default: xml)")
    add(
        "--resolved_only",
        type=_true,
        default=True,
        metavar="true|false",
        help="leave out agents' runs that failed (default: true)",
    )
    add("--tasks", help="the tasks of agents' trajectories, with their images and tests")
    add("--dataset_config", help="the set's configuration on the hub")
    add("--dataset_revision", help="a branch, tag or commit on the hub")
    add(
        "--drop_benchmark_overlap",
        type=_true,
        default=False,
        metavar="true|false",
        help="leave out questions that are in a math benchmark (default: false)",
    )


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("prompt").add_argument
    defaults = PromptSettings()
    add(
        "--targets",
        choices=get_args(Targets),
        default="all_but_last",
        help="which steps are asked for (default: %(default)s)",
    )
    add(
        "--title_hint",
        type=_true,
        default=True,
        metavar="true|false",
        help="show the title of the step to write (default: true)",
    )
    add(
        "--history_turns",
        type=int,
        default=defaults.history_turns,
        help="commands that a prompt shows (default: %(default)s)",
    )
    add(
        "--observation_characters",
        type=int,
        default=defaults.observation_characters,
        help="longer observations are cut in their middle (default: %(default)s)",
    )
    add(
        "--max_prompt_bytes",
        type=int,
        help="bound of a software-engineering prompt in UTF-8 bytes, which no byte-level"
        " tokenizer's tokens exceed (default: none)",
    )
    add(
        "--scored",
        choices=get_args(Scored),
        default="action",
        help="what of a command is compared (default: %(default)s)",
    )


def _add_reward(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("reward").add_argument
    defaults = RewardSettings()
    add("--reward", default=defaults.name, help=f"{', '.join(REWARDS.names())}")
    add(
        "--autojunk",
        type=_true,
        default=False,
        metavar="true|false",
        help="difflib's heuristic (default: false)",
    )
    add(
        "--max_reward_characters",
        type=int,
        default=defaults.max_characters,
        help="how much of an answer can match (default: %(default)s)",
    )
    add(
        "--think_prefilled",
        type=_true,
        default=False,
        metavar="true|false",
        help="the chat template opens the think block, as those of R1 do (default: false)",
    )
    add(
        "--require_think",
        type=_true,
        default=True,
        metavar="true|false",
        help="an answer without a think block is malformed (default: true)",
    )


if __name__ == "__main__":
    sys.exit(main())

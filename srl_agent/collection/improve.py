"""Self-improvement: a student's own verified solutions become the experts of its next stage.

A round asks the student for several solutions of each problem, keeps one of those that
verify (:func:`~srl_agent.collection.solutions.best_of`), and trains the student on them by
SRL, the hardest problems first. The next round starts from what was trained.

A model that learns from itself may collapse: it writes the same, or ever longer or
shorter, or gets worse. Problems that are held out from all rounds show it, see
:func:`collapse_of`; a collapse ends the rounds.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

from srl_agent.collection.config import TeacherConfig
from srl_agent.collection.folder import TRAJECTORIES, default_folder
from srl_agent.collection.problems import Problems
from srl_agent.collection.results import CollectResults
from srl_agent.collection.run import Work, collect
from srl_agent.collection.solutions import Verdict
from srl_agent.command_line import parse
from srl_agent.inference.backends import GeneratorConfig
from srl_agent.runs.files import replace_file
from srl_agent.runs.ownership import is_finished
from srl_envs.data import load_trajectories
from srl_envs.data.jsonl import save_trajectories
from srl_envs.data.splits import check_whole_number, first_by_hash, question_key
from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.reward import sequence_similarities
from srl_envs.trajectory import Trajectory

_logger = logging.getLogger(__name__)

ROUNDS = "rounds.json"
_MOST_COMPARED = 2000
"""Pairs of answers whose similarity makes the diversity; more change it by little."""
_COMPARED_CHARACTERS = 4000


@dataclass
class ImproveConfig:
    """Rounds in which the model learns from its own solutions."""

    rounds: int = field(
        default=0,
        metadata={
            "help": (
                "Rounds of self-improvement: the model answers, and is trained on what is kept. 0:"
                " no training, the trajectories are all that is made."
            )
        },
    )
    train_config: str | None = field(
        default=None,
        metadata={
            "help": (
                "Config of the training of each round, a name or a YAML file; source, model and"
                " output_dir are set here. Needed with rounds."
            )
        },
    )
    held_out_problems: int = field(
        default=100,
        metadata={
            "help": (
                "rounds: problems that are asked in each round and never trained on; they watch for"
                " a collapse. At least 1."
            )
        },
    )
    hardest: int | None = field(
        default=None,
        metadata={
            "help": (
                "rounds: train only on so many of the problems that have a verified solution, those"
                " with the smallest share of verified tries. None takes all."
            )
        },
    )

    def __post_init__(self) -> None:
        check_whole_number("rounds", self.rounds, 0)
        check_whole_number("held_out_problems", self.held_out_problems, 1)
        if self.hardest is not None:
            check_whole_number("hardest", self.hardest, 1, ", or None")
        if self.rounds and self.train_config is None:
            raise ConfigError(
                f"rounds is {self.rounds}, but train_config is None: name the config of the"
                " training, such as srl_math_7b."
            )


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched in a round, on the problems that are held out from all.

    Attributes:
        held_out_reward: Share of the answers that pass.
        diversity: How different the answers to one problem are, in [0, 1]: one minus
            their mean similarity in pairs.
        tokens: Mean length of an answer.
        steps: Mean number of steps of the answers that pass; 0 if none does.
        solved: Share of the training problems with an answer that passes; None if they
            were not asked.
    """

    held_out_reward: float
    diversity: float
    tokens: float
    steps: float
    solved: float | None = None


def watch(verdicts: Mapping[str, Sequence[Verdict]], held_out: frozenset[str]) -> Watch:
    """The figures of a round.

    Args:
        verdicts: By problem.
        held_out: Problems that are never trained on.
    """
    watched = {id: each for id, each in verdicts.items() if id in held_out}
    answers = [one for each in watched.values() for one in each]
    training = [each for id, each in verdicts.items() if id not in held_out]
    passed = [one.trajectory for one in answers if one.trajectory is not None]
    solved = [any(one.trajectory is not None for one in each) for each in training]
    return Watch(
        _mean([one.trajectory is not None for one in answers]),
        _diversity(watched.values()),
        _mean([one.draft.tokens for one in answers]),
        _mean([len(one.steps) for one in passed]),
        _mean(solved) if solved else None,
    )


def collapse_of(first: Watch, now: Watch) -> str:
    """Why the rounds should end; empty as long as they may go on.

    Against the first round: the answers have lost half of their diversity (and at least
    0.02 of it), have half or twice the length, or are right less often by a tenth of all
    answers.
    """
    if now.diversity < min(first.diversity / 2, first.diversity - 0.02):
        return f"the diversity fell from {first.diversity:.3f} to {now.diversity:.3f}"
    if not first.tokens / 2 <= now.tokens <= first.tokens * 2:
        return f"the length went from {first.tokens:.0f} to {now.tokens:.0f} tokens"
    if now.held_out_reward < first.held_out_reward - 0.1:
        return (
            f"the held-out reward fell from {first.held_out_reward:.3f} to"
            f" {now.held_out_reward:.3f}"
        )
    return ""


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _diversity(of_problems: Iterable[Sequence[Verdict]]) -> float:
    groups = [[one.draft.text[:_COMPARED_CHARACTERS] for one in each] for each in of_problems]
    pairs = [pair for texts in groups for pair in combinations(texts, 2)]
    shown = pairs[:: max(1, len(pairs) // _MOST_COMPARED)]
    return 1.0 - fmean(sequence_similarities(shown)) if shown else 0.0


def self_improve(
    work: Work, config: TeacherConfig, improve: ImproveConfig, model: GeneratorConfig
) -> str:
    """All rounds, or what a killed run left to do; why the last round was not a good one, if so.

    Folders: ``<output_dir>/round-1/collected`` and ``.../trained``, and so on; the last
    ``round-N/collected`` has answers to the held-out problems only. ``rounds.json`` has
    the figures.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    _check(config, model)
    held_out = _held_out(work.problems, improve.held_out_problems)
    place = config.output_dir or default_folder("improve", work.source, model)
    folder = Path(place).expanduser()
    watched: list[Watch] = []
    for number in range(1, improve.rounds + 2):
        last = number > improve.rounds
        here = folder / f"round-{number}"
        results = _collect(work, config, model, here, held_out, last)
        watched.append(Watch(**results.figures))
        _write_rounds(folder, watched)
        if why := collapse_of(watched[0], watched[-1]):
            _logger.warning(f"round {number}: {why}. The rounds end here.")
            return why
        if not last:
            model = replace(model, model=str(_train(here, improve, model, held_out, number)))
    return ""


def _check(config: TeacherConfig, model: GeneratorConfig) -> None:
    if model.base_url:
        raise ConfigError(
            "rounds trains the model here, but base_url asks a server: give --model a folder or a"
            " name on the hub, without --base_url."
        )
    if config.tries < 2:
        raise ConfigError("tries is 1: rounds needs at least 2, to tell hard problems from easy.")
    if config.dry_run:
        raise ConfigError("dry_run does not go with rounds: give --rounds 0 with it.")


def _held_out(problems: Problems, count: int) -> frozenset[str]:
    if count >= len(problems.asked):
        raise ConfigError(
            f"held_out_problems is {count}, but there are {len(problems.asked)} problems: hold out"
            " fewer, so that some are left to train on."
        )
    keys = first_by_hash({question_key(one.text) for one in problems.asked}, count, 0)
    return frozenset(one.id for one in problems.asked if question_key(one.text) in keys)


def _collect(
    work: Work,
    config: TeacherConfig,
    model: GeneratorConfig,
    folder: Path,
    held_out: frozenset[str],
    only_held_out: bool,
) -> CollectResults:
    problems = work.problems
    if only_held_out:
        problems = replace(problems, asked=[one for one in problems.asked if one.id in held_out])
    work = replace(
        work, problems=problems, figures=lambda verdicts: asdict(watch(verdicts, held_out))
    )
    results = collect(work, replace(config, output_dir=str(folder / "collected")), model)
    assert results is not None
    if results.open:
        raise InfrastructureError(
            f"{folder}: {results.open} requests have no answer ({results.failure or 'the budget'}):"
            " the same command asks again."
        )
    return results


def _train(
    folder: Path,
    improve: ImproveConfig,
    model: GeneratorConfig,
    held_out: frozenset[str],
    number: int,
) -> Path:
    """Train on what was kept; the folder of the trained model."""
    trained = folder / "trained"
    if is_finished(trained):
        return trained / "final"
    kept = folder / "collected" / TRAJECTORIES
    found = load_trajectories(str(kept)) if kept.stat().st_size else ()
    experts = [one for one in hardest_first(found) if one.id not in held_out][: improve.hardest]
    if not experts:
        raise DataError(
            f"Round {number}: no problem outside the held-out ones has a verified solution, so"
            " there is nothing to train on. Use easier problems or a better model."
        )
    save_trajectories(experts, folder / "experts.jsonl")
    _run_training(str(improve.train_config), folder / "experts.jsonl", trained, model)
    return trained / "final"


def _run_training(config: str, experts: Path, folder: Path, model: GeneratorConfig) -> None:
    import torch
    from trl import ModelConfig

    from srl_agent.runs.machine_errors import explained_errors
    from srl_agent.training.config import DataConfig, SRLConfig
    from srl_agent.training.methods import check_used
    from srl_agent.training.run import Run

    flags = ["--config", config, "--source", str(experts), "--output_dir", str(folder)]
    flags += ["--model_name_or_path", model.model]
    name, (data, args, student) = parse([DataConfig, SRLConfig, ModelConfig], config, flags)
    check_used([args])
    args.shuffle_dataset = False  # the hardest problems come first
    with explained_errors(lambda: folder):
        Run(name, data, args, student).train()
    gc.collect()  # a trainer holds itself in cycles, and with it the model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def hardest_first(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """By the share of tries that passed, the smallest first."""
    return sorted(
        trajectories, key=lambda one: float(one.metadata["passed"]) / float(one.metadata["tries"])
    )


def _write_rounds(folder: Path, watched: Sequence[Watch]) -> None:
    rows = [{"round": number, **asdict(one)} for number, one in enumerate(watched, start=1)]
    replace_file(folder / ROUNDS, json.dumps(rows, indent=1).encode())

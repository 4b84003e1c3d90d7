"""``collect swe``: a teacher acts in sandboxes; tests decide, and a replay confirms."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from srl_agent.collection.budget import BudgetConfig, Spent, prompt_tokens
from srl_agent.collection.drafts import DraftStore, read_drafts
from srl_agent.collection.folder import (
    DRAFTS,
    REJECTS,
    TRAJECTORIES,
    collection_folder,
    default_folder,
    write_lines,
)
from srl_agent.collection.recorded import BudgetSpentError, RecordedGenerator
from srl_agent.collection.results import CollectResults, dry_run_text
from srl_agent.collection.run import exit_status_of
from srl_agent.collection.solved import (
    Attempt,
    attempt_of,
    attempt_of_run,
    best_attempt,
    confirmed,
)
from srl_agent.command_line import LogConfig, parse
from srl_agent.evaluation.agent.attempts import EPISODES, AttemptStore
from srl_agent.evaluation.agent.config import AgentConfig
from srl_agent.evaluation.agent.run import load_tasks
from srl_agent.evaluation.folder import model_identity, model_label
from srl_agent.inference.backends import GeneratorConfig, open_generator, resolved
from srl_agent.rollouts.agent_tasks import AgentInstances, SharedVerifier, Surroundings
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.policies import GeneratorPolicy
from srl_agent.runs.files import replace_file
from srl_agent.runs.provenance import environment
from srl_envs.command_line import log_to_stderr
from srl_envs.data import load_trajectories
from srl_envs.data.atif import atif_document
from srl_envs.data.jsonl import save_trajectories
from srl_envs.data.swe_smith import swe_smith_row
from srl_envs.errors import ConfigError, InfrastructureError, require
from srl_envs.trajectory import Trajectory

SWE_SMITH, ATIF = "swe_smith.jsonl", "atif"
"""The same trajectories as SWE-smith's rows, and a folder of one ATIF document each."""


@dataclass
class SweCollectConfig(AgentConfig, BudgetConfig):
    """Tasks with tests, how they are tried, and what is kept."""

    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Folder of the run; rerun the same command to resume. None:"
                " runs/collect-swe-<source>-<model>."
            )
        },
    )
    require_think: bool = field(
        default=False,
        metadata={
            "help": (
                "An answer without a think block is malformed. False: what stands before the"
                " command is the thought then."
            )
        },
    )
    max_drift: float = field(
        default=0.2,
        metadata={
            "help": (
                "Largest mean distance of the observations in the replay from those of the episode,"
                " 0 to 1. Times and hashes in outputs make some."
            )
        },
    )
    runs: str | None = field(
        default=None,
        metadata={
            "help": (
                "Trajectories that mini-swe-agent 1 or 2 saved of the source's tasks (.traj.json, a"
                " folder of them, or rows): they are replayed, tested and kept instead of asking a"
                " model."
            )
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_budget()
        require(0 <= self.max_drift <= 1, "max_drift", self.max_drift, "from 0 to 1")


def command(arguments: list[str], prog: str) -> int:
    """``python -m srl_agent.collect swe``."""
    _, (config, model, log) = parse(
        [SweCollectConfig, GeneratorConfig, LogConfig], "collect_swe", arguments, prog
    )
    log_to_stderr(log.log_level)
    return exit_status_of(collect_swe(config, model))


def collect_swe(config: SweCollectConfig, model: GeneratorConfig) -> CollectResults | None:
    """Let a teacher try tasks, and write what is solved and confirmed; None of a dry run.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    model = resolved(model)
    tasks = load_tasks(config)
    if others := {one.domain for one in tasks} - {"swe"}:
        raise ConfigError(
            f"The source {config.source!r} holds {others.pop()!r} tasks: collect swe needs tasks"
            " with tests. Problems with answers are for collect math."
        )
    place = config.output_dir or default_folder("swe", config.source, model)
    folder = Path(place).expanduser()
    if config.dry_run:
        print(_dry_run(config, tasks, folder))
        return None
    settings = asdict(config) | asdict(model)
    identity = config.identity() | model_identity(model)
    if config.runs is not None:
        identity = {"source": config.source, "runs": str(Path(config.runs).resolve())}
    with (
        collection_folder(folder, "swe", settings, identity),
        DraftStore(folder / DRAFTS) as drafts,
    ):
        failure = ""
        if config.runs is None:
            attempts, failure = _episodes(config, model, tasks, folder, drafts)
        else:
            attempts = _runs(config.runs, tasks)
        attempts = confirmed(
            attempts,
            folder,
            sandbox=config.sandbox,
            command_timeout=config.command_timeout,
            at_once=config.episodes_at_once,
            max_drift=config.max_drift,
        )
        label = model_label(model) if config.runs is None else "mini-swe-agent"
        results = _write(config, label, tasks, attempts, folder, failure)
        versions = environment() | {"command": ["python", "-m", "srl_agent.collect", *sys.argv[1:]]}
        results.write(folder, settings, versions)
    print(f"\n{results.text()}\n\n{folder / TRAJECTORIES}")
    return results


def _episodes(
    config: SweCollectConfig,
    model: GeneratorConfig,
    tasks: Sequence[Trajectory],
    folder: Path,
    drafts: DraftStore,
) -> tuple[list[Attempt], str]:
    """Try what is missing; all attempts, and what the machinery said if some are missing."""
    failure = ""
    with AttemptStore(folder / EPISODES, longest=None) as store:
        try:
            failure = _roll_out(config, model, tasks, store, drafts)
        except BudgetSpentError as error:
            print(error, file=sys.stderr)
        except InfrastructureError as error:
            if not store.attempts:
                raise
            failure = str(error)
        by_id = {task.id: task for task in tasks}
        attempts = [
            attempt_of(by_id[id], record)
            for (id, number), record in sorted(store.attempts.items())
            if id in by_id and number < config.num_samples
        ]
    return attempts, failure


def _roll_out(
    config: SweCollectConfig,
    model: GeneratorConfig,
    tasks: Sequence[Trajectory],
    store: AttemptStore,
    drafts: DraftStore,
) -> str:
    verifier = SharedVerifier()
    around = Surroundings(
        *(config.prompt_settings, config.reward_settings, verifier),
        *(config.sandbox, config.command_timeout),
    )
    wanted = [
        (instance.task, number)
        for number in range(config.num_samples)
        for instance in AgentInstances(tasks, around)
        if (instance.id, number) not in store.attempts
    ]
    if not wanted:
        return ""
    every, failure = len(tasks) * config.num_samples, ""
    solved = sum(bool(one.correct) for one in store.attempts.values())
    generator = open_generator(model)
    try:
        episodes = Episodes(
            GeneratorPolicy(RecordedGenerator(generator, drafts, config), config.generation),
            config.episode_limits,
            format=config.reward_settings.format,
            whole_history=config.episode_history == "whole",
        )
        with tqdm(
            total=every, initial=every - len(wanted), unit="episode", dynamic_ncols=True
        ) as bar:
            for episode in episodes.each(wanted):
                if episode.outcome is None:
                    failure = episode.failure
                else:
                    store.append(episode)
                    solved += bool(episode.outcome.correct)
                tokens = Spent.of(drafts.drafts.values()).tokens
                bar.set_postfix_str(f"{solved} solved, {tokens} tokens", refresh=False)
                bar.update()
    finally:
        generator.close()
        verifier.close()
    return failure


def _runs(path: str, tasks: Sequence[Trajectory]) -> list[Attempt]:
    """Runs of mini-swe-agent as attempts; several of one task are numbered."""
    found = load_trajectories("mini_swe_agent", path=path, resolved_only=False)
    by_id = {name: task for task in tasks for name in (task.id, task.metadata.get("instance_id"))}
    known = {str(name): task for name, task in by_id.items() if name}
    seen: Counter[str] = Counter()
    attempts = []
    for run in found:
        attempt = attempt_of_run(run, 0, known)
        attempts.append(replace(attempt, number=seen[attempt.task]))
        seen[attempt.task] += 1
    return attempts


def _write(
    config: SweCollectConfig,
    label: str,
    tasks: Sequence[Trajectory],
    attempts: Sequence[Attempt],
    folder: Path,
    failure: str,
) -> CollectResults:
    """Write the trajectories in three forms, and the rejects; the figures."""
    of_task: dict[str, list[Attempt]] = {task.id: [] for task in tasks}
    for attempt in attempts:
        of_task.setdefault(attempt.task, []).append(attempt)
    chosen: list[tuple[Trajectory, Attempt]] = []
    for each in of_task.values():
        if (best := best_attempt(each)) is not None and best.trajectory is not None:
            passed = sum(not one.reason for one in each)
            more = {"teacher": label, "tries": len(each), "passed": passed}
            metadata = {**best.trajectory.metadata, **more}
            chosen.append((replace(best.trajectory, metadata=metadata), best))
    rejects = [one for one in attempts if one.reason]
    save_trajectories([one for one, _ in chosen], folder / TRAJECTORIES)
    write_lines(
        folder / SWE_SMITH, [swe_smith_row(one, label, attempt.patch) for one, attempt in chosen]
    )
    write_atif([one for one, _ in chosen], folder / ATIF, label)
    write_lines(folder / REJECTS, [one.row() for one in rejects])
    spent = Spent.of(read_drafts(folder / DRAFTS).values())
    wanted = len(tasks) * config.num_samples if config.runs is None else len(attempts)
    return CollectResults(
        task="swe",
        model=label,
        problems=len(tasks),
        kept=len(chosen),
        passed=len(attempts) - len(rejects),
        answers=len(attempts),
        open=wanted - len(attempts),
        failure=failure,
        rejected=dict(Counter(one.reason for one in rejects)),
        refused={},
        spent=spent,
        cost=spent.cost(config),
    )


def write_atif(trajectories: Sequence[Trajectory], folder: Path, model: str) -> None:
    """Write one document a trajectory; documents of trajectories that are not kept go."""
    from srl_agent import __version__

    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for one in trajectories:
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in one.id)
        document = atif_document(one, "srl", __version__, model)
        replace_file(folder / f"{name}.json", json.dumps(document, indent=1).encode())


def _dry_run(config: SweCollectConfig, tasks: Sequence[Trajectory], folder: Path) -> str:
    """Episodes to come, at their bounds; the first prompt of each, as later ones are not known."""
    done: Mapping[tuple[str, int], object] = {}
    if (path := folder / EPISODES).is_file():
        with AttemptStore(path) as store:
            done = store.attempts
    around = Surroundings(config.prompt_settings, config.reward_settings, lambda a, b: False)
    left = [
        instance
        for number in range(config.num_samples)
        for instance in AgentInstances(tasks, around)
        if (instance.id, number) not in done
    ]
    first = sum(prompt_tokens(None, instance.messages) for instance in left)
    most = len(left) * (config.episode_tokens + config.max_new_tokens)
    requests = len(left) * config.episode_turns
    said = dry_run_text(
        requests, first, most, Spent.of(read_drafts(folder / DRAFTS).values()), config
    )
    return (
        f"{said}\nThese are {len(left)} episodes of at most {config.episode_turns} turns. The"
        " tokens of prompts are those of their first turns: later ones grow with what is seen."
    )

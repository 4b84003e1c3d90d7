"""One collection of texts, from the settings to the files: what ``math`` and ``rewrite`` do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from srl_agent.collection.asking import Asking, missing
from srl_agent.collection.budget import Spent, prompt_tokens
from srl_agent.collection.config import TeacherConfig
from srl_agent.collection.drafts import Draft, DraftStore, Key, read_drafts
from srl_agent.collection.folder import (
    DRAFTS,
    REJECTS,
    TRAJECTORIES,
    collection_folder,
    default_folder,
    write_lines,
)
from srl_agent.collection.problems import Problems
from srl_agent.collection.results import CollectResults, dry_run_text
from srl_agent.collection.solutions import Verdict, best_of
from srl_agent.evaluation.folder import model_identity, model_label
from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.inference.backends import GeneratorConfig, open_generator, resolved
from srl_agent.inference.generator import Request
from srl_agent.runs.provenance import environment
from srl_envs.answers.grading import Grader
from srl_envs.data.jsonl import save_trajectories
from srl_envs.prompts.step import Message
from srl_envs.trajectory import Trajectory

Judge = Callable[[Problem, Sequence[Draft], Grader], list[Verdict]]


@dataclass(frozen=True, slots=True)
class Work:
    """What a command asks, and how it judges what comes.

    Attributes:
        task: The command's name.
        source: Where the problems are from, for the folder's name.
        problems: What is asked.
        messages: The conversation that asks for a solution of a problem.
        judge: A verdict on each answer to a problem.
        figures: What else is measured of the verdicts, by name.
    """

    task: str
    source: str
    problems: Problems
    messages: Callable[[Problem], tuple[Message, ...]]
    judge: Judge
    figures: Callable[[Mapping[str, Sequence[Verdict]]], dict[str, Any]] = lambda verdicts: {}

    def requests(self, problems: Sequence[Problem], tries: Sequence[int]) -> dict[Key, Request]:
        """The requests for these tries; the first try of all problems comes first."""
        return {
            (one.id, number): Request(self.messages(one), number)
            for number in tries
            for one in problems
        }


def collect(work: Work, config: TeacherConfig, model: GeneratorConfig) -> CollectResults | None:
    """Ask a teacher, judge its answers, and write what is kept; None of a dry run.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    model = resolved(model)
    place = config.output_dir or default_folder(work.task, work.source, model)
    folder = Path(place).expanduser()
    if config.dry_run:
        print(_dry_run(work, config, read_drafts(folder / DRAFTS)))
        return None
    settings, identity = asdict(config) | asdict(model), config.identity() | model_identity(model)
    with (
        collection_folder(folder, work.task, settings, identity),
        DraftStore(folder / DRAFTS) as store,
        Grader(config.answer_timeout, config.grading_processes) as grader,
    ):
        verdicts = _Verdicts(work, store, grader)
        unanswered = _ask(work, config, model, store, verdicts)
        results = _write(work, config, model, store, verdicts.all(), folder, unanswered)
        versions = environment() | {"command": ["python", "-m", "srl_agent.collect", *sys.argv[1:]]}
        versions["packages"]["math-verify"] = metadata.version("math-verify")
        results.write(folder, settings, versions)
    print(f"\n{results.text()}\n\n{folder / TRAJECTORIES}")
    return results


def exit_status_of(results: CollectResults | None) -> int:
    """0; or 1 if requests are left without an answer because the machinery failed."""
    if results is None or not results.failure:
        return 0
    print(
        f"{results.open} requests have no answer: {results.failure} The same command asks again.",
        file=sys.stderr,
    )
    return 1


class _Verdicts:
    """The verdicts on all answers; each answer is judged once in a process."""

    def __init__(self, work: Work, store: DraftStore, grader: Grader) -> None:
        self._work, self._store, self._grader = work, store, grader
        self._known: dict[Key, Verdict] = {}

    def all(self) -> dict[str, list[Verdict]]:
        """By problem, those of its answers in the order of the tries."""
        drafts: dict[str, list[Draft]] = {one.id: [] for one in self._work.problems.asked}
        for draft in sorted(self._store.drafts.values(), key=lambda one: one.number):
            if draft.id in drafts:
                drafts[draft.id].append(draft)
        for problem in self._work.problems.asked:
            new = [one for one in drafts[problem.id] if one.key not in self._known]
            for verdict in self._work.judge(problem, new, self._grader):
                self._known[verdict.draft.key] = verdict
        return {id: [self._known[one.key] for one in each] for id, each in drafts.items()}


def _ask(
    work: Work,
    config: TeacherConfig,
    model: GeneratorConfig,
    store: DraftStore,
    verdicts: _Verdicts,
) -> tuple[int, str]:
    """Ask for all tries, or until a problem has enough; how many are left open, and why."""
    rounds = (
        [list(range(config.tries))]
        if config.enough is None
        else [[number] for number in range(config.tries)]
    )
    missing_at_all = missing(work.requests(work.problems.asked, range(config.tries)), store.drafts)
    if not missing_at_all:
        return 0, ""
    generator = open_generator(model)
    open_ones, failure = 0, ""
    try:
        asking = Asking(generator, config.generation, store, config)
        for tries in rounds:
            problems = work.problems.asked
            if config.enough is not None:
                passed = {id: _passed(each) for id, each in verdicts.all().items()}
                problems = [one for one in problems if passed[one.id] < config.enough]
            left = missing(work.requests(problems, tries), store.drafts)
            if left:
                asking.ask(work.requests(problems, tries))
            open_ones += len(missing(left, store.drafts))
            if asking.failure is not None:
                failure = str(asking.failure)
    finally:
        generator.close()
    return open_ones, failure


def _passed(verdicts: Sequence[Verdict]) -> int:
    return sum(one.trajectory is not None for one in verdicts)


def _write(
    work: Work,
    config: TeacherConfig,
    model: GeneratorConfig,
    store: DraftStore,
    verdicts: Mapping[str, Sequence[Verdict]],
    folder: Path,
    unanswered: tuple[int, str],
) -> CollectResults:
    """Write the trajectories and the rejects; the figures of both."""
    label, problems = model_label(model), {one.id: one for one in work.problems.asked}
    kept: list[Trajectory] = []
    for each in verdicts.values():
        best = best_of(each)
        if best is not None and best.trajectory is not None:
            more = {"teacher": label, "tries": len(each), "passed": _passed(each)}
            metadata = {**best.trajectory.metadata, **more}
            kept.append(replace(best.trajectory, metadata=metadata))
    every = [one for each in verdicts.values() for one in each]
    rejects = [one for one in every if one.trajectory is None]
    refused = [
        {"id": one.id, "reason": reason, "problem": one.text, "answer": one.answer}
        for one, reason in work.problems.refused
    ]
    save_trajectories(kept, folder / TRAJECTORIES)
    rows = [one.row(problems[one.draft.id]) for one in rejects]
    write_lines(folder / REJECTS, [*rows, *refused])
    spent = Spent.of(store.drafts.values())
    return CollectResults(
        task=work.task,
        model=label,
        problems=len(problems),
        kept=len(kept),
        passed=len(every) - len(rejects),
        answers=len(every),
        open=unanswered[0],
        failure=unanswered[1],
        rejected=dict(Counter(one.reason for one in rejects)),
        refused=dict(work.problems.reasons),
        spent=spent,
        cost=spent.cost(config),
        figures=work.figures(verdicts),
    )


def _dry_run(work: Work, config: TeacherConfig, drafts: Mapping[Key, Draft]) -> str:
    requests = missing(work.requests(work.problems.asked, range(config.tries)), drafts)
    prompt = sum(prompt_tokens(None, one.messages) for one in requests.values())
    most = len(requests) * config.max_new_tokens
    return dry_run_text(len(requests), prompt, most, Spent.of(drafts.values()), config)

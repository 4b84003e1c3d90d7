"""``collect rewrite``: solutions in any form become titled steps with the same content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from srl_agent.collection.config import TeacherConfig
from srl_agent.collection.content import exchanged, only_in
from srl_agent.collection.drafts import Draft
from srl_agent.collection.originals import HUB_SETS, load_originals
from srl_agent.collection.run import Work, collect, exit_status_of
from srl_agent.collection.solutions import Verdict, judged
from srl_agent.command_line import LogConfig, parse
from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.inference.backends import GeneratorConfig
from srl_envs.answers.grading import Grader
from srl_envs.command_line import log_to_stderr
from srl_envs.errors import ConfigError, require
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.prompts.teacher import REWRITE_SYSTEM_PROMPT, rewrite_text
from srl_envs.trajectory import Trajectory

_STEP_NUMBER = re.compile(
    r"^[^\S\n]*(?:#{1,6}\s*)?(?:\*\*|__)?(?:(?:step|case|part)\s*)?\(?\d{1,3}(?:[.):](?=\s|\*)|\*\*)"
    r"|\b(?:step|equation|eq\.)s?\s*\(?\d{1,3}\)?(?:\s*(?:and|or|to|-)\s*\(?\d{1,3}\)?)?",
    re.IGNORECASE | re.MULTILINE,
)
"""Numbers that name a step or an equation, which rewriting may change."""


@dataclass
class RewriteConfig(TeacherConfig):
    """Solutions, and how much their content may change."""

    solutions: str | None = field(
        default=None,
        metadata={
            "help": (
                "File or folder of rows (.csv, .jsonl, .json, .parquet) with problem (or"
                f" question), a solution, and answer where there is one; or {', '.join(HUB_SETS)}:"
                " that set on the hub."
            )
        },
    )
    solution_column: str | None = field(
        default=None,
        metadata={
            "help": (
                "Column of the solution. None takes the first that a row has of deepseek_attempt,"
                " solution, response, and an answer that is a whole solution, as GSM8K's."
            )
        },
    )
    rewrite_all: bool = field(
        default=False,
        metadata={"help": "Also rewrite solutions that are in titled steps already."},
    )
    max_invented: float = field(
        default=0.0,
        metadata={
            "help": (
                "Share of the rewritten numbers and formulas that may be in neither the solution"
                " nor the problem, and of those that may be exchanged, 0 to 1. 0: none."
            )
        },
    )
    max_lost: float = field(
        default=0.0,
        metadata={
            "help": (
                "Share of the solution's numbers and formulas that may be missing, 0 to 1. 0: none."
                " Raise it for attempts that check themselves many times."
            )
        },
    )

    def __post_init__(self) -> None:
        self.check_teacher()
        for name in ("max_invented", "max_lost"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "from 0 to 1")
        if self.solutions is None:
            raise ConfigError(
                "Say what is rewritten: --solutions FILE (rows with problem and solution), or"
                f" {' or '.join(HUB_SETS)}."
            )


def command(arguments: list[str], prog: str) -> int:
    """``python -m srl_agent.collect rewrite``."""
    _, (config, model, log) = parse(
        [RewriteConfig, GeneratorConfig, LogConfig], "collect_rewrite", arguments, prog
    )
    log_to_stderr(log.log_level)
    return exit_status_of(collect(rewrite_work(config), config, model))


def rewrite_work(config: RewriteConfig) -> Work:
    """What is asked, and how answers are checked.

    Raises:
        ConfigError, DataError: As
            :func:`~srl_agent.collection.originals.load_originals`.
    """
    assert config.solutions is not None
    with Grader(config.answer_timeout, config.grading_processes) as grader:
        originals = load_originals(
            config.solutions, config.solution_column, config.rewrite_all, config.limit, grader
        )
    prompt = REWRITE_SYSTEM_PROMPT if config.system_prompt is None else config.system_prompt

    def judge(problem: Problem, drafts: Sequence[Draft], grader: Grader) -> list[Verdict]:
        original = originals.solutions[problem.id]
        return [compared(one, original, config) for one in judged(problem, drafts, grader)]

    return Work(
        "rewrite",
        config.solutions,
        originals.problems,
        lambda one: evaluation_messages(
            rewrite_text(one.text, originals.solutions[one.id]), prompt
        ),
        judge,
        _figures,
    )


def compared(verdict: Verdict, original: str, config: RewriteConfig) -> Verdict:
    """A verdict that also says what numbers and formulas were invented, lost or exchanged."""
    trajectory = verdict.trajectory
    if trajectory is None:
        return verdict
    written, given = _content(trajectory), _STEP_NUMBER.sub(" ", original)
    invented = only_in(written, given, trajectory.prompt)
    lost = only_in(given, written)
    other = exchanged(written, given, trajectory.prompt)
    detail = f"invented: {invented}; lost: {lost}; exchanged: {'; '.join(other) or 'nothing'}"
    if invented.share > config.max_invented:
        return Verdict(verdict.draft, None, "a number or formula is invented", detail)
    if lost.share > config.max_lost:
        return Verdict(verdict.draft, None, "a number or formula is lost", detail)
    if len(other) > config.max_invented * invented.of:
        return Verdict(verdict.draft, None, "a number is exchanged for another", detail)
    more = {
        "original": original,
        "invented": [*invented.numbers, *invented.formulas],
        "lost": [*lost.numbers, *lost.formulas],
        "exchanged": [*other],
    }
    changed = replace(trajectory, metadata={**trajectory.metadata, **more})
    return Verdict(verdict.draft, changed, detail=detail)


def _content(trajectory: Trajectory) -> str:
    """What a trajectory says, without the numbers of its steps."""
    said = [f"{step.title}\n{step.action}" for step in trajectory.steps]
    return _STEP_NUMBER.sub(" ", "\n\n".join([trajectory.preamble, *said, trajectory.tail]))


def _figures(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, str]:
    compared_ones = [one for each in verdicts.values() for one in each if one.detail]
    changed = [one for one in compared_ones if one.reason.startswith("a number ")]
    kept = [one for each in verdicts.values() for one in each if one.trajectory is not None]
    every = len(changed) + len(kept)
    if not every:
        return {}
    return {
        "Rewritten with the right answer": f"{every}, of which {len(kept)} keep the content",
    }

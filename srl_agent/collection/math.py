"""``collect math``: a teacher solves problems whose answers are known, in titled steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from srl_agent.collection.config import TeacherConfig
from srl_agent.collection.improve import ImproveConfig, self_improve
from srl_agent.collection.problems import load_problems
from srl_agent.collection.run import Work, collect, exit_status_of
from srl_agent.collection.solutions import judged
from srl_agent.command_line import LogConfig, parse
from srl_agent.inference.backends import GeneratorConfig
from srl_envs.command_line import log_to_stderr
from srl_envs.data import SOURCES
from srl_envs.data.splits import check_whole_number
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.prompts.teacher import SOLVE_SYSTEM_PROMPT


@dataclass
class MathCollectConfig(TeacherConfig):
    """Problems with answers, and how they are asked."""

    problems: str | None = field(
        default=None,
        metadata={
            "help": (
                "File of problems (.csv, .jsonl, .json, .parquet): columns problem (or question)"
                " and answer. This or source."
            )
        },
    )
    source: str | None = field(
        default=None,
        metadata={
            "help": (
                "Whose problems instead: a source of math with answers, one of"
                f" {', '.join(SOURCES.names())}, or the path of a .jsonl in our schema."
            )
        },
    )
    dataset_path: str | None = field(
        default=None, metadata={"help": "Local file or folder of the source; None reads the hub."}
    )
    count: int = field(
        default=2000,
        metadata={"help": "Problems that a built-in source generates; other sources ignore it."},
    )

    def __post_init__(self) -> None:
        self.check_teacher()
        check_whole_number("count", self.count, 1)


def command(arguments: list[str], prog: str) -> int:
    """``python -m srl_agent.collect math``; 1 also if rounds ended in a collapse."""
    _, (config, improve, model, log) = parse(
        [MathCollectConfig, ImproveConfig, GeneratorConfig, LogConfig],
        *("collect_math", arguments, prog),
    )
    log_to_stderr(log.log_level)
    work = math_work(config)
    if improve.rounds:
        return 1 if self_improve(work, config, improve, model) else 0
    return exit_status_of(collect(work, config, model))


def math_work(config: MathCollectConfig) -> Work:
    """What is asked, and how answers are checked.

    Raises:
        ConfigError, DataError: As :func:`~srl_agent.collection.problems.load_problems`.
    """
    prompt = SOLVE_SYSTEM_PROMPT if config.system_prompt is None else config.system_prompt
    return Work(
        "math",
        config.problems or config.source or "",
        load_problems(
            config.problems, config.source, config.dataset_path, config.count, config.limit
        ),
        lambda problem: evaluation_messages(problem.text, prompt),
        judged,
    )

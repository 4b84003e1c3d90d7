"""Evaluate a language model.

    # The paper's Table 1: greedy, and 32 samples a problem.
    python -m srl_agent.evaluate math --model Qwen/Qwen2.5-7B-Instruct
    # An SRL model, one step at a time.
    python -m srl_agent.evaluate math --model runs/mine/final --stepwise
    # One benchmark, from a file.
    python -m srl_agent.evaluate math --benchmarks gsm8k --data gsm8k/test.jsonl --limit 20
    # How two such runs differ.
    python -m srl_agent.evaluate math --compare runs/math-base runs/math-srl
    # SWE-Bench Verified, judged by its harness in Docker.
    python -m srl_agent.evaluate swebench --mode oracle --model runs/mine/final
    # The project's own tasks: no registry of images needed.
    python -m srl_agent.evaluate swebench --mode end-to-end --dataset builtin
    # The model acts by itself in each task's repository, until it submits.
    python -m srl_agent.evaluate agent --source builtin_swe --model runs/mine/final

Every answer is saved as soon as it is finished. Rerun the same command to resume a
killed run: it asks nothing twice.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from srl_envs.command_line import exit_status, log_to_stderr, program
from srl_envs.errors import MissingDependencyError, install_command


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_status(
        lambda: _evaluate(arguments),
        interrupted="interrupted: what was answered is kept. Rerun the same command to resume.",
    )


def _evaluate(arguments: list[str]) -> int:
    if arguments[:1] == ["math"]:
        return _math(arguments[1:])
    if arguments[:1] == ["swebench"]:
        return _swebench(arguments[1:])
    if arguments[:1] == ["agent"]:
        return _agent(arguments[1:])
    if {"-h", "--help"} & set(arguments):
        command = program("srl_agent.evaluate")
        print((__doc__ or "").strip().replace("python -m srl_agent.evaluate", command))
        return 0
    print("error: name what to evaluate: math, swebench or agent. See --help.", file=sys.stderr)
    return 2


def _math(arguments: list[str]) -> int:
    try:
        from srl_agent.command_line import LogConfig, parse
        from srl_agent.evaluation.math.compare import compare_runs
        from srl_agent.evaluation.math.config import MathConfig
        from srl_agent.evaluation.math.run import evaluate_math
        from srl_agent.inference.backends import GeneratorConfig
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. Evaluation needs the extra train: {install_command('train')}"
        ) from None
    _, (config, model, log) = parse(
        [MathConfig, GeneratorConfig, LogConfig],
        "evaluate_math",
        arguments,
        prog=f"{program('srl_agent.evaluate')} math",
    )
    log_to_stderr(log.log_level)
    if config.compare is not None:
        before, after = map(Path, config.compare)
        compare_runs(before, after, Path(config.output_dir) if config.output_dir else None)
    else:
        evaluate_math(config, model)
    return 0


def _swebench(arguments: list[str]) -> int:
    try:
        from srl_agent.command_line import LogConfig, parse
        from srl_agent.evaluation.swebench.config import SweBenchConfig
        from srl_agent.evaluation.swebench.run import evaluate_swebench
        from srl_agent.evaluation.swebench.tables import unjudged_line
        from srl_agent.inference.backends import GeneratorConfig
        from srl_envs.fleet.addresses import first_that_answers
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. This needs the extras train and swebench:"
            f" {install_command('train', 'swebench')}"
        ) from None
    _, (config, model, log) = parse(
        [SweBenchConfig, GeneratorConfig, LogConfig],
        "evaluate_swebench",
        arguments,
        prog=f"{program('srl_agent.evaluate')} swebench",
    )
    log_to_stderr(log.log_level)
    if config.engines is not None and (first := first_that_answers(config.engines)):
        os.environ["DOCKER_HOST"] = first  # for images that are read here
    results = evaluate_swebench(config, model)
    line = unjudged_line(results, config.judge)
    if line:
        print(line, file=sys.stderr)
    return 1 if line else 0


def _agent(arguments: list[str]) -> int:
    try:
        from srl_agent.command_line import LogConfig, parse
        from srl_agent.evaluation.agent.config import AgentConfig
        from srl_agent.evaluation.agent.run import evaluate_agent, unjudged_line
        from srl_agent.inference.backends import GeneratorConfig
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is missing. Evaluation needs the extra train: {install_command('train')}"
        ) from None
    _, (config, model, log) = parse(
        [AgentConfig, GeneratorConfig, LogConfig],
        "evaluate_agent",
        arguments,
        prog=f"{program('srl_agent.evaluate')} agent",
    )
    log_to_stderr(log.log_level)
    line = unjudged_line(evaluate_agent(config, model))
    if line:
        print(line, file=sys.stderr)
    return 1 if line else 0


if __name__ == "__main__":
    sys.exit(main())

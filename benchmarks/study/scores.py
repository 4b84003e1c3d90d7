r"""Score models for the study: single steps by their reward, whole problems by their final answer.

    python -m benchmarks.study.scores --size gpu \
        --score quickstart base.json --score runs/study-gpu/seed-0/srl/final srl.json

All answers are greedy.

What a model is asked: of every held-out question of the training's source one step, as
SRL asks for it; held-out questions of the built-in source, and problems of GSM8K's test
set, as ``srl_agent.evaluate math`` asks for them. No seed's training has seen any of
them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from srl_agent.evaluation.math.benchmarks import Problem, load_benchmark
from srl_agent.inference.backends import GeneratorConfig, open_generator
from srl_agent.inference.generator import Completion, GenerationSettings, Generator, Request
from srl_agent.runs.files import replace_file
from srl_agent.runs.freed_memory import keep_freed_memory
from srl_agent.runs.provenance import environment
from srl_agent.training.config import DataConfig
from srl_envs import StepInstance, load_trajectories, step_rewards
from srl_envs.answers.grading import Grader, extract_answer
from srl_envs.command_line import exit_status
from srl_envs.data.splits import split_by_question
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.trajectory import Trajectory

from .plan import Size, read_size

Row = dict[str, Any]


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study.scores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--size",
        required=True,
        help="cpu, gpu, or a YAML file: whose settings of data and scores hold",
    )
    parser.add_argument(
        "--gsm8k",
        help="GSM8K's test set: hub, or a file gsm8k.jsonl or gsm8k/test.jsonl; "
        "without it GSM8K is skipped",
    )
    parser.add_argument(
        "--score",
        nargs=2,
        action="append",
        required=True,
        metavar=("MODEL", "FILE"),
        help="a model by name or folder, and the JSON file for its scores",
    )
    options = parser.parse_args()
    return exit_status(lambda: _score(options))


def _score(options: argparse.Namespace) -> int:
    keep_freed_memory()
    size = read_size(options.size, {})
    builtin, gsm8k = (
        builtin_problems(size),
        gsm8k_problems(options.gsm8k, size.scores["gsm8k"]) if options.gsm8k else [],
    )
    with Grader() as grader:
        for model, output in options.score:
            started = time.monotonic()
            generator = open_generator(GeneratorConfig(model=model, dtype=size.scores["dtype"]))
            try:
                scores: dict[str, Any] = {"model": model, "steps": score_steps(generator, size)}
                rows = score_problems(generator, grader, [*builtin, *gsm8k], size)
            finally:
                generator.close()
            scores["builtin"] = rows[: len(builtin)]
            if gsm8k:
                scores["gsm8k"] = rows[len(builtin) :]
            scores |= {
                "seconds": round(time.monotonic() - started, 1),
                "environment": environment(),
            }
            replace_file(
                Path(output), (json.dumps(scores, indent=1, ensure_ascii=False) + "\n").encode()
            )
            print(f"{model}: {scores['seconds']} s", flush=True)
    return 0


def score_steps(generator: Generator, size: Size) -> list[Row]:
    """One step of each held-out question: reward, similarity (None if malformed) and error."""
    data = DataConfig(
        **{
            field.name: size.training[field.name]
            for field in fields(DataConfig)
            if field.name in size.training
        }
    )
    held_out = held_out_trajectories(data)[: size.scores["questions"]]
    targets = [(trajectory, trajectory.target_count(data.targets)) for trajectory in held_out]
    # The first question's first step, the second's second, ...: every place in a solution occurs.
    instances = [
        StepInstance(trajectory, number % count, data.prompt_settings)
        for number, (trajectory, count) in enumerate(targets)
        if count
    ]
    requests = [Request(tuple(instance.messages)) for instance in instances]
    answers = _answers(generator, requests, size.scores["step_tokens"])
    reward = RewardSettings(
        format=ResponseFormat(require_think=size.training.get("require_think", True))
    )
    expert = [instance.expert_action for instance in instances]
    rewards = step_rewards(
        [answer.text for answer in answers],
        expert,
        reward,
        truncated=[answer.finish == "length" for answer in answers],
    )
    return [
        {
            "id": instance.id,
            "reward": reward.value,
            "similarity": reward.similarity,
            "error": reward.response.error,
            "tokens": answer.tokens,
            "expert": instance.expert_action,
            "text": answer.text,
        }
        for instance, answer, reward in zip(instances, answers, rewards, strict=True)
    ]


def score_problems(
    generator: Generator, grader: Grader, problems: list[Problem], size: Size
) -> list[Row]:
    """Whole problems: whether the final answer is right."""
    answers = _answers(
        generator,
        [Request(evaluation_messages(problem.text)) for problem in problems],
        size.scores["answer_tokens"],
    )
    given = [extract_answer(answer.text) for answer in answers]
    verdicts = grader.grade(
        [(answer, problem.answer) for answer, problem in zip(given, problems, strict=True)]
    )
    return [
        {
            "id": problem.id,
            "correct": verdict,
            "answer": answer,
            "reference": problem.answer,
            "truncated": completion.finish == "length",
            "tokens": completion.tokens,
            "text": completion.text,
        }
        for problem, completion, answer, verdict in zip(
            problems, answers, given, verdicts, strict=True
        )
    ]


def held_out_trajectories(data: DataConfig) -> list[Trajectory]:
    """The first trajectory of each question that a training with these settings holds out."""
    everything = load_trajectories(
        data.source, path=data.dataset_path, seed=data.split_seed, count=data.count
    )
    _, held_out = split_by_question(everything, data.held_out, data.split_seed)
    return list({trajectory.prompt: trajectory for trajectory in reversed(held_out)}.values())[::-1]


def builtin_problems(size: Size) -> list[Problem]:
    """Held-out questions of the built-in source, whatever the training's source is."""
    own = {
        name: size.training[name]
        for name in ("count", "held_out", "split_seed")
        if name in size.training
    }
    held_out = held_out_trajectories(DataConfig(source="builtin", **own))[
        : size.scores["questions"]
    ]
    return [
        Problem("builtin", trajectory.id, trajectory.prompt, trajectory.answer)
        for trajectory in held_out
    ]


def gsm8k_problems(place: str, count: int) -> list[Problem]:
    """So many problems of GSM8K's test set, evenly spaced over it."""
    problems = load_benchmark("gsm8k", [] if place == "hub" else [Path(place)])
    count = min(count, len(problems))
    return [problems[number * len(problems) // count] for number in range(count)]


def _answers(
    generator: Generator, requests: list[Request], max_new_tokens: int
) -> list[Completion]:
    """Greedy answers, in the order of the requests."""
    found = dict(generator.generate(requests, GenerationSettings(max_new_tokens=max_new_tokens)))
    return [found[index] for index in range(len(requests))]


if __name__ == "__main__":
    sys.exit(main())

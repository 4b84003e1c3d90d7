"""One evaluation on math benchmarks, from the settings to the report.

This is what ``python -m srl_agent.evaluate math`` does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from srl_agent.evaluation.folder import RESULTS, model_label
from srl_agent.evaluation.math.benchmarks import BENCHMARKS, Problem, load_benchmark
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.evaluation.math.folder import SAMPLES, default_folder, math_folder
from srl_agent.evaluation.math.own_benchmarks import load_own
from srl_agent.evaluation.math.page import write_page
from srl_agent.evaluation.math.results import Results, summarize, write_results
from srl_agent.evaluation.math.samples import Sample, SampleKey, SampleStore
from srl_agent.evaluation.math.stepwise import say_what_is_asked, solve_stepwise
from srl_agent.evaluation.math.table import terminal_text
from srl_agent.inference.backends import GeneratorConfig, open_generator, resolved
from srl_agent.inference.generator import Generator, Request
from srl_agent.runs.provenance import environment
from srl_envs.answers.grading import Grader, extract_answer
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT, evaluation_messages

Asked = dict[SampleKey, Problem]


def evaluate_math(config: MathConfig, model: GeneratorConfig) -> Results:
    """Answer the benchmarks' problems, grade the answers and write the report.

    Answers that are already in the folder are not asked for again.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    model = resolved(model)
    problems = load_problems(config)
    folder = (
        Path(config.output_dir).expanduser() if config.output_dir else default_folder(config, model)
    )
    every = [problem for of_benchmark in problems.values() for problem in of_benchmark]
    asked = wanted_answers(config, every)
    if config.stepwise:
        say_what_is_asked(model.model, config)
    with math_folder(folder, config, model, every), SampleStore(folder / SAMPLES) as store:
        speed = _answer(config, model, asked, store)
        with Grader(config.answer_timeout, config.grading_processes) as grader:
            _grade(asked, store, grader)
            num_samples = {name: config.samples_of(name) for name in problems}
            results = summarize(
                model_label(model),
                problems,
                (store.samples[key] for key in asked),
                num_samples,
                grader.same,
                config.seed,
            )
        versions = environment() | {
            "command": ["python", "-m", "srl_agent.evaluate", *sys.argv[1:]]
        }
        versions["packages"]["math-verify"] = metadata.version("math-verify")
        settings = asdict(config) | asdict(model)
        write_results(folder / RESULTS, results, settings, versions, speed)
        page = write_page(
            folder,
            results,
            every,
            [store.samples[key] for key in asked],
            settings | versions,
            config.page_answers,
        )
    print(f"\n{terminal_text(results)}\n\n{page}")
    return results


def load_problems(config: MathConfig) -> dict[str, list[Problem]]:
    """The problems of each benchmark, by its name in tables."""
    data = [Path(place) for place in config.data or ()]
    return {
        name: load_benchmark(entry, data, config.limit)
        if entry in BENCHMARKS
        else load_own(entry, config.limit)
        for name, entry in zip(config.names, config.benchmarks, strict=True)
    }


def wanted_answers(config: MathConfig, problems: Sequence[Problem]) -> Asked:
    """Every answer that a run asks for.

    Greedy ones come first, so that their scores are available early.
    """
    greedy = {
        SampleKey(problem.benchmark, problem.id, "greedy", 0): problem for problem in problems
    }
    sampled: Asked = {
        SampleKey(problem.benchmark, problem.id, "sampled", number): problem
        for problem in problems
        for number in range(config.samples_of(problem.benchmark))
    }
    return greedy | sampled


def _answer(
    config: MathConfig, model: GeneratorConfig, asked: Asked, store: SampleStore
) -> dict[str, float]:
    """Ask for what is missing and store each answer as it is finished; how fast it went."""
    missing = {key: problem for key, problem in asked.items() if key not in store.samples}
    if not missing:
        return {}
    generator = open_generator(model)
    tokens, truncated, started = 0, 0, time.monotonic()
    try:
        with tqdm(
            total=len(asked), initial=len(asked) - len(missing), unit="answer", dynamic_ncols=True
        ) as bar:
            for mode in ("greedy", "sampled"):
                of_mode = {key: problem for key, problem in missing.items() if key.mode == mode}
                bar.set_description(mode)
                solve = solve_stepwise if config.stepwise else solve_whole
                for sample in solve(generator, of_mode, config):
                    store.append(sample)
                    tokens, truncated = tokens + sample.tokens, truncated + sample.truncated
                    bar.set_postfix_str(
                        f"{tokens / (time.monotonic() - started):.0f} tokens/s, {truncated}"
                        " truncated",
                        refresh=False,
                    )
                    bar.update()
    finally:
        generator.close()
    seconds = time.monotonic() - started
    return {
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
    }


def solve_whole(generator: Generator, asked: Asked, config: MathConfig) -> Iterator[Sample]:
    """Ask for whole solutions, all of one mode; each as it is finished."""
    keys = list(asked)
    if not keys:
        return
    prompt = EVALUATION_SYSTEM_PROMPT if config.system_prompt is None else config.system_prompt
    requests = [Request(evaluation_messages(asked[key].text, prompt), key.number) for key in keys]
    for index, completion in generator.generate(
        requests, config.generation(keys[0].mode == "greedy")
    ):
        key = keys[index]
        yield Sample(
            key.benchmark,
            key.problem_id,
            key.mode,
            key.number,
            text=completion.text,
            tokens=completion.tokens,
            truncated=completion.finish != "stop",
            answer=extract_answer(completion.text),
            context_full=completion.finish == "context" or None,
        )


def _grade(asked: Asked, store: SampleStore, grader: Grader) -> None:
    """Give every answer that has none its verdict."""
    ungraded = [key for key in asked if store.samples[key].correct is None]
    if ungraded:
        verdicts = grader.grade(
            [(store.samples[key].answer, asked[key].answer) for key in ungraded]
        )
        store.grade(dict(zip(ungraded, verdicts, strict=True)))

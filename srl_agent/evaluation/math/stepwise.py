"""Solutions written one step at a time, as an SRL model was trained to.

The model walks through ``SRL-Math-v0`` with its previous steps in the prompt.

Many solutions are under way side by side, so that each round asks for one step of all
of them in one batch; a finished solution's place is taken by the next. The environment
is given no reference answer: nothing of it can reach a prompt, and verdicts come from
the same grader as those of whole solutions.

A step that does not follow the format changes nothing, so the next prompt is the same.
Sampled, the model is asked again with other random numbers; greedily it would say the
same again, and the solution ends there.

Prompts grow with the steps. A solution whose next prompt leaves no room in the model's
context ends there without an answer: it counts as truncated, and its sample says why
(``context_full``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym

import srl_envs
from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.evaluation.math.samples import Sample, SampleKey
from srl_agent.inference.generator import Completion, Generator, Request
from srl_agent.runs.ownership import CONFIG, read_settings_file
from srl_envs.answers.grading import extract_answer
from srl_envs.trajectory import ExpertStep, Trajectory

_logger = logging.getLogger(__name__)


@dataclass
class _Solution:
    """One solution under way."""

    key: SampleKey
    env: gym.Env[str, Any]
    format: srl_envs.ResponseFormat
    messages: tuple[Any, ...]
    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    malformed: int = 0
    cut_off: bool = False
    context_full: bool = False
    answer: str | None = None
    ended: bool = False

    @classmethod
    def started(cls, key: SampleKey, problem: Problem, config: MathConfig) -> _Solution:
        """A solution of which nothing is written yet."""
        settings: dict[str, Any] = (
            {} if config.system_prompt is None else {"system_prompt": config.system_prompt}
        )
        last_step = ExpertStep(
            f"\\boxed{{{problem.answer}}}"
        )  # a trajectory has a step; with follow="agent" no prompt shows it
        env = gym.make(
            "SRL-Math-v0",
            trajectories=[Trajectory(problem.id, problem.text, (last_step,))],
            follow="agent",
            max_steps=config.max_steps,
            # Completions begin with what their prompt opened.
            reward=srl_envs.RewardSettings(
                format=srl_envs.ResponseFormat(require_think=config.require_think)
            ),
            disable_env_checker=True,
            **settings,
        )
        _, info = env.reset()
        return cls(key, env, config.answer_format, tuple(info["messages"]))

    def request(self, max_steps: int) -> Request:
        """Ask for the next step, with its own random numbers.

        After a malformed step the prompt is the same again.
        """
        number = self.key.number * max_steps + len(self.texts)
        return Request(self.messages, number, self.format)

    def take(self, completion: Completion, max_steps: int) -> None:
        """Add what the model wrote as the next step."""
        if completion.finish == "context":
            self.ended = self.context_full = True
            return
        self.texts.append(completion.text)
        self.tokens += completion.tokens
        self.cut_off = completion.finish == "length"
        malformed = self.cut_off  # a step that was cut off is not the step that was meant
        if not self.cut_off:
            _, _, self.ended, _, info = self.env.step(completion.text)
            malformed = info["response"].error is not None
            self.messages = tuple(info["messages"])
            if self.ended:
                self.answer = extract_answer(info["response"].action)
        self.malformed += malformed
        self.ended = (
            self.ended or len(self.texts) >= max_steps or (malformed and self.key.mode == "greedy")
        )

    def sample(self, max_steps: int) -> Sample:
        """The finished solution."""
        key = self.key
        return Sample(
            key.benchmark,
            key.problem_id,
            key.mode,
            key.number,
            text="\n\n".join(self.texts),
            tokens=self.tokens,
            truncated=self.answer is None
            and (self.cut_off or self.context_full or len(self.texts) >= max_steps),
            answer=self.answer,
            steps=len(self.texts),
            malformed=self.malformed,
            context_full=self.context_full or None,
        )


def say_what_is_asked(model: str, config: MathConfig) -> None:
    """Log what a step-wise prompt holds, and where the model was trained with other prompts.

    Args:
        model: Name or folder of the model; a run's ``final/`` has its settings beside it.
        config: How to ask.
    """
    _logger.info(
        "step-wise: each prompt has the problem and the model's own steps so far, without a title"
        f" of the next one, until a step holds a final answer; at most {config.max_steps} steps"
    )
    trained = read_settings_file(Path(model).expanduser() / ".." / CONFIG)
    if "method" not in trained:
        return
    whole = trained["method"] == "rlvr" or (
        trained["method"] == "sft" and trained.get("sft_on") != "steps"
    )
    if whole or trained.get("steps") == "one":
        _logger.warning(
            f"{model} was trained on whole solutions (method {trained['method']}), not on steps:"
            " evaluate it without --stepwise"
        )
        return
    if trained.get("title_hint"):
        _logger.warning(
            f"{model} was trained with the title of each step shown (title_hint), which step-wise"
            " evaluation cannot know: train with --title_hint false for this use"
        )
    if trained.get("targets") == "all_but_last":
        _logger.warning(
            f"{model} was trained on all steps but the last (targets: all_but_last), so it never"
            " learned the step with the answer: train with --targets all for this use"
        )
    for name in ("think_prefilled", "require_think"):
        asked = getattr(config, name)
        if name in trained and trained[name] != asked:
            _logger.warning(
                f"{model} was trained with {name} {trained[name]}, but is asked with {asked}: give"
                f" --{name} {str(trained[name]).lower()}"
            )


def solve_stepwise(
    generator: Generator, asked: Mapping[SampleKey, Problem], config: MathConfig
) -> Iterator[Sample]:
    """Ask for step-wise solutions, all of one mode; each as it is finished.

    Args:
        generator: The model.
        asked: Which solutions, of which problems.
        config: How to ask.
    """
    waiting = iter(asked.items())
    under_way: list[_Solution] = []
    try:
        while True:
            new = islice(waiting, config.episodes_at_once - len(under_way))
            under_way += [_Solution.started(key, problem, config) for key, problem in new]
            if not under_way:
                return
            settings = config.generation(under_way[0].key.mode == "greedy")
            requests = [solution.request(config.max_steps) for solution in under_way]
            for index, completion in generator.generate(requests, settings):
                solution = under_way[index]
                solution.take(completion, config.max_steps)
                if solution.ended:
                    yield solution.sample(config.max_steps)
            for solution in under_way:
                if solution.ended:
                    solution.env.close()
            under_way = [solution for solution in under_way if not solution.ended]
    finally:
        for solution in under_way:
            solution.env.close()

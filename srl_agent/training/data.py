"""What a run learns from, chooses its checkpoint by, and compares its stages on.

Split by question, and rendered for its method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from srl_agent.rollouts.scorers import AnswerInstance, Instance, verifiable
from srl_agent.rollouts.validation import halves_by_question, spread_evenly
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.prompt_length import fitted_to
from srl_envs.data import load_trajectories
from srl_envs.data.s1k import TRACE
from srl_envs.data.splits import split_by_question
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import StepInstances, TrajectorySet
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT
from srl_envs.trajectory import Targets, Trajectory, as_one_step


@dataclass(frozen=True, slots=True)
class LearningData:
    """The instances of a run.

    Attributes:
        train: Learned from.
        validation: Of one half of the held-out questions: they choose the checkpoint.
        test: Of the other half: base model, warm-up and best checkpoint are compared on
            them.
        summary: All of this in one line.
    """

    train: Sequence[Instance]
    validation: Sequence[Instance]
    test: Sequence[Instance]
    summary: str


def load_data(data: DataConfig, args: SRLConfig) -> LearningData:
    """Read the source and part it.

    Raises:
        ConfigError: The settings do not fit the source.
        DataError: There is nothing to learn from, or to validate with.
    """
    everything = load_trajectories(
        data.source,
        path=data.dataset_path,
        seed=data.split_seed,
        count=data.count,
        hub_split=data.hub_split,
        resolved_only=data.resolved_only,
    )
    if any(trajectory.domain == "swe" for trajectory in everything):
        _check_swe(data, args)
    kept, held_out = split_by_question(everything, data.held_out, data.split_seed)
    learned = TrajectorySet(kept[: data.limit], data.source, everything.rejected)
    if args.asks_whole_problems:
        return _problems(data, args, learned, *halves_by_question(held_out))
    return _steps(data, learned, *halves_by_question(held_out))


def fitted(parts: LearningData, data: DataConfig, args: SRLConfig, tokenizer: Any) -> LearningData:
    """The instances with their prompts as this model reads them.

    Of the held-out ones, as many as are asked for.
    """
    train, validation, test = parts.train, parts.validation, parts.test
    if (
        isinstance(train, StepInstances)
        and isinstance(validation, StepInstances)
        and isinstance(test, StepInstances)
    ):
        prompt = data.prompt_settings
        grammars = {
            trajectory.grammar
            for part in (train, validation, test)
            for trajectory in part.trajectories
            if trajectory.domain == "swe"
        }
        if grammars and args.max_prompt_length is not None:
            prompt = fitted_to(
                prompt, tokenizer, args.max_prompt_length, args.think_prefilled, grammars
            )
        train, validation, test = (
            StepInstances(part.trajectories, part.targets, prompt)
            for part in (train, validation, test)
        )
    return LearningData(
        train,
        spread_evenly(validation, data.eval_instances),
        spread_evenly(test, data.test_instances),
        parts.summary,
    )


def _check_swe(data: DataConfig, args: SRLConfig) -> None:
    if data.steps == "one":
        raise ConfigError(
            "steps is 'one', which is for math: a run of commands is no single step. Leave --steps"
            " at each."
        )
    if args.asks_whole_problems:
        raise ConfigError(
            f"method {args.method} asks for whole solutions with a final answer, which"
            f" {data.source!r} (software engineering) has not: use srl."
        )


def _steps(
    data: DataConfig,
    learned: TrajectorySet,
    validation: Sequence[Trajectory],
    test: Sequence[Trajectory],
) -> LearningData:
    targets = cast(Targets, data.targets)
    parts: list[Sequence[Trajectory]] = [learned, validation, test]
    if data.steps == "one":
        targets = "all"
        parts = [[as_one_step(trajectory) for trajectory in part] for part in parts]
    train, checked, tested = (StepInstances(part, targets) for part in parts)
    if not len(train):
        raise DataError(f"{learned!r} has no step to learn from: use other data, or --targets all.")
    if not (len(checked) and len(tested)):
        raise DataError(
            f"held_out is {data.held_out}: raise it, so that validation and test have some steps"
            " each."
        )
    summary = (
        f"{learned!r}: {len(train)} step instances; {data.held_out} questions held out"
        f" ({len(checked) + len(tested)} step instances)"
    )
    return LearningData(train, checked, tested, summary)


def _problems(
    data: DataConfig,
    args: SRLConfig,
    learned: TrajectorySet,
    validation: Sequence[Trajectory],
    test: Sequence[Trajectory],
) -> LearningData:
    system_prompt = EVALUATION_SYSTEM_PROMPT if data.system_prompt is None else data.system_prompt
    train, left_out = _learned(args, learned, system_prompt)
    (checked, unknown_checked), (tested, unknown_tested) = (
        verifiable(validation, system_prompt),
        verifiable(test, system_prompt),
    )
    if not (checked and tested):
        raise DataError(
            f"held_out is {data.held_out}: raise it, so that validation and test have some"
            " questions with a reference answer each."
        )
    summary = (
        f"{learned!r}: {len(train)} problems{left_out}; {len(checked) + len(tested)} questions held"
        f" out, without {unknown_checked + unknown_tested} that have no reference answer"
    )
    return LearningData(train, checked, tested, summary)


def _learned(
    args: SRLConfig, trajectories: TrajectorySet, system_prompt: str
) -> tuple[list[AnswerInstance], str]:
    """The problems that the method can learn from, and in words how many it cannot."""
    if args.method == "rlvr":
        train, unknown = verifiable(trajectories, system_prompt)
        if not train:
            raise DataError(
                f"{trajectories!r}: no question has a reference answer, so that no answer can be"
                " verified: use other data, or --method srl."
            )
        return train, f", without {unknown} that have no reference answer"
    usable = [
        trajectory
        for trajectory in trajectories
        if args.sft_on != "traces" or TRACE in trajectory.metadata
    ]
    if not usable:
        raise DataError(
            f"{trajectories!r}: no trajectory has a reasoning trace (metadata {TRACE!r}): use s1k,"
            " or --sft_on solutions."
        )
    left_out = (
        f", without {len(trajectories) - len(usable)} that have no reasoning trace"
        if args.sft_on == "traces"
        else ""
    )
    return [AnswerInstance(trajectory, system_prompt) for trajectory in usable], left_out

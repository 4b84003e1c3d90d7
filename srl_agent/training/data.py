"""What a run learns from, chooses its checkpoint by, and compares its stages on.

Split by question, and rendered for its method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from srl_agent.rollouts.agent_tasks import AgentInstances
from srl_agent.rollouts.scorers import Instance
from srl_agent.rollouts.validation import halves_by_question, spread_evenly
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.methods import METHODS
from srl_agent.training.prompt_length import within_length
from srl_envs.data.overlap import benchmark_overlap
from srl_envs.data.splits import split_by_question
from srl_envs.errors import DataError
from srl_envs.instances import StepInstances, TrajectorySet


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
    """Read the source, split it by question, and make the method's examples of it.

    Raises:
        ConfigError: The settings do not fit the source.
        DataError: There is nothing to learn from, or to validate with.
    """
    everything = data.trajectories(drop_benchmark_overlap=data.drop_benchmark_overlap)
    kept, held_out = split_by_question(everything, data.held_out, data.split_seed)
    kept = kept[: data.limit]
    learned = TrajectorySet(kept, data.source, everything.rejected, benchmark_overlap(kept))
    method = METHODS.named(args.method)
    if method.asks(args) == "step":
        args.reward_settings.check(everything)
    train = method.examples(learned, data, args)
    if not len(train.instances):
        raise DataError(f"{learned!r} gives {train} to learn from: {train.cure}.")
    if len(train.instances) < args.prompts_per_batch:
        raise DataError(
            f"{learned!r} gives {train}, fewer than the {args.prompts_per_batch} prompts of a"
            " batch: give more data, or lower --prompts_per_step (or without it"
            " --gradient_accumulation_steps)."
        )
    checked, tested = (
        method.held_out(TrajectorySet(half, data.source), data, args)
        for half in halves_by_question(held_out)
    )
    if not (len(checked.instances) and len(tested.instances)):
        raise DataError(
            f"held_out is {data.held_out}, which gives {checked} for validation and {tested} for"
            " the test: raise it, so that both have some."
        )
    summary = (
        f"{learned!r}: {train}; {data.held_out} questions held out ({checked} for validation,"
        f" {tested} for the test)"
    )
    return LearningData(train.instances, checked.instances, tested.instances, summary)


def for_tokenizer(
    parts: LearningData, data: DataConfig, args: SRLConfig, tokenizer: Any
) -> LearningData:
    """The instances with their prompts as this model reads them.

    Of the held-out ones, as many as are asked for.
    """
    train, validation, test = parts.train, parts.validation, parts.test
    kinds = (StepInstances, AgentInstances)
    if isinstance(train, kinds) and isinstance(validation, kinds) and isinstance(test, kinds):
        prompt = data.prompt_settings
        grammars = {
            trajectory.grammar
            for part in (train, validation, test)
            for trajectory in part.trajectories
            if trajectory.domain == "swe"
        }
        if grammars and args.max_prompt_length is not None:
            prompt = within_length(
                prompt, tokenizer, args.max_prompt_length, args.answer_format, grammars
            )
        train, validation, test = (part.with_prompt(prompt) for part in (train, validation, test))
    return LearningData(
        train,
        spread_evenly(validation, data.eval_instances),
        spread_evenly(test, data.test_instances),
        parts.summary,
    )

"""What a run learns from, chooses its checkpoint by, and compares its stages on.

Split by question, and rendered for its method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.rollouts.agent_tasks import AgentInstances
from srl_agent.rollouts.scorers import Instance
from srl_agent.rollouts.step_profiles import read_profile, step_mark, teaching
from srl_agent.rollouts.validation import halves_by_question, spread_evenly
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.methods import METHODS, Examples
from srl_agent.training.prompt_length import within_length
from srl_envs.data.overlap import benchmark_overlap
from srl_envs.data.splits import split_by_question
from srl_envs.errors import ConfigError, DataError
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
    if data.profile is not None:
        train = _profiled(train, data, args)
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


def _profiled(train: Examples, data: DataConfig, args: SRLConfig) -> Examples:
    """The step instances that teach, by a profile.

    Raises:
        ConfigError: There are no steps to choose from, or the profile is of other prompts.
        DataError: The profile cannot be read, or has none of the steps.
    """
    every = train.instances
    if not isinstance(every, StepInstances) or data.steps == "one":
        raise ConfigError(
            "profile chooses among single steps: leave it out, or use --method srl and --steps"
            " each."
        )
    path = Path(str(data.profile)).expanduser()
    header, profiles = read_profile(path)
    made = header.get("prompt", {})
    for name in ("targets", "title_hint", "scored", "reward"):
        value = getattr(data if hasattr(data, name) else args, name)
        if name in made and made[name] != value:
            raise ConfigError(
                f"{name} is {value!r}, but the profile {path} was made with {made[name]!r}: make"
                " another profile, or give the same setting."
            )
    found = [(one, profiles[one.id]) for one in every if one.id in profiles]
    known = [profile for one, profile in found if profile.mark == step_mark(one)]
    if not known or len(known) < len(found):
        missing = "none" if not found else f"other texts of {len(found) - len(known)}"
        raise DataError(
            f"The profile {path} has {missing} of the {len(every)} step instances: make it of the"
            " same source, with the same --held_out and --split_seed."
        )
    chosen = teaching(known, data.profile_min_std, data.profile_max_mean)
    return Examples(
        StepInstances(every.trajectories, every.targets, every.settings, chosen),
        train.noun,
        f" that teach, of {len(known)} profiled and {len(every)} in all",
        "raise --profile_max_mean, or profile more steps",
    )


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

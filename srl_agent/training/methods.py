"""What each method is, said once: SRL, RLVR, SFT, and ``register_method`` for another.

A method says what it learns from, how answers are scored, which trainer runs it, which
settings go with it, and what reports call it. Settings, data, trainers and reports ask
it; none of them compares a method's name.

Another package adds one by the entry-point group ``srl_agent.methods``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal, TypeVar

from srl_agent.rollouts.sampler import Sampler
from srl_agent.rollouts.scorers import (
    AnswerInstance,
    AnswerScorer,
    Instance,
    Measure,
    StepScorer,
    verifiable,
)
from srl_agent.rollouts.validation import validate
from srl_agent.runs.answers import Answer
from srl_agent.runs.records import MethodRecord
from srl_agent.training.agent_settings import AGENT_SETTINGS
from srl_envs.answers.grading import extract_answer
from srl_envs.data.s1k import TRACE
from srl_envs.errors import ConfigError, DataError, require
from srl_envs.instances import StepInstance, StepInstances, TrajectorySet
from srl_envs.prompts.problem import EVALUATION_SYSTEM_PROMPT
from srl_envs.registry import Registry
from srl_envs.response import format_response
from srl_envs.rewards import needs_state
from srl_envs.trajectory import Trajectory, as_one_step

SFT_ON = ("solutions", "traces", "steps")


@dataclass(frozen=True, slots=True)
class Examples:
    """What a method makes of trajectories.

    Attributes:
        instances: What is asked, and what an answer is compared with.
        noun: What they are called, in the plural.
        left_out: How many trajectories gave none, as the end of a clause; may be empty.
        cure: What to do if there are no instances.
    """

    instances: Sequence[Instance]
    noun: str
    left_out: str = ""
    cure: str = "use other data"

    def __str__(self) -> str:
        return f"{len(self.instances)} {self.noun}{self.left_out}"


class Method:
    """A method; what stands here is SRL's, and another class changes what it does otherwise.

    ``data`` and ``args`` are a run's
    :class:`~srl_agent.training.config.DataConfig` and
    :class:`~srl_agent.training.config.SRLConfig`.

    Attributes:
        label: What reports call it: ``"SRL"``.
        summary: What it does, in one line of ``--help``.
        samples: Whether it learns from the model's own answers, ``num_generations`` to
            each prompt; otherwise from the expert's, one to each prompt.
        only_own_sampler: Whether neither vLLM nor TRL may write those answers.
        trainer: Its trainer's class, or that in the form ``"module:name"``, which is
            imported when a run needs it. It is made of the model, ``args``, the
            training and the validation instances, the tokenizer, a PEFT configuration
            or None, callbacks, and the scorer, in this order; its methods are those of
            :class:`~srl_agent.training.trl.grpo.SRLTrainer`.
    """

    label: str
    summary: str
    samples: bool = True
    only_own_sampler: bool = False
    trainer: str | Callable[..., Any] = "srl_agent.training.trl.grpo:SRLTrainer"

    def asks(self, args: Any) -> Literal["step", "problem"]:
        """What one answer is to hold: the next step, or the solution of the whole problem."""
        return "step"

    def unused(self, args: Any) -> tuple[str, ...]:
        """Settings that this method does not read; they must be left at their defaults."""
        return ("sft_on", *_unused_agent_settings(args))

    def check(self, args: Any) -> None:
        """Check the settings.

        Raises:
            ConfigError: They do not go with this method.
        """

    def examples(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """What is learned from.

        Raises:
            ConfigError: The settings do not fit the trajectories.
            DataError: There is nothing to learn from.
        """
        return self.held_out(trajectories, data, args)

    def held_out(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """What validation and test ask, of trajectories that are not learned from."""
        whole = self.asks(args) == "problem"
        return problem_examples(trajectories, data) if whole else step_examples(trajectories, data)

    def scorer(self, args: Any) -> Measure:
        """What rewards mean; a Scorer, unless a trainer scores otherwise."""
        return AnswerScorer() if self.asks(args) == "problem" else StepScorer(args.reward_settings)

    def expert_answer(self, instance: Instance, args: Any) -> str:
        """The expert's answer to an instance, for supervised learning and the format warm-up."""
        if isinstance(instance, StepInstance):
            return step_answer(instance)
        if isinstance(instance, AnswerInstance):
            return solution_answer(instance.trajectory)
        raise TypeError(f"There is no expert answer to {type(instance).__name__}.")

    def answer(
        self,
        instances: Sequence[Instance],
        model: Any,
        sampler: Sampler,
        args: Any,
        scorer: Any,
        seed: Sequence[int],
        gather: Callable[[list[Any]], list[Any]] | None,
    ) -> tuple[dict[str, float], list[Answer]]:
        """Let a model that no trainer holds answer instances.

        ``scorer`` is what :meth:`scorer` made.

        Returns:
            As :func:`~srl_agent.rollouts.validation.validate`.
        """
        number = args.num_generations_eval or 1
        return validate(
            instances,
            sampler.tokenizer,
            lambda prompts, seed: sampler(model, prompts, number, seed),
            sampler.eos_token_ids,
            scorer,
            num_samples=number,
            seed=seed,
            gather=gather,
        )

    def record(self, args: Any, scorer: Measure) -> MethodRecord:
        """What a run's folder records of this method, for reports."""
        asks = self.asks(args)
        return MethodRecord(args.method, self.label, scorer.measure, scorer.explained, asks)

    def make_trainer(self, *parts: Any) -> Any:
        """The trainer of a run; see :attr:`trainer` for its parts."""
        made = resolve_name(self.trainer) if isinstance(self.trainer, str) else self.trainer
        return made(*parts)


def _unused_agent_settings(args: Any) -> tuple[str, ...]:
    """Those that scoring single steps does not read: a reward may run commands, too."""
    read = ("sandbox", "command_timeout") if needs_state(args.reward) else ()
    return tuple(name for name in AGENT_SETTINGS if name not in read)


MethodT = TypeVar("MethodT", bound=type[Method])


def _checked(name: str, given: Any) -> Method:
    method = given() if isinstance(given, type) else given
    if not isinstance(method, Method) or not hasattr(method, "label"):
        raise ConfigError(
            f"The method {name!r} is {given!r}: give a subclass of Method that has a label."
        )
    if not name.isidentifier():  # it is a part of file names
        raise ConfigError(f"The method's name is {name!r}: use letters, digits and _.")
    return method


METHODS: Registry[Method] = Registry("method", "srl_agent.methods", _checked)
"""All methods by name."""


def register_method(name: str) -> Callable[[MethodT], MethodT]:
    """Register a method: a decorator. ``--method NAME`` then trains by it.

    Args:
        name: A new name; what it trains is recorded under this name.

    Returns:
        A decorator of a subclass of :class:`Method`.

    Raises:
        ConfigError: The name is taken, or the class does not fit.
    """

    def decorated(method: MethodT) -> MethodT:
        METHODS.register(name, method)
        return method

    return decorated


def methods_help() -> str:
    """All methods for ``--help``, without importing the packages that add some."""
    ours = {name: f"{name}: {METHODS[name].summary}" for name in ("srl", "rlvr", "sft", "agent")}
    return "; ".join(ours.get(name, name) for name in METHODS.names())


def check_used(stages: Sequence[Any]) -> None:
    """Check that each setting which a user gave is read by some stage's method.

    Args:
        stages: The ``args`` of a run, or of each stage of a curriculum.

    Raises:
        ConfigError: A setting has no effect.
    """
    unused = [set(METHODS.named(args.method).unused(args)) for args in stages]
    methods = " and ".join(dict.fromkeys(args.method for args in stages))
    for name in sorted(set.intersection(*unused)):
        for args in stages:
            value, default = getattr(args, name), type(args).__dataclass_fields__[name].default
            range = f"left alone, since the method {methods} does not use it"
            require(value == default, name, value, range)


# ---------------------------------------------------------------- ours


@register_method("srl")
class SRL(Method):
    """Supervised reinforcement learning (arXiv 2510.25992): GRPO on the expert's steps."""

    label = "SRL"
    summary = "reward is each step's similarity to the expert's"


@register_method("rlvr")
class RLVR(Method):
    """Reinforcement learning with verifiable rewards: GRPO on final answers."""

    label = "RLVR"
    summary = "reward is 1 if the final answer of the whole solution is right, else 0"

    def asks(self, args: Any) -> Literal["step", "problem"]:
        """Whole problems."""
        return "problem"

    def unused(self, args: Any) -> tuple[str, ...]:
        """A verdict is not a similarity."""
        return (*super().unused(args), "reward")

    def check(self, args: Any) -> None:
        """See :meth:`Method.check`."""
        _check_whole_problems(args)


@register_method("sft")
class SFT(Method):
    """Supervised fine-tuning on the experts' answers: what ``sft_on`` says."""

    label = "SFT"
    summary = "supervised fine-tuning on expert answers"
    samples = False
    trainer = "srl_agent.training.trl.sft:supervised_trainer"

    def asks(self, args: Any) -> Literal["step", "problem"]:
        """Whole problems, unless single steps are learned."""
        return "step" if args.sft_on == "steps" else "problem"

    def unused(self, args: Any) -> tuple[str, ...]:
        """Where steps are learned, validation uses the reward."""
        logs = ("log_rollouts", "rollout_log_mb")
        if args.sft_on == "steps":
            return (*_unused_agent_settings(args), *logs)
        return ("reward", *AGENT_SETTINGS, *logs)

    def check(self, args: Any) -> None:
        """See :meth:`Method.check`."""
        require(
            args.format_warmup_steps == 0,
            "format_warmup_steps",
            args.format_warmup_steps,
            "0 for sft, which is supervised itself",
        )
        if self.asks(args) == "problem":
            _check_whole_problems(args)

    def examples(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """See :meth:`Method.examples`; solutions need no reference answer."""
        if self.asks(args) == "step":
            return step_examples(trajectories, data)
        _check_final_answers(trajectories)
        usable = [one for one in trajectories if args.sft_on != "traces" or TRACE in one.metadata]
        if not usable:
            raise DataError(
                f"{trajectories!r}: no trajectory has a reasoning trace (metadata {TRACE!r}): use"
                " s1k, or --sft_on solutions."
            )
        unusable = len(trajectories) - len(usable)
        left_out = f", without {unusable} that have no reasoning trace"
        prompt = _problem_prompt(data)
        return Examples(
            [AnswerInstance(trajectory, prompt) for trajectory in usable],
            "problems",
            left_out if args.sft_on == "traces" else "",
        )

    def expert_answer(self, instance: Instance, args: Any) -> str:
        """See :meth:`Method.expert_answer`; with the reasoning trace if that is learned."""
        if args.sft_on == "traces" and isinstance(instance, AnswerInstance):
            return solution_answer(instance.trajectory, with_trace=True)
        return super().expert_answer(instance, args)


# ---------------------------------------------------------------- what they are made of


def step_examples(trajectories: TrajectorySet, data: Any) -> Examples:
    """Single steps, or with ``--steps one`` each whole solution as one step.

    Raises:
        ConfigError: ``--steps one`` for commands.
    """
    noun, cure = "step instances", "use other data, or --targets all"
    if data.steps != "one":
        return Examples(StepInstances(trajectories, data.targets), noun, cure=cure)
    if any(trajectory.has_commands for trajectory in trajectories):
        raise ConfigError(
            "steps is 'one', which is for math: several commands are not a single step. Leave"
            " --steps at each."
        )
    whole = [as_one_step(trajectory) for trajectory in trajectories]
    return Examples(StepInstances(whole, "all"), noun)


def problem_examples(trajectories: TrajectorySet, data: Any) -> Examples:
    """Whole problems that have a reference answer, each question once.

    Raises:
        ConfigError: The trajectories are commands, which end in no final answer.
    """
    _check_final_answers(trajectories)
    instances, unknown = verifiable(trajectories, _problem_prompt(data))
    left_out = f", without {unknown} that have no reference answer"
    return Examples(instances, "problems", left_out, "use other data, or --method srl")


def step_answer(instance: StepInstance) -> str:
    """The expert's step in the format of an answer."""
    step = instance.step
    # A command is learned as the environment takes it, even where only a part of it is compared.
    action = step.action if instance.trajectory.has_commands else instance.expert_action
    # Any thought will do to teach the format; the title says what the step is about where the
    # source gives no thought.
    thought = step.thought or step.title or "I continue with the next step of the solution."
    return format_response(thought, action)


def solution_answer(trajectory: Trajectory, with_trace: bool = False) -> str:
    """The expert's whole solution.

    The reference answer is added in a box if an evaluation would not find an answer in
    the solution.

    Args:
        trajectory: The expert's.
        with_trace: Put its reasoning trace before it, in a think block.
    """
    solution = trajectory.solution.strip()
    if trajectory.answer and extract_answer(solution) is None:
        solution += f"\n\n\\boxed{{{trajectory.answer}}}"
    return format_response(trajectory.metadata[TRACE], solution) if with_trace else solution


def _problem_prompt(data: Any) -> str:
    return EVALUATION_SYSTEM_PROMPT if data.system_prompt is None else str(data.system_prompt)


def _check_final_answers(trajectories: TrajectorySet) -> None:
    if any(trajectory.has_commands for trajectory in trajectories):
        raise ConfigError(
            f"{trajectories.source!r} holds commands (software engineering), but the method asks"
            " for whole solutions with a final answer: use --method srl."
        )


def _check_whole_problems(args: Any) -> None:
    require(
        not args.think_prefilled,
        "think_prefilled",
        True,
        "left alone: whole problems are asked as evaluation asks them",
    )

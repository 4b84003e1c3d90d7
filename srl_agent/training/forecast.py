"""Hours, tokens and money of a run: its work, times what a unit of work takes.

The work follows from the settings and the data: prompts and the experts' answers are
counted in the model's tokens. What a unit takes is measured on this machine
(:mod:`srl_agent.training.rehearsal`), read from the records of a run, or estimated from
a GPU's figures, and is as uncertain as that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from srl_agent.inference.chat import ChatEncoder
from srl_agent.rollouts.scorers import Instance
from srl_agent.rollouts.validation import spread_evenly
from srl_agent.runs.reading import read_run
from srl_agent.training.cards import Card
from srl_agent.training.data import LearningData
from srl_agent.training.memory import Load, Shape
from srl_agent.training.methods import METHODS
from srl_agent.training.rehearsal import Rehearsal
from srl_envs.errors import DataError

_COUNTED = 200  # examples whose tokens are counted
_ESTIMATED = 1.0  # a GPU's figures can be wrong by a factor of 2
_DRIFT = 0.25  # answers grow or shrink while a model learns
_USED_FLOPS, _USED_BANDWIDTH = 0.35, 0.5  # shares of a GPU's figures that such loops reach
_DISK = 5e8  # bytes a second that a checkpoint is written with


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does, to its config's end.

    Attributes:
        steps: Optimizer steps.
        rows: Rows of a step, over all processes.
        prompt: Mean tokens of a prompt.
        expert: Mean tokens of an expert's answer.
        samples: Whether rows are the model's own answers.
        held_out: Answers to held-out instances: validations and tests together.
        warmup_rows: Expert answers of the format warm-up.
        written: Bytes of checkpoints and models.
    """

    steps: int
    rows: int
    prompt: float
    expert: float
    samples: bool
    held_out: int
    warmup_rows: int
    written: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What a unit of work takes, on all GPUs of the run together.

    Attributes:
        answer: Mean tokens of an answer.
        sampling: Seconds a sampled token.
        training: Seconds a token that is trained on, prompts included.
        other: Seconds a step beside these.
        start: Seconds until the first step.
        uncertainty: Of all of it, as a share.
        source: Where the figures are from.
    """

    answer: float
    sampling: float
    training: float
    other: float
    start: float
    uncertainty: float
    source: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a run will take.

    Attributes:
        seconds: Expected.
        low: At least.
        high: At most.
        step_seconds: Of an optimizer step.
        sampled: Tokens that are sampled.
        trained: Tokens that are trained on, prompts included.
        source: Where the speed is from.
    """

    seconds: float
    low: float
    high: float
    step_seconds: float
    sampled: float
    trained: float
    source: str

    def lines(self, gpus: int, price: float | None) -> list[str]:
        """In words.

        Args:
            gpus: That are paid for.
            price: Of an hour of one; None leaves the money out.
        """
        found = [
            f"time       {_hours(self.seconds)} ({_hours(self.low)} to {_hours(self.high)}),"
            f" {self.step_seconds:.1f} s an optimizer step; {self.source}",
            f"tokens     {_count(self.sampled)} sampled, {_count(self.trained)} trained on",
        ]
        if price is not None:
            cost, low, high = (
                max(1, gpus) * price * seconds / 3600
                for seconds in (self.seconds, self.low, self.high)
            )
            found.append(f"money      {cost:,.2f} ({low:,.2f} to {high:,.2f})")
        return found


def work_of(args: Any, shape: Shape, parts: LearningData, tokenizer: Any) -> Work:
    """The work of a run.

    Args:
        args: An :class:`~srl_agent.training.config.SRLConfig`.
        shape: Of its model.
        parts: What it learns from and is asked, rendered for the model.
        tokenizer: The model's.
    """
    method = METHODS.named(args.method)
    group = int(args.num_generations) if method.samples else 1
    steps = int(args.max_steps)
    if steps < 1:
        steps = math.ceil(len(parts.train) * group / args.rows_per_step * args.num_train_epochs)
    prompt, expert = _tokens(args, parts.train, tokenizer)

    def times(strategy: Any, every: float) -> int:
        if str(getattr(strategy, "value", strategy)) == "no":
            return 0
        return int(1 / every if every < 1 else steps / every)

    validations = times(args.eval_strategy, float(args.eval_steps or args.logging_steps)) + 1
    asked = validations * len(parts.validation) * (str(args.eval_strategy) != "no")
    tests = (2 + bool(args.format_warmup_steps)) * len(parts.test)
    saves = times(args.save_strategy, float(args.save_steps))
    checkpoint = 12.0 * shape.trainable
    return Work(
        steps=steps,
        rows=int(args.rows_per_step),
        prompt=prompt,
        expert=expert,
        samples=method.samples,
        held_out=(asked + tests) * int(args.num_generations_eval or 1),
        warmup_rows=int(args.format_warmup_steps) * int(args.warmup_instances),
        written=saves * checkpoint + 4.0 * shape.parameters,
    )


def _tokens(args: Any, train: Sequence[Instance], tokenizer: Any) -> tuple[float, float]:
    """Mean tokens of prompts and of the experts' answers."""
    chat, method = ChatEncoder(tokenizer), METHODS.named(args.method)
    shown = spread_evenly(train, _COUNTED)
    prompts = [chat(one.messages, args.answer_format) for one in shown]
    answers = [
        len(chat.written(prompt, method.expert_answer(one, args)))
        for one, prompt in zip(shown, prompts, strict=True)
    ]
    most = int(args.max_completion_length)
    return fmean(len(one.ids) for one in prompts), fmean(min(most, each) for each in answers)


def forecast(work: Work, speed: Speed) -> Forecast:
    """What a run takes."""
    answer = speed.answer if work.samples else work.expert
    sampled = work.held_out * speed.answer + work.steps * work.rows * answer * work.samples
    warmed = work.warmup_rows * (work.prompt + work.expert)
    trained = work.steps * work.rows * (work.prompt + answer)
    step = work.rows * (answer * speed.sampling * work.samples) + speed.other
    step += work.rows * (work.prompt + answer) * speed.training
    seconds = (
        speed.start
        + work.steps * step
        + work.held_out * speed.answer * speed.sampling
        + warmed * speed.training
        + work.written / _DISK
    )
    spread = 1 + speed.uncertainty
    return Forecast(
        seconds, seconds / spread, seconds * spread, step, sampled, trained + warmed, speed.source
    )


# ---------------------------------------------------------------- where a speed is from


def measured_speed(found: Rehearsal, work: Work, processes: int) -> Speed:
    """From micro-batches of this machine; a first one of several only warms up.

    A model that is warmed up will answer about as long as the experts; another one as
    long as now.

    Args:
        found: By one process.
        work: Of the run.
        processes: Of the run; they are taken to share the work evenly.
    """
    steps = found.steps[1:] or found.steps
    now = fmean(step.get("completions/mean_length", work.expert) for step in steps)
    answer = work.expert if work.warmup_rows else now
    rates = [_of_phases(step, found.rows, now, work.prompt) for step in steps]
    sampling, training, other = (fmean(values) for values in zip(*rates, strict=True))
    noise = pstdev([sum(rate[:2]) for rate in rates]) / max(1e-12, sampling + training)
    uncertainty = math.hypot(_DRIFT, noise, 0.15)
    source = f"measured here in {len(steps)} steps of {found.rows} rows"
    return Speed(
        answer,
        sampling / processes,
        training / processes,
        other,
        found.start_seconds,
        uncertainty + (0.2 if processes > 1 else 0),
        source + (f", shared by {processes} GPUs" if processes > 1 else ""),
    )


def recorded_speed(folder: Path, work: Work, steps: int | None = None) -> Speed:
    """From a run's records, for the same model on the same hardware.

    Args:
        folder: The run's.
        work: Of the run that is planned; its prompts are taken for those of the records.
        steps: Only its first so many steps are read; None reads all.

    Raises:
        DataError: The run has no such records.
    """
    run = read_run(folder)
    logged = [run.train.rows[step] for step in run.train.steps][:steps]
    logged = [row for row in logged if "time/backward" in row]
    rows = (
        run.config.get("per_device_train_batch_size"),
        run.config.get("gradient_accumulation_steps"),
    )
    if not logged or not all(isinstance(one, int) for one in rows):
        raise DataError(
            f"{folder} has no times of training steps (time/... in metrics.jsonl), or no"
            " config.yaml: give the folder of a run of this version."
        )
    processes = int(run.environment.get("processes") or 1)
    in_step = math.prod(one for one in rows if isinstance(one, int)) * processes
    answer = fmean(row.get("completions/mean_length", work.expert) for row in logged)
    rates = [
        _of_phases(row, in_step, row.get("completions/mean_length", answer), work.prompt)
        for row in logged
    ]
    sampling, training, other = (fmean(values) for values in zip(*rates, strict=True))
    noise = pstdev([sum(rate[:2]) for rate in rates]) / max(1e-12, sampling + training)
    uncertainty = math.hypot(0.1, noise / math.sqrt(len(rates)), 0.1 if steps is None else _DRIFT)
    source = f"as recorded in {folder}, {len(rates)} steps"
    return Speed(answer, sampling, training, other, 15.0, uncertainty, source)


def estimated_speed(card: Card, shape: Shape, load: Load, work: Work) -> Speed:
    """From a GPU's figures: twice as long is possible, and half as long.

    Training is bound by its floating-point operations, 6 a parameter and token (8 where
    activations are computed again); sampling by reading all weights once a token.
    """
    flops = (8 if load.checkpointing else 6) * shape.parameters
    if shape.adapted is not None:  # no gradients of frozen weights
        flops = (6 if load.checkpointing else 4) * shape.parameters
    training = flops / (card.tflops * 1e12 * _USED_FLOPS) / load.processes
    weights = 2 * shape.parameters / (card.bandwidth * 1e9 * _USED_BANDWIDTH)
    if load.sampling == "own":  # layer by layer from Python
        weights = max(weights, 1e-3 * shape.layers)
    at_once = load.rollout_rows if load.sampling == "own" else 256
    sampling = weights / at_once / load.processes
    answer = max(work.expert, 0.3 * load.completion) if work.samples else work.expert
    source = "estimated from the GPU's figures, not measured: it may be half or twice that"
    return Speed(answer, sampling, training, 2.0, 120.0, _ESTIMATED, source)


def _of_phases(
    step: Mapping[str, float], rows: int, answer: float, prompt: float
) -> tuple[float, float, float]:
    """Seconds a sampled token, seconds a trained token, and other seconds of a step.

    Groups that dynamic sampling dropped are a part of what a kept row costs.
    """
    sampling = (step.get("time/generation", 0.0) + step.get("time/reward", 0.0)) / (
        max(1.0, answer) * rows
    )
    training = (step.get("time/forward", 0.0) + step.get("time/backward", 0.0)) / (
        (prompt + answer) * rows
    )
    return sampling, training, step.get("time/other", 0.0)


# ---------------------------------------------------------------- after the run


def save_forecast(path: Path, found: Forecast) -> None:
    """Write a forecast, to be compared with the run later."""
    path.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read_forecast(path: Path) -> Forecast:
    """A forecast that was written.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        return Forecast(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} holds no forecast ({error}): write one with --forecast.") from None


def how_far_off(found: Forecast, folder: Path) -> str:
    """A forecast beside the run that it was made for, in words.

    Raises:
        DataError: The run is not finished.
    """
    run = read_run(folder)
    took = run.seconds.get("total")
    if took is None:
        raise DataError(f"{folder} holds no finished run: its summary.json has no seconds.")
    off = found.seconds / took - 1
    inside = "inside" if found.low <= took <= found.high else "outside"
    steps = [
        sum(value for name, value in row.items() if name.startswith("time/"))
        for row in run.train.rows.values()
    ]
    step = f"; a step {found.step_seconds:.1f} s for {fmean(steps):.1f} s" if any(steps) else ""
    return (
        f"forecast {_hours(found.seconds)}, took {_hours(took)}: off by {off:+.0%}, {inside} its"
        f" range ({_hours(found.low)} to {_hours(found.high)}){step}"
    )


def _hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _count(tokens: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:.1f}{unit}"
    return f"{tokens:.0f}"

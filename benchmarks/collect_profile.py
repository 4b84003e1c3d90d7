r"""Does training only on the steps that teach help, at equal generated tokens?

    # The quick-start model after a format warm-up: an hour and more on 2 CPU cores.
    python benchmarks/collect_profile.py --output results
    # Random weights, taught by supervised steps first: some minutes.
    python benchmarks/collect_profile.py --size tiny --no_think --tokens 60000 \
        --warmup_steps 200 --warmup_learning_rate 3e-3 --learning_rate 3e-4 --output results
    # The made world of the tiny study, from the bases that it made: some 15 minutes.
    python benchmarks/collect_profile.py --world runs/study-tiny/base-*/phase-2 \
        --tokens 200000 --profiled 200 --max_mean 0.95 --prompts_per_step 8 --micro_batch 64 \
        --max_completion_length 40 --warmup_steps 0 --learning_rate 3e-4 --output results

Three ways to spend the same number of generated tokens, each from the same weights:

* ``selection``: rollouts of a bounded sample of steps, as ``collect profile`` takes them,
  then training with dynamic sampling on the steps that teach. The tokens of the profile
  count.
* ``dynamic sampling``: groups whose rewards are all equal are replaced with fresh prompts.
* ``neither``: every group is trained on.

Measured is the mean reward on held-out steps, several answers to each. Differences are paired by
seed and step; intervals are bootstrap intervals over these pairs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# isort: split
import srl_agent  # noqa: E402, F401  before torch: it says how OpenMP's threads wait

# isort: split
import argparse  # noqa: E402
import copy  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from statistics import fmean  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from transformers import PrinterCallback, TrainerCallback  # noqa: E402

from benchmarks.shapes import SHAPES, random_model  # noqa: E402
from benchmarks.study.tiny.world import PROMPT, Chain, problems, write_expert  # noqa: E402
from srl_agent.inference.chat import end_token_ids  # noqa: E402
from srl_agent.intervals import bootstrap, paired_bootstrap  # noqa: E402
from srl_agent.models.loading import load_model_and_tokenizer  # noqa: E402
from srl_agent.rollouts.sampler import Sampler  # noqa: E402
from srl_agent.rollouts.scorers import StepScorer  # noqa: E402
from srl_agent.rollouts.step_profiles import StepProfile, step_mark, teaching  # noqa: E402
from srl_agent.rollouts.validation import spread_evenly, validate  # noqa: E402
from srl_agent.training.config import SRLConfig  # noqa: E402
from srl_agent.training.trl.format_warmup import warm_up  # noqa: E402
from srl_agent.training.trl.grpo import SRLTrainer  # noqa: E402
from srl_envs.data import load_trajectories  # noqa: E402
from srl_envs.data.splits import split_by_question  # noqa: E402
from srl_envs.instances import StepInstance, StepInstances, TrajectorySet  # noqa: E402

CHAIN = 6
"""Operations in a problem of the made world, as in the tiny study."""

ARMS = ("selection", "dynamic sampling", "neither")


class CountingSampler(Sampler):
    """A sampler that counts the tokens it has generated."""

    tokens = 0

    def __call__(self, *arguments: Any, **more: Any) -> list[list[int]]:
        """See :class:`~srl_agent.rollouts.sampler.Sampler`."""
        completions = super().__call__(*arguments, **more)
        self.tokens += sum(map(len, completions))
        return completions


class Budget(TrainerCallback):
    """Ends training after the optimizer step that spends the last of the tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.sampler: CountingSampler | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Called after each optimizer step."""
        assert self.sampler is not None
        if self.sampler.tokens >= self.tokens:
            control.should_training_stop = True


@dataclass(frozen=True, slots=True)
class Result:
    """What one arm of one seed came to.

    Attributes:
        arm: Its name.
        seed: Of the run.
        rewards: Mean reward of each held-out step.
        steps: Optimizer steps.
        tokens: Generated, those of the profile among them.
        selected: How many steps were trained on.
    """

    arm: str
    seed: int
    rewards: list[float]
    steps: int
    tokens: int
    selected: int


def settings(options: argparse.Namespace, seed: int, folder: str, filters: bool) -> SRLConfig:
    """The run's settings; arms differ in dynamic sampling only."""
    return SRLConfig(
        output_dir=folder,
        per_device_train_batch_size=options.micro_batch,
        gradient_accumulation_steps=options.num_generations
        * options.prompts_per_step
        // options.micro_batch,
        num_generations=options.num_generations,
        max_completion_length=options.max_completion_length,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        dynamic_sampling=filters,
        require_think=not options.no_think,
        format_warmup_steps=options.warmup_steps,
        warmup_learning_rate=options.warmup_learning_rate,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        max_steps=100_000,  # the tokens end it
        eval_strategy="no",
        save_strategy="no",
        logging_steps=1000,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )


def data_of(options: argparse.Namespace, seed: int) -> tuple[StepInstances, Sequence[StepInstance]]:
    """The steps that may be trained on, and the held-out ones."""
    if options.world:
        tests = problems("test", options.held_out, CHAIN)
        learned = problems(f"profile/{seed}", options.count, CHAIN, tests)
        kept, held = experts(learned), experts(tests)
        train, rest = (StepInstances(one, "all", PROMPT) for one in (kept, held))
    else:
        everything = load_trajectories("builtin", count=options.count)
        kept, held = split_by_question(everything, options.held_out, 0)
        train, rest = StepInstances(kept), StepInstances(held)
    return train, spread_evenly(rest, options.held_out_steps)


def experts(chains: Sequence[Chain]) -> TrajectorySet:
    """The expert's solutions in the made world."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "expert.jsonl"
        write_expert(path, chains)
        return load_trajectories(str(path))


def base_model(options: argparse.Namespace, data: StepInstances, seed: int) -> tuple[Any, Any]:
    """The weights from which all arms of a seed start, after the format warm-up."""
    name = options.world[seed % len(options.world)] if options.world else options.model
    model, tokenizer = load_model_and_tokenizer(name, dtype=torch.float32)
    if options.size:
        model = random_model(options.size, tokenizer, torch.float32, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        args = settings(options, seed, folder, True)
        if options.warmup_steps:
            warm_up(model, tokenizer, data, args, Path(folder), [])
    return model, tokenizer


def profiled(
    model: Any,
    tokenizer: Any,
    data: Sequence[StepInstance],
    args: SRLConfig,
    seed: int,
) -> tuple[list[StepProfile], int]:
    """Profiles of some steps, and the tokens that their rollouts took."""
    scorer = StepScorer(args.reward_settings)
    ends = end_token_ids(model, tokenizer)
    sampler = CountingSampler(tokenizer, ends, args.sampling_settings)
    group = int(args.num_generations or 1)
    _, answers = validate(
        data,
        tokenizer,
        lambda prompts, seeds: sampler(model, prompts, group, seeds),
        ends,
        scorer,
        num_samples=group,
        seed=(seed, 0x9F),
    )
    found = []
    for place, one in enumerate(data):
        part = answers[place * group : (place + 1) * group]
        rewards = tuple(answer.reward for answer in part)
        malformed = sum(answer.error is not None for answer in part)
        found.append(StepProfile(one.id, rewards, malformed, 0, step_mark(one)))
    return found, sampler.tokens


def held_out_rewards(
    model: Any, tokenizer: Any, data: Sequence[StepInstance], args: SRLConfig, samples: int
) -> list[float]:
    """The mean reward of each held-out step, with the same random numbers each time."""
    model.eval()
    ends = end_token_ids(model, tokenizer)
    sampler = Sampler(tokenizer, ends, args.sampling_settings)
    _, answers = validate(
        data,
        tokenizer,
        lambda prompts, seeds: sampler(model, prompts, samples, seeds),
        ends,
        StepScorer(args.reward_settings),
        num_samples=samples,
        seed=(0xE0,),
    )
    rewards = [answer.reward for answer in answers]
    return [fmean(rewards[i : i + samples]) for i in range(0, len(rewards), samples)]


def run_arm(
    arm: str,
    base: Any,
    tokenizer: Any,
    train: StepInstances,
    held_out: Sequence[StepInstance],
    options: argparse.Namespace,
    seed: int,
) -> Result:
    """Spend the tokens in one way."""
    model, spent, instances = copy.deepcopy(base), 0, train
    with tempfile.TemporaryDirectory() as folder:
        args = settings(options, seed, folder, arm != "neither")
        if arm == "selection":
            sample = random.Random(seed).sample(list(train), min(options.profiled, len(train)))
            profiles, spent = profiled(model, tokenizer, sample, args, seed)
            chosen = teaching(profiles, args.min_reward_std, options.max_mean)
            if not chosen:
                raise SystemExit(
                    f"None of the {len(profiles)} profiled steps teaches this model: raise"
                    " --warmup_steps, --profiled or --max_mean."
                )
            instances = StepInstances(train.trajectories, train.targets, train.settings, chosen)
        stop = Budget(options.tokens - spent)
        trainer = SRLTrainer(model, args, instances, [], tokenizer, None, [stop])
        trainer.remove_callback(PrinterCallback)
        stop.sampler = CountingSampler(tokenizer, trainer.eos_token_ids, args.sampling_settings)
        trainer.sampler = stop.sampler
        trainer.train()
        rewards = held_out_rewards(model, tokenizer, held_out, args, options.samples)
    tokens = spent + stop.sampler.tokens
    return Result(arm, seed, rewards, trainer.state.global_step, tokens, len(instances))


def report(results: Sequence[Result], before: Sequence[float], options: argparse.Namespace) -> str:
    """The table of all arms, and the paired differences of selection to the others."""
    model = "the made world's bases" if options.world else options.size or options.model
    lines = [
        f"{model}, {options.seeds} seeds, {options.tokens:,} generated tokens each;"
        f" {len(before) // options.seeds} held-out steps with {options.samples}"
        f" answers each; G {options.num_generations}, {options.prompts_per_step} prompts a step,"
        f" {options.profiled} steps profiled, max_mean {options.max_mean:g}.",
        "",
        "| | held-out reward (95% interval) | optimizer steps | tokens | steps trained on |",
        "|---|---|---|---|---|",
        f"| before | {_interval(bootstrap(before))} | | | |",
    ]
    by_arm = {arm: [one for one in results if one.arm == arm] for arm in ARMS}
    for arm, each in by_arm.items():
        values = [value for one in each for value in one.rewards]
        lines.append(
            f"| {arm} | {_interval(bootstrap(values))} | {fmean(one.steps for one in each):.0f} |"
            f" {fmean(one.tokens for one in each):,.0f} |"
            f" {fmean(one.selected for one in each):.0f} |"
        )
    lines += [
        "",
        "| selection against | paired difference (95% interval) | by seed |",
        "|---|---|---|",
    ]
    for arm in ARMS[1:]:
        pairs = list(zip(by_arm["selection"], by_arm[arm], strict=True))
        mine = [value for one, _ in pairs for value in one.rewards]
        theirs = [value for _, one in pairs for value in one.rewards]
        seeds = ", ".join(f"{fmean(a.rewards) - fmean(b.rewards):+.3f}" for a, b in pairs)
        lines.append(f"| {arm} | {_interval(paired_bootstrap(theirs, mine))} | {seeds} |")
    return "\n".join(lines)


def _interval(interval: Any) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--model", default="quickstart")
    made.add_argument("--size", choices=list(SHAPES), help="random weights of this shape instead")
    made.add_argument("--world", nargs="+", help="bases of the tiny study instead, one a seed")
    made.add_argument("--count", type=int, default=400, help="built-in problems")
    made.add_argument("--held_out", type=int, default=60, help="questions that are held out")
    made.add_argument("--held_out_steps", type=int, default=64)
    made.add_argument("--samples", type=int, default=4, help="answers to each held-out step")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--tokens", type=int, default=200_000, help="generated in each arm")
    made.add_argument("--profiled", type=int, default=64, help="steps of the profile")
    made.add_argument("--max_mean", type=float, default=0.8)
    made.add_argument("--num_generations", type=int, default=8)
    made.add_argument("--prompts_per_step", type=int, default=4)
    made.add_argument("--micro_batch", type=int, help="answers at once; None: one group")
    made.add_argument("--max_completion_length", type=int, default=64)
    made.add_argument("--learning_rate", type=float, default=1e-5)
    made.add_argument("--warmup_steps", type=int, default=12)
    made.add_argument("--warmup_learning_rate", type=float, default=1e-4)
    made.add_argument("--no_think", action="store_true", help="answers need no think block")
    made.add_argument("--output", type=Path, help="folder for README.md and results.json")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    options.micro_batch = options.micro_batch or options.num_generations
    results, before = [], []
    for seed in range(options.seeds):
        train, held_out = data_of(options, seed)
        base, tokenizer = base_model(options, train, seed)
        with tempfile.TemporaryDirectory() as folder:
            args = settings(options, seed, folder, True)
            before += held_out_rewards(base, tokenizer, held_out, args, options.samples)
        for arm in ARMS:
            start = time.monotonic()
            one = run_arm(arm, base, tokenizer, train, held_out, options, seed)
            results.append(one)
            print(
                f"seed {seed}, {arm}: reward {fmean(one.rewards):+.3f}, {one.steps} steps,"
                f" {one.tokens} tokens, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    text = report(results, before, options)
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "README.md").write_text(f"{text}\n")
        rows = [
            {"arm": one.arm, "seed": one.seed, "steps": one.steps, "tokens": one.tokens}
            | {"selected": one.selected, "reward": fmean(one.rewards)}
            for one in results
        ]
        (options.output / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

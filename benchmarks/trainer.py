"""Our trainer beside TRL's stock ``GRPOTrainer``, in turns in one run.

Both have the same model, prompts, rewards and lengths.

    # Five minutes on 2 CPU cores; a GPU is used if there is one.
    python benchmarks/trainer.py
    # Try the script on random weights; the times mean little.
    python benchmarks/trainer.py --size tiny
    # Random weights in the shape of Qwen2.5-7B, all of it in bf16, for a GPU of 80 GB.
    python benchmarks/trainer.py --size 7b --dtype bfloat16 --per_device_train_batch_size 2
    # The same with LoRA, for a GPU of 40 GB.
    python benchmarks/trainer.py --size 7b --dtype bfloat16 --lora

Two comparisons, each in turns of stock, ours, stock, ours, ...; every turn starts from
the same weights, and its first step is not counted:

1. Every group is trained on: dynamic sampling is off. Time of an optimizer step.
2. Half of the groups have no spread: the expert step of every second instance is made
   of a character that no answer contains, so that all its answers have similarity 0.
   Stock trains on all groups; ours replaces those. Time, and tokens that go through
   forward and backward (padding included, since it is computed), for each useful group:
   one that was trained on and has spread.

Both trainers get the quick start's kind of prompt in the same order, score answers by
our similarity, and have the same loss (``grpo``, no KL term), optimizer, learning rate,
precision and micro-batches, and no gradient checkpointing. What else stock does is
TRL's default: it samples with ``generate``, and once for all rows of a step. End tokens
have probability 0 in both, so that every completion has the full length. On a CPU both
keep freed memory (``srl_agent/runs/freed_memory.py``). ``--no_shared_prompt`` takes from ours
what it gains in training by computing a prompt once for all its completions.
"""

from __future__ import annotations

import srl_agent  # noqa: F401  before torch: it says how OpenMP's threads wait

# isort: split
import argparse
import copy
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from srl_agent.inference.chat import end_token_ids
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.rollouts.scorers import Instance, StepScorer
from srl_agent.runs.freed_memory import keep_freed_memory
from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.grpo import SRLTrainer
from srl_agent.training.trl.step_times import PHASES
from srl_envs import StepInstance, load_trajectories
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings, StepReward

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.peak_bytes import PeakBytes
from benchmarks.shapes import SHAPES, random_model

RESULTS = Path(__file__).parent / "results"
STOCK, OURS = "stock GRPOTrainer", "ours"
NEVER_WRITTEN = "\N{SNOWMAN}"
ADAPTER = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one trainer did in one turn, without its first step.

    Attributes:
        seconds: Of each optimizer step.
        tokens: That went through forward and backward in each.
        useful: Groups of each that were trained on and have spread.
        phases: Mean seconds of a step's phases, where the trainer logs them.
        peak: Most bytes of memory that tensors took.
    """

    seconds: list[float]
    tokens: list[int]
    useful: list[float]
    phases: dict[str, float]
    peak: int


class SimilarityScorer(StepScorer):
    """The similarity of whole answers without a think block."""

    def __init__(self) -> None:
        super().__init__(RewardSettings(format=ResponseFormat(require_think=False)))

    def score(
        self, instances: Sequence[Instance], texts: Sequence[str], truncated: Sequence[bool]
    ) -> list[StepReward]:
        """All answers are cut at the same length: that is no malformation here."""
        return super().score(instances, texts, [False] * len(texts))


class Watch(TrainerCallback):
    """Times optimizer steps, counts tokens that gradients are computed for, keeps the logs."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.device, self.seconds, self.tokens, self.logs = device, [], [], []
        self._counted, self._started = 0, 0.0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if torch.is_grad_enabled():
            self._counted += kwargs["input_ids"].numel()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called before the first micro-batch."""
        self._counted, self._started = 0, self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the optimizer."""
        self.seconds.append(self._now() - self._started)
        self.tokens.append(self._counted)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Called once a step."""
        if "loss" in logs:
            self.logs.append(dict(logs))


def never_end(model: Any, tokenizer: Any) -> None:
    """Give end tokens probability 0 in sampling."""
    ends = end_token_ids(model, tokenizer)

    def forbid(
        module: torch.nn.Module, args: tuple[Any, ...], logits: torch.Tensor
    ) -> torch.Tensor:
        if not torch.is_grad_enabled():
            logits[..., ends] = -1e4  # whose exponential is 0; infinities cannot be compared
        return logits

    model.get_output_embeddings().register_forward_hook(forbid)


def hopeless(instance: StepInstance) -> StepInstance:
    """The same prompt, with an expert step that no answer resembles."""
    steps = list(instance.trajectory.steps)
    steps[instance.index] = replace(
        steps[instance.index], action=NEVER_WRITTEN * len(instance.expert_action)
    )
    return StepInstance(replace(instance.trajectory, steps=tuple(steps)), instance.index)


def make_trainer(
    name: str,
    model: Any,
    tokenizer: Any,
    instances: Sequence[StepInstance],
    folder: str,
    filters: bool,
    options: argparse.Namespace,
) -> Any:
    rows = options.prompts_per_step * options.num_generations
    common: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": options.per_device_train_batch_size,
        "gradient_accumulation_steps": rows // options.per_device_train_batch_size,
        "num_generations": options.num_generations,
        "max_completion_length": options.max_completion_length,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "loss_type": "grpo",
        "beta": 0.0,
        "bf16": model.device.type == "cuda",
        "use_cpu": model.device.type != "cuda",
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "max_steps": 1 + options.steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    scorer = SimilarityScorer()
    adapter = ADAPTER if options.lora else None
    if name == OURS:
        args = SRLConfig(
            **common,
            eval_strategy="no",
            dynamic_sampling=filters,
            shared_prompt=not options.no_shared_prompt,
        )
        return SRLTrainer(model, args, instances, [], tokenizer, adapter, scorer=scorer)

    def similarity(completions: list[Any], instance: list[int], **columns: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        return [
            reward.value
            for reward in scorer.score([instances[index] for index in instance], texts, [])
        ]

    data = Dataset.from_dict(
        {
            "prompt": [instance.messages for instance in instances],
            "instance": list(range(len(instances))),
        }
    )
    return GRPOTrainer(
        model=model,
        reward_funcs=similarity,
        args=GRPOConfig(**common),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=adapter,
    )


@contextmanager
def counted(on_cpu: bool, model: torch.nn.Module) -> Iterator[Callable[[], int]]:
    """Count the memory that tensors take; on a CPU only if asked to, since it takes time.

    Yields:
        A function that gives the most bytes so far; 0 if they are not counted.
    """
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield torch.cuda.max_memory_allocated
    elif on_cpu:
        with PeakBytes() as bytes:
            bytes.see(list(model.parameters()), list(model.buffers()))
            yield lambda: bytes.peak
    else:
        yield lambda: 0


def take_turn(
    name: str,
    base: Any,
    tokenizer: Any,
    instances: Sequence[StepInstance],
    filters: bool,
    options: argparse.Namespace,
) -> Turn:
    """Train from the base weights and give what was measured."""
    model = copy.deepcopy(base).to(DEVICE)
    with tempfile.TemporaryDirectory() as folder, counted(options.count_memory, model) as peak:
        trainer = make_trainer(name, model, tokenizer, instances, folder, filters, options)
        watch = Watch(model, trainer.accelerator.device)
        trainer.add_callback(watch)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        most = peak()
    del trainer, model
    gc.collect()
    torch.cuda.empty_cache()
    groups, logs = options.prompts_per_step, watch.logs[1:]
    useful = [
        log["groups_kept"] if name == OURS else groups * (1 - log["frac_reward_zero_std"])
        for log in logs
    ]
    phases = (
        {phase: statistics.fmean(log[f"time/{phase}"] for log in logs) for phase in PHASES}
        if name == OURS
        else {}
    )
    return Turn(watch.seconds[1:], watch.tokens[1:], useful, phases, most)


def compare(title: str, take: Callable[[str], Turn], repeats: int) -> dict[str, list[Turn]]:
    """Turns of both, one after the other."""
    turns: dict[str, list[Turn]] = {STOCK: [], OURS: []}
    for number in range(repeats):
        for name, taken in turns.items():
            taken.append(take(name))
            print(
                f"{title}, turn {number + 1} of {repeats}, {name}: "
                f"{[round(seconds, 2) for seconds in taken[-1].seconds]} s a step",
                flush=True,
            )
    return turns


def table(
    title: str, turns: dict[str, list[Turn]], figures: dict[str, Callable[[Turn], float]]
) -> Iterator[str]:
    """Medians over the turns, and the ratio of each turn of ours to the turn of stock before it."""
    yield f"| {title} | {STOCK} | {OURS} | {OURS} / {STOCK.split()[0]}, by turn |"
    yield "|---|---|---|---|"
    for label, figure in figures.items():
        stock, ours = ([figure(turn) for turn in turns[name]] for name in (STOCK, OURS))
        ratios = [mine / theirs for mine, theirs in zip(ours, stock, strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        medians = f"{statistics.median(stock):,.4g} | {statistics.median(ours):,.4g}"
        yield f"| {label} | {medians} | {spread} |"


def load(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model, kept on the CPU, and its tokenizer."""
    dtype = getattr(torch, options.dtype)
    model, tokenizer = load_model_and_tokenizer(options.model, dtype=dtype)
    if options.size:
        model = random_model(options.size, tokenizer, dtype, DEVICE).cpu()
    never_end(model, tokenizer)
    return model, tokenizer


def plain_instances(options: argparse.Namespace) -> list[StepInstance]:
    """Steps to learn from; ours draws up to twice what stock does."""
    count = 3 * options.prompts_per_step * (1 + options.steps)
    return list(load_trajectories("builtin", count=count).instances("all_but_last"))[:count]


def options_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default="quickstart",
        help="Hub name or folder. Default: the built-in SmolLM2-135M-Instruct, fp32.",
    )
    parser.add_argument(
        "--size",
        choices=SHAPES,
        help="Random weights of this shape instead of the model's; its tokenizer stays.",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="Of the weights. Default: float32, which full fine-tuning needs.",
    )
    parser.add_argument("--lora", action="store_true", help="Train an adapter of rank 16.")
    parser.add_argument(
        "--count_memory", action="store_true", help="Count the tensors' bytes on a CPU too."
    )
    parser.add_argument(
        "--prompts_per_step",
        type=int,
        default=2,
        help="B, groups of an optimizer step; even. Default: 2.",
    )
    parser.add_argument(
        "--num_generations", type=int, default=4, help="G, completions of a prompt. Default: 4."
    )
    parser.add_argument(
        "--max_completion_length",
        type=int,
        default=24,
        help="Tokens of every completion. Default: 24.",
    )
    parser.add_argument(
        "--per_device_train_batch_size",
        type=int,
        default=8,
        help="Rows of a micro-batch; divides B * G. Default: 8.",
    )
    parser.add_argument(
        "--steps", type=int, default=1, help="Steps of a turn that count. Default: 1."
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="Turns of each trainer in each comparison. Default: 3.",
    )
    parser.add_argument(
        "--no_shared_prompt", action="store_true", help="Train ours with shared_prompt off."
    )
    parser.add_argument(
        "--record",
        metavar="NAME",
        help="Also write what is printed, and every turn, to benchmarks/results/NAME/trainer.json.",
    )
    options = parser.parse_args(argv)
    rows = options.prompts_per_step * options.num_generations
    if options.prompts_per_step % 2 or rows % options.per_device_train_batch_size:
        parser.error(
            "--prompts_per_step must be even, and --per_device_train_batch_size must divide "
            "prompts_per_step * num_generations"
        )
    return options


def main() -> None:
    options = options_of()
    disable_progress_bars()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)
    model, tokenizer = load(options)
    if DEVICE.type == "cpu":
        keep_freed_memory()

    plain = plain_instances(options)
    mixed = [hopeless(instance) if index % 2 else instance for index, instance in enumerate(plain)]
    every = compare(
        "every group",
        lambda name: take_turn(name, model, tokenizer, plain, False, options),
        options.repeats,
    )
    half = compare(
        "half of the groups",
        lambda name: take_turn(name, model, tokenizer, mixed, True, options),
        options.repeats,
    )

    place = (
        torch.cuda.get_device_name()
        if DEVICE.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    named = f"random weights, {options.size}" if options.size else options.model
    phases = {
        phase: statistics.median(turn.phases[phase] for turn in every[OURS]) for phase in PHASES
    }
    lines = [
        "",
        f"{named}, {str(model.dtype).removeprefix('torch.')}, {place}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, trl {trl.__version__}",
        f"{options.prompts_per_step} prompts x {options.num_generations} completions x "
        f"{options.max_completion_length} tokens a step; "
        f"{options.repeats} turns each, {options.steps} steps a turn; medians",
        "",
        *table(
            "every group is trained on",
            every,
            {
                "seconds a step": lambda turn: statistics.median(turn.seconds),
                "forward/backward tokens a step": lambda turn: statistics.fmean(turn.tokens),
            },
        ),
        "",
        *table(
            "half of the groups have no spread",
            half,
            {
                "useful groups a step": lambda turn: statistics.fmean(turn.useful),
                "seconds a step": lambda turn: statistics.fmean(turn.seconds),
                "seconds a useful group": lambda turn: sum(turn.seconds) / sum(turn.useful),
                "forward/backward tokens a useful group": lambda turn: (
                    sum(turn.tokens) / sum(turn.useful)
                ),
            },
        ),
        "",
        "ours, every group: "
        + ", ".join(f"{phase} {seconds:.3g} s" for phase, seconds in phases.items()),
    ]
    print("\n".join(lines))
    if options.record:
        target = RESULTS / options.record
        target.mkdir(parents=True, exist_ok=True)
        turns = {
            title: {name: list(map(asdict, taken)) for name, taken in both.items()}
            for title, both in (("every", every), ("half", half))
        }
        (target / "trainer.json").write_text(
            json.dumps({"options": vars(options), "printed": lines, "turns": turns}, indent=1)
            + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()

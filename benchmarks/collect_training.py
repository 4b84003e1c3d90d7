r"""Do collected experts teach as well as the built-in experts of the same problems?

    python benchmarks/collect.py --work /tmp/collect
    python benchmarks/collect_training.py --collected /tmp/collect/math/trajectories.jsonl

From the same weights, two arms take the same steps on the same built-in problems: a
supervised warm-up, then SRL. They differ in who solved the problems. ``collected`` is a
file of ``collect math``, ``built-in`` the experts that the problems came with. The measure
is the mean reward on built-in steps that neither has seen. Differences are paired by seed
and step, with bootstrap intervals.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# isort: split
import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from statistics import fmean  # noqa: E402

from benchmarks import collect_profile  # noqa: E402
from benchmarks.collect_profile import base_model, held_out_rewards, settings  # noqa: E402
from srl_agent.intervals import Interval, bootstrap, paired_bootstrap  # noqa: E402
from srl_agent.rollouts.validation import spread_evenly  # noqa: E402
from srl_agent.training.trl.grpo import SRLTrainer  # noqa: E402
from srl_envs.data import load_trajectories  # noqa: E402
from srl_envs.instances import StepInstances  # noqa: E402
from srl_envs.trajectory import Trajectory  # noqa: E402

Rewards = list[float]


def same_problems(
    collected: Sequence[Trajectory], count: int
) -> tuple[list[Trajectory], list[Trajectory]]:
    """The built-in experts of the collected problems, and those of all others."""
    prompts = {one.prompt for one in collected}
    known = load_trajectories("builtin", count=count)
    mine = [one for one in known if one.prompt in prompts]
    if len(mine) != len(collected):
        raise SystemExit(f"Only {len(mine)} of {len(collected)} problems are built-in: --count.")
    return mine, [one for one in known if one.prompt not in prompts]


def trained(
    experts: Sequence[Trajectory],
    held_out: StepInstances,
    options: argparse.Namespace,
    seed: int,
) -> tuple[Rewards, Rewards]:
    """The rewards of the held-out steps after the warm-up, and after SRL."""
    data = StepInstances(experts)
    tested = spread_evenly(held_out, options.held_out_steps)
    model, tokenizer = base_model(options, data, seed)
    with tempfile.TemporaryDirectory() as folder:
        args = settings(options, seed, folder, True)
        args.max_steps = options.steps
        before = held_out_rewards(model, tokenizer, tested, args, options.samples)
        SRLTrainer(model, args, data, [], tokenizer, None, []).train()
        return before, held_out_rewards(model, tokenizer, tested, args, options.samples)


def report(found: dict[str, list[tuple[Rewards, Rewards]]], options: argparse.Namespace) -> str:
    """The table of both arms, and their paired difference."""
    lines = [
        f"{options.size or options.model}, {options.seeds} seeds; {options.problems} problems,"
        f" {options.warmup_steps} supervised steps, then {options.steps} of SRL;"
        f" {options.held_out_steps} held-out steps with {options.samples} answers each.",
        "",
        "| experts | after the warm-up (95% interval) | after SRL (95% interval) |",
        "|---|---|---|",
    ]
    flat = {
        arm: [[value for seed in seeds for value in seed[stage]] for stage in (0, 1)]
        for arm, seeds in found.items()
    }
    for arm, stages in flat.items():
        lines.append(f"| {arm} | " + " | ".join(_said(bootstrap(one)) for one in stages) + " |")
    pairs = zip(flat["built-in"], flat["collected"], strict=True)
    differences = [_said(paired_bootstrap(theirs, mine)) for theirs, mine in pairs]
    lines.append(f"| collected less built-in | {' | '.join(differences)} |")
    return "\n".join(lines)


def _said(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def main() -> None:
    """Train both arms with each seed, and print the table."""
    made = collect_profile.parser()
    made.description = __doc__
    made.add_argument("--collected", type=Path, required=True, help="a file of collect math")
    made.add_argument("--steps", type=int, default=20, help="of SRL, after the warm-up")
    made.set_defaults(size="tiny", warmup_steps=150, warmup_learning_rate=3e-3)
    made.set_defaults(learning_rate=3e-4, no_think=True)
    options = made.parse_args()
    options.micro_batch = options.micro_batch or options.num_generations
    collected = list(load_trajectories(str(options.collected)))
    options.problems = len(collected)
    mine, others = same_problems(collected, options.count)
    held_out, started = StepInstances(others), time.monotonic()
    found: dict[str, list[tuple[Rewards, Rewards]]] = {"built-in": [], "collected": []}
    for seed in range(options.seeds):
        for arm, experts in (("built-in", mine), ("collected", collected)):
            found[arm].append(trained(experts, held_out, options, seed))
            means = ", ".join(f"{fmean(one):+.3f}" for one in found[arm][-1])
            seconds = time.monotonic() - started
            print(f"seed {seed}, {arm}: {means}; {seconds:.0f} s", file=sys.stderr, flush=True)
    text = report(found, options)
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "README.md").write_text(f"{text}\n")
        rows = {
            arm: [[fmean(stage) for stage in seed] for seed in each] for arm, each in found.items()
        }
        (options.output / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The solve rate of `agent_quickstart` on held-out tasks: before, and after each of its stages.

# Run it: under half an hour on 2 calm cores.
python benchmarks/agent_quickstart.py
# Measure a finished run; --record NAME copies its figures to benchmarks/results/NAME/.
python benchmarks/agent_quickstart.py --run runs/mine --record NAME

A run measures the model after SRL and after RL itself, on the half of the held-out tasks
that chooses nothing. The untrained model and the one after the format warm-up solve the
same tasks here, with the same seeds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).parent / "results"
STAGES = ("1-srl_shell_quickstart", "2-agent_shell_quickstart")
RECORDED = ("summary.json", "metrics.jsonl", "environment.json", "config.yaml")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, help="a finished run folder; without it the quick start is run"
    )
    parser.add_argument(
        "--record", metavar="NAME", help="copy the figures to benchmarks/results/NAME"
    )
    arguments = parser.parse_args()
    run = arguments.run
    if run is None:
        from srl_agent.train import main as train

        run = Path(tempfile.mkdtemp(prefix="srl-agent-quickstart-")) / "run"
        if status := train(["--config", "agent_quickstart", "--output_dir", str(run)]):
            return status
    if not (run / STAGES[1] / "summary.json").is_file():
        print(f"error: {run} holds no finished run of agent_quickstart", file=sys.stderr)
        return 1
    found = run / "solve_rates.json"
    if not found.is_file():
        found.write_text(json.dumps(solve_rates(run), indent=1) + "\n")
    print_table(json.loads(found.read_text()))
    if arguments.record:
        target = RESULTS / arguments.record
        for stage in STAGES:
            (target / stage).mkdir(parents=True, exist_ok=True)
            for name in RECORDED:
                shutil.copy(run / stage / name, target / stage / name)
        shutil.copy(found, target / found.name)
    return 0


def solve_rates(run: Path) -> dict[str, Any]:
    """The outcome of every held-out task after each stage, with paired differences."""
    from srl_agent.intervals import paired_difference
    from srl_agent.runs.answers import read_answers

    first, second = (run / stage for stage in STAGES)
    steps = json.loads((second / "summary.json").read_text())["stages"][-1]["step"]
    points = {
        "untrained": untrained_answers(run, "quickstart"),
        "format warm-up": untrained_answers(run, str(first / "warmup")),
        "SRL": read_answers(second / "samples" / "base-0.jsonl"),
        "RL": read_answers(second / "samples" / f"agent-{steps}.jsonl"),
    }
    solved = {
        name: {answer.instance_id: answer.reward for answer in answers}
        for name, answers in points.items()
    }
    stages = [
        {
            "stage": name,
            "solved": fmean(v for v in solved[name].values() if v is not None),
            "well_formed": fmean(answer.error is None for answer in answers),
            "tokens": fmean(answer.tokens or 0 for answer in answers),
            "tasks": len(answers),
        }
        for name, answers in points.items()
    ]
    differences = []
    for before, after in (("untrained", "SRL"), ("format warm-up", "SRL"), ("SRL", "RL")):
        ids = [i for i, v in solved[before].items() if None not in (v, solved[after].get(i))]
        change = paired_difference(
            [float(solved[before][i] or 0) for i in ids],
            [float(solved[after][i] or 0) for i in ids],
        )
        differences.append(
            {
                **{"from": before, "to": after, "difference": change.value},
                **{"low": change.low, "high": change.high, "count": change.count},
            }
        )
    minutes = {
        stage: json.loads((run / stage / "summary.json").read_text())["seconds"]["total"] / 60
        for stage in STAGES
    }
    return {"stages": stages, "differences": differences, "minutes": minutes, "solved": solved}


def untrained_answers(run: Path, model: str) -> list[Any]:
    """What a model does with the tasks that stage 2 is tested on, as that stage asks them."""
    from trl import ModelConfig

    from srl_agent.command_line import parse
    from srl_agent.inference.chat import end_token_ids
    from srl_agent.models.loading import load_model_and_tokenizer
    from srl_agent.rollouts.rollout_model import RolloutModel
    from srl_agent.rollouts.sampler import Sampler
    from srl_agent.training.config import DataConfig, SRLConfig
    from srl_agent.training.data import for_tokenizer, load_data
    from srl_agent.training.methods import METHODS

    flags = ["--config", "agent_shell_quickstart", "--output_dir", str(run / STAGES[1])]
    _, (data, args, _) = parse([DataConfig, SRLConfig, ModelConfig], "quickstart", flags)
    loaded, tokenizer = load_model_and_tokenizer(model, dtype="float32")
    parts = for_tokenizer(load_data(data, args), data, args, tokenizer)
    method = METHODS.named(args.method)
    measure = method.scorer(args)
    sampler = Sampler(tokenizer, end_token_ids(loaded, tokenizer), args.sampling_settings)
    try:
        asked = RolloutModel(loaded, bool(args.bf16), args.device).at(0, loaded)
        _, answers = method.answer(parts.test, asked, sampler, args, measure, (args.seed, 0), None)
    finally:
        measure.close()
    return answers


def print_table(found: dict[str, Any]) -> None:
    """The stages and differences as Markdown."""
    print("| after | solved | last answer well-formed | tokens an episode |\n|---|---|---|---|")
    for stage in found["stages"]:
        print(
            f"| {stage['stage']} | {stage['solved']:.0%} | {stage['well_formed']:.0%} | "
            f"{stage['tokens']:.0f} |"
        )
    for change in found["differences"]:
        interval = f"{change['low']:+.3f} to {change['high']:+.3f}"
        print(
            f"\nsolved, {change['from']} -> {change['to']}: {change['difference']:+.3f} "
            f"(95% interval {interval}, {change['count']} pairs)",
            end="",
        )
    minutes = sum(found["minutes"].values())
    print(f"\n\n{found['stages'][0]['tasks']} held-out tasks; training took {minutes:.0f} minutes.")


if __name__ == "__main__":
    sys.exit(main())

"""Print the quick start's three points and paired differences, as the README shows them.

# Run it: about a quarter of an hour on 2 cores.
python benchmarks/quickstart.py
# Read a finished run; --record NAME copies its figures to benchmarks/results/NAME/.
python benchmarks/quickstart.py --run runs/mine
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
RECORDED = (
    "summary.json",
    "metrics.jsonl",
    "environment.json",
    "config.yaml",
    "plots/reward.png",
    "plots/similarity.png",
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, help="a finished run folder; without it the quick start is run"
    )
    parser.add_argument(
        "--record",
        metavar="NAME",
        help="copy summary, metrics, environment, config and two plots to benchmarks/results/NAME",
    )
    arguments = parser.parse_args()
    run = arguments.run
    if run is None:
        from srl_agent.train import main as train

        run = Path(tempfile.mkdtemp(prefix="srl-quickstart-")) / "run"
        if status := train(["--output_dir", str(run)]):
            return status
    if not (run / "summary.json").is_file():
        print(f"error: {run} holds no finished run (no summary.json)", file=sys.stderr)
        return 1
    print_table(run)
    if arguments.record:
        target = RESULTS / arguments.record
        target.mkdir(parents=True, exist_ok=True)
        for name in RECORDED:
            shutil.copy(run / name, target / Path(name).name)
    return 0


def print_table(run: Path) -> None:
    """The stages and differences of a run as Markdown."""
    summary = json.loads((run / "summary.json").read_text())
    print(
        "| stage | step | step reward | well-formed | similarity of the well-formed "
        "|\n|---|---|---|---|---|"
    )
    for stage in summary["stages"]:
        similarity = "-" if stage["similarity"] is None else f"{stage['similarity']:.3f}"
        print(
            f"| {stage['stage']} | {stage['step']} | {stage['reward']:+.3f} | "
            f"{stage['format_rate']:.0%} | {similarity} |"
        )
    for change in summary["differences"]:
        interval = f"{change['low']:+.3f} to {change['high']:+.3f}"
        print(
            f"\n{change['metric']}, {change['from']} -> {change['to']}: "
            f"{change['difference']:+.3f} (95% interval {interval}, "
            f"{change['count']} pairs)",
            end="",
        )
    print(
        f"\n\n{summary['stages'][0]['count']} held-out step instances; "
        f"the whole run took {summary['seconds']['total'] / 60:.1f} minutes."
    )


if __name__ == "__main__":
    sys.exit(main())

"""Two training runs side by side, from the summary.json that each run writes.

Run: python examples/compare_two_runs.py [RUN_FOLDER RUN_FOLDER]
Without arguments it reads two recorded runs of this repository.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
RECORDED = [RESULTS / "quickstart_2cores", RESULTS / "long_2cores"]


def stages(run: Path) -> list[dict[str, Any]]:
    """The validations of a run: base, warm-up and trained model."""
    summary = run / "summary.json"
    if not summary.is_file():
        sys.exit(f"{run} has no summary.json. Name the --output_dir of a finished training run.")
    return list(json.loads(summary.read_text(encoding="utf-8"))["stages"])


if __name__ == "__main__":
    runs = [Path(argument) for argument in sys.argv[1:]] or RECORDED
    if len(runs) != 2:
        sys.exit(f"{len(runs)} run folders were given. Name two, or none for the recorded runs.")
    print(f"{'run':<20} {'stage':<8} {'step':>5} {'reward':>7} {'well-formed':>12}")
    for run in runs:
        for stage in stages(run):
            print(
                f"{run.name:<20} {stage['stage']:<8} {stage['step']:>5} "
                f"{stage['reward']:>+7.3f} {stage['format_rate']:>12.0%}"
            )
    first, second = (stages(run)[-1]["reward"] for run in runs)
    print(f"step reward of the last stage, second run minus first: {second - first:+.3f}")
    print("Each is one run with one seed: the difference includes the noise between seeds.")

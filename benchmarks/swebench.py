"""Seconds per instance of an evaluation on SWE-bench beside the harness alone on the same patches, one run.

python benchmarks/swebench.py        (the built-in instances' gold patches, then a model that writes its own; needs a Docker engine; some minutes)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from srl_agent.evaluation.swebench.builtin import builtin_row
from srl_envs.swe_tasks import load_tasks


def seconds_of(folder: Path, *command: str) -> float:
    """Wall-clock seconds of a Python command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="quickstart", help="Hub name or folder. Default: the built-in SmolLM2-135M-Instruct.")
    parser.add_argument("--instances", type=int, default=4, help="Built-in instances. Default: 4.")
    parser.add_argument("--jobs", type=int, default=1, help="Judged side by side, in both. Default: 1.")
    parser.add_argument("--max_new_tokens", type=int, default=48, help="Default: 48.")
    parser.add_argument("--max_prompt_tokens", type=int, default=1500, help="Default: 1500.")
    options = parser.parse_args()

    rows = [builtin_row(task) for task in load_tasks()[: options.instances]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = folder / "dataset.jsonl"
        dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
        gold = [{"instance_id": row["instance_id"], "model_name_or_path": "gold", "model_patch": row["patch"]} for row in rows]
        (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
        ours = ["-m", "srl_agent.evaluate", "swebench", "--dataset", str(dataset), "--jobs", str(options.jobs), "--repositories", "image"]
        ours += ["--repository_cache", str(folder / "cache")]
        model = ["--model", options.model, "--max_new_tokens", str(options.max_new_tokens), "--max_prompt_tokens", str(options.max_prompt_tokens)]
        harness = ["-m", "swebench.harness.run_evaluation", "--dataset_name", str(dataset), "--max_workers", str(options.jobs)]

        print(f"{len(rows)} built-in instances, {options.jobs} judged side by side, seconds per instance (process starts included)")
        for label, command in (
            ("gold patches, the harness alone", [*harness, "--predictions_path", str(folder / "gold.jsonl"), "--run_id", "alone"]),
            ("gold patches, this project's run", [*ours, "--predictions", str(folder / "gold.jsonl"), "--output_dir", str(folder / "gold")]),
            (f"{options.model}: patches written only", [*ours, *model, "--judge", "false", "--output_dir", str(folder / "written")]),
            (f"{options.model}: written and judged", [*ours, *model, "--output_dir", str(folder / "judged")]),
            (
                f"{options.model}: its patches, the harness alone",
                [*harness, "--predictions_path", str(folder / "judged" / "predictions.jsonl"), "--run_id", "model"],
            ),
        ):
            print(f"{label:50s} {seconds_of(folder, *command) / len(rows):8.2f}", flush=True)


if __name__ == "__main__":
    main()

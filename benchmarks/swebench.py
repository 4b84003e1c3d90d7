"""Seconds per instance of a SWE-bench evaluation, beside the harness alone on the same patches.

    python benchmarks/swebench.py        (needs a Docker engine; four minutes)

Both judge the built-in instances in one run.

Judging: the gold patches by both. So that what a program takes to start is not counted,
one gold patch (the others empty, for which no container runs) is compared with all of
them. The engine's own times scatter by more than what judging adds; so that is also
read off one run: the seconds from an instance's turn to its verdict, less those that
the harness's log of it spans (without the first instance of each process, for which the
harness starts). Generation: a server on this machine that answers every prompt after a
set time, one at a time, with an edit that adds a comment to the first file it is shown.
So patches are real, and how long they take to write is known: what is measured is how
much of it the judging hides.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from srl_agent.evaluation.swebench.builtin import builtin_row
from srl_envs.swe.tasks import load_tasks

_LOGGED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - ", re.MULTILINE)
_FILE = re.compile(
    r"^`(?P<path>[^`\n]+\.py)`\n(?P<fence>`{3,})\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


class Writer(BaseHTTPRequestHandler):
    """A model as far as time and form go."""

    seconds = 0.0
    one_at_a_time = threading.Lock()

    def do_POST(self) -> None:
        """Answer a chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.one_at_a_time:
            time.sleep(self.seconds)
        choice = {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": comment_edit(asked["messages"][-1]["content"]),
            },
            "finish_reason": "stop",
        }
        body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def comment_edit(prompt: str) -> str:
    """An edit that comments on the first unique line in the first file of a prompt."""
    file = _FILE.search(prompt)
    if not file:
        return "No file is shown."
    lines = file["text"].split("\n")
    line = next(line for line in lines if line.strip() and lines.count(line) == 1)
    return (
        f"`{file['path']}`\n<<<<<<< SEARCH\n{line}\n=======\n# a comment\n{line}\n>>>>>>> REPLACE\n"
    )


def seconds_of(folder: Path, *command: str) -> float:
    """Wall-clock seconds of a Python command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start


class Benchmark:
    """The commands that are timed, in a folder of their own.

    Args:
        folder: An empty folder.
        rows: The instances.
        jobs: How many are judged side by side, by both.
    """

    def __init__(self, folder: Path, rows: list[dict[str, str]], jobs: int) -> None:
        self.folder, self.rows, self.jobs = folder, rows, jobs
        self.dataset = folder / "dataset.jsonl"
        self.dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._runs = 0

    def predictions(self, name: str, patches: list[str]) -> Path:
        """A file of patches, one for each instance."""
        path = self.folder / f"{name}.jsonl"
        rows = [
            {"instance_id": row["instance_id"], "model_name_or_path": name, "model_patch": patch}
            for row, patch in zip(self.rows, patches, strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def alone(self, predictions: Path) -> float:
        """The harness alone."""
        self._runs += 1
        arguments = [
            "--dataset_name",
            str(self.dataset),
            "--predictions_path",
            str(predictions),
            "--max_workers",
            str(self.jobs),
        ]
        return seconds_of(
            self.folder,
            "-m",
            "swebench.harness.run_evaluation",
            *arguments,
            "--run_id",
            f"alone-{self._runs}",
        )

    def ours(self, *arguments: str) -> tuple[float, Path]:
        """This project's run; its folder."""
        self._runs += 1
        output = self.folder / f"run-{self._runs}"
        places = [
            "--dataset",
            str(self.dataset),
            "--repositories",
            "image",
            "--repository_cache",
            str(self.folder / "cache"),
            "--output_dir",
            str(output),
        ]
        return seconds_of(
            self.folder,
            "-m",
            "srl_agent.evaluate",
            "swebench",
            *places,
            "--jobs",
            str(self.jobs),
            *arguments,
        ), output


def beside_the_harness(output: Path, jobs: int) -> tuple[float, float]:
    """Mean seconds from an instance's turn to its verdict, and outside the harness's own log.

    The first instances do not count.
    """
    judgements = [
        json.loads(line) for line in (output / "judgements.jsonl").read_text().splitlines()
    ][jobs:]
    spans = []
    for judgement in judgements:
        times = [
            datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f")
            for time in _LOGGED.findall(Path(judgement["log"], "run_instance.log").read_text())
        ]
        spans.append((times[-1] - times[0]).total_seconds())
    whole = statistics.fmean(judgement["seconds"] for judgement in judgements)
    return whole, whole - statistics.fmean(spans)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=10,
        help="Built-in instances, at least 2. Default: 10, all.",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="Judged side by side, by both. Default: 1."
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="Each command is run so often, in turn; the fastest counts. Default: 3.",
    )
    parser.add_argument(
        "--answer_seconds",
        type=float,
        default=0.5,
        help="How long the server writes at an answer. Default: 0.5.",
    )
    options = parser.parse_args()

    rows = [builtin_row(task) for task in load_tasks()[: options.instances]]
    count = len(rows)
    with tempfile.TemporaryDirectory() as name:
        benchmark = Benchmark(Path(name), rows, options.jobs)
        rounds = range(options.rounds)
        patches = [str(row["patch"]) for row in rows]
        gold = benchmark.predictions("gold", patches)
        one = benchmark.predictions("one", [patches[0], *[""] * (count - 1)])
        times = [
            (
                benchmark.alone(one),
                benchmark.ours("--predictions", str(one)),
                benchmark.alone(gold),
                benchmark.ours("--predictions", str(gold)),
            )
            for _ in rounds
        ]
        alone_one, (our_one, _), alone, (ours, output) = (
            min(column) for column in zip(*times, strict=True)
        )
        own, added = (alone - alone_one) / (count - 1), (ours - our_one) / (count - 1)
        whole, beside = beside_the_harness(output, options.jobs)
        print(
            f"{count} built-in instances, {options.jobs} judged side by side, "
            f"the fastest of {options.rounds} rounds; seconds"
        )
        print(f"{'gold patches':44s} {'whole':>9s} {'per further instance':>22s}")
        print(f"{'the harness alone':44s} {alone:9.1f} {own:22.2f}")
        print(f"{'this project':44s} {ours:9.1f} {added:22.2f}  {100 * (added / own - 1):+.1f}%")
        print(
            f"beside the harness, by its own log: {1000 * beside:.0f} ms of {whole:.2f} "
            f"s, {100 * beside / (whole - beside):+.1f}% (goal < +5%)",
            flush=True,
        )

        Writer.seconds = options.answer_seconds
        with ThreadingHTTPServer(("127.0.0.1", 0), Writer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            model = [
                "--model",
                "writer",
                "--base_url",
                f"http://127.0.0.1:{server.server_address[1]}/v1",
                "--concurrency",
                "1",
            ]
            written = min(benchmark.ours(*model, "--judge", "false")[0] for _ in rounds)
            both, output = min(benchmark.ours(*model) for _ in rounds)
            predictions = output / "predictions.jsonl"
            judged = min(benchmark.ours("--predictions", str(predictions))[0] for _ in rounds)
            server.shutdown()
        real = sum(
            bool(json.loads(line)["model_patch"]) for line in predictions.read_text().splitlines()
        )
        print(
            f"\n{count} answers of {options.answer_seconds:g} s each, one at a time, "
            f"{real} of them with a patch; whole commands, seconds"
        )
        for label, seconds in (
            ("written only", written),
            ("judged only", judged),
            ("written and judged", both),
        ):
            print(f"{label:44s} {seconds:9.1f}")
        print(
            f"both less judged only: {both - judged:+.1f} s, "
            f"of {count * options.answer_seconds:.1f} s of writing"
        )


if __name__ == "__main__":
    main()

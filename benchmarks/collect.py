"""A small teacher through all three commands of ``srl_agent.collect``, to the end.

# SmolLM2-135M learns the form from 60 built-in solutions, is served by the tests' small
# OpenAI-compatible server, and is asked for others.
python benchmarks/collect.py --work /tmp/collect
# --teacher takes a model folder as it is; --record copies the figures to benchmarks/results/NAME/.
python benchmarks/collect.py --work /tmp/collect --record collect_2cores

The built-in problems and shell tasks that the teacher is asked are not among those that it
learned from. How many are kept is reported, whatever it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import srl_agent  # noqa: F401  before torch: it says how OpenMP's threads wait

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "conformance"))

from chat_completions_server import serving  # noqa: E402

from srl_envs.data import load_trajectories  # noqa: E402
from srl_envs.data.jsonl import save_trajectories  # noqa: E402
from srl_envs.prompts.teacher import rewrite_text  # noqa: E402
from srl_envs.trajectory import ExpertStep, Trajectory  # noqa: E402

TRAINED, ASKED = 60, 8
TRAINING = (
    *("--config", "sft_math_7b", "--model_name_or_path", "quickstart", "--system_prompt", ""),
    *("--bf16", "false", "--gradient_checkpointing", "false", "--learning_rate", "2e-4"),
    *("--prompts_per_step", "4", "--per_device_train_batch_size", "4", "--warmup_steps", "1"),
    *("--max_steps", "14", "--eval_strategy", "no", "--save_steps", "7", "--held_out", "4"),
    *("--eval_instances", "1", "--test_instances", "1", "--max_prompt_length", "512"),
    *("--max_completion_length", "256"),
)
TEACHER = (
    "--tries",
    "1",
    "--temperature",
    "0",
    "--max_new_tokens",
    "192",
    "--system_prompt",
    "",
    "--concurrency",
    "2",
)


def titled(one: Trajectory) -> tuple[ExpertStep, ...]:
    """The expert's steps with number and title before each, and the answer in a box."""
    last = len(one.steps) - 1
    return tuple(
        ExpertStep(
            step.action + (f" The answer is \\boxed{{{one.answer}}}." if number == last else ""),
            title=step.title,
            heading=f"{number + 1}. **{step.title}**: ",
            gap="" if number == last else "\n\n",
        )
        for number, step in enumerate(one.steps)
    )


def lessons() -> Iterator[Trajectory]:
    """Of each problem: solve it, and rewrite its solution."""
    for one in load_trajectories("builtin", count=ASKED + TRAINED)[ASKED:]:
        steps = titled(one)
        yield replace(one, id=f"{one.id}-solve", steps=steps, tail="")
        prompt = rewrite_text(one.prompt, prose(one))
        yield replace(one, id=f"{one.id}-rewrite", prompt=prompt, steps=steps, tail="")


def prose(one: Trajectory) -> str:
    """The expert's solution without numbers and titles."""
    return " ".join(step.action for step in one.steps) + f" The answer is {one.answer}."


def run(*command: str) -> None:
    """Run one of the project's commands; its failure ends this script."""
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)


def collected(work: Path, url: str, model: str) -> dict[str, dict[str, object]]:
    """The figures of the three commands."""
    server = ("--model", model, "--base_url", url, "--timeout", "600")
    problems = work / "problems.jsonl"
    asked = list(load_trajectories("builtin", count=ASKED + TRAINED))[:ASKED]
    rows = [{"id": x.id, "problem": x.prompt, "solution": prose(x)} for x in asked]
    answers = [{"id": x.id, "problem": x.prompt, "answer": x.answer} for x in asked]
    solutions = work / "solutions.jsonl"
    for path, content in ((problems, answers), (solutions, rows)):
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    command = "srl_agent.collect"
    place = {name: str(work / name) for name in ("math", "rewrite", "swe")}
    run(
        command,
        "math",
        "--problems",
        str(problems),
        *server,
        *TEACHER,
        "--output_dir",
        place["math"],
    )
    run(
        *(command, "rewrite", "--solutions", str(solutions), *server, *TEACHER),
        *("--output_dir", place["rewrite"]),
    )
    run(
        *(command, "swe", "--source", "builtin_shell", "--count", "12", "--limit", "2"),
        *("--sandbox", "bubblewrap", "--num_samples", "1", "--episode_turns", "3"),
        *("--max_new_tokens", "96", "--concurrency", "2", *server, "--output_dir", place["swe"]),
    )
    found = {}
    for name, folder in place.items():
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        names = ("problems", "kept", "passed", "answers", "open", "rejected", "figures", "spent")
        found[name] = {one: results[one] for one in names}
    return found


def main() -> None:
    """Train, serve, collect, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run; resumes")
    parser.add_argument("--teacher", type=Path, help="a model folder; it is not trained first")
    parser.add_argument("--record", help="name under benchmarks/results")
    chosen = parser.parse_args()
    work: Path = chosen.work
    work.mkdir(parents=True, exist_ok=True)
    teacher = chosen.teacher or work / "teacher" / "final"
    if not teacher.is_dir():
        save_trajectories(lessons(), work / "lessons.jsonl")
        data = ("--source", str(work / "lessons.jsonl"), "--output_dir", str(work / "teacher"))
        run("srl_agent.train", *TRAINING, *data)
    with serving(teacher) as server:
        found = collected(work, server.base_url, str(teacher))
    text = json.dumps({"teacher": teacher.name, **found}, indent=1)
    print(text)
    if chosen.record:
        folder = ROOT / "benchmarks" / "results" / chosen.record
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

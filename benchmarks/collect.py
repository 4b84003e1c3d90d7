"""A small teacher through all three commands of ``srl_agent.collect``, to the end.

# SmolLM2-135M learns the form from 60 built-in solutions, is served by the tests' small
# OpenAI-compatible server, and is asked for others.
python benchmarks/collect.py --work /tmp/collect
# The model of the quick start learns the form; the agents' model after SRL acts, on tasks
# that it did not see. --record copies the figures to benchmarks/results/NAME/.
python benchmarks/collect.py --work /tmp/collect --start QUICKSTART_RUN/final \
    --actor AGENT_RUN/1-srl_shell_quickstart/final --asked 24 --tries 2 --record collect_2cores
# A model folder as it is, without being taught.
python benchmarks/collect.py --work /tmp/collect --teacher FOLDER

The built-in problems and shell tasks that the teacher is asked are not among those that it
learned the form from. How many are kept is reported, whatever it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import srl_agent  # noqa: F401  before torch: it says how OpenMP's threads wait

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "conformance"))

import yaml  # noqa: E402
from chat_completions_server import serving  # noqa: E402

from srl_agent.collect import main as collect  # noqa: E402
from srl_envs.data import load_trajectories  # noqa: E402
from srl_envs.data.jsonl import save_trajectories  # noqa: E402
from srl_envs.prompts.teacher import rewrite_text  # noqa: E402
from srl_envs.trajectory import ExpertStep, Trajectory  # noqa: E402

TRAINED = 60
"""Problems that the teacher learns the form from."""
TRAINING = (
    *("--config", "sft_math_7b", "--system_prompt", ""),
    *("--bf16", "false", "--gradient_checkpointing", "false", "--learning_rate", "2e-4"),
    *("--prompts_per_step", "4", "--per_device_train_batch_size", "4", "--warmup_steps", "1"),
    *("--max_steps", "14", "--eval_strategy", "no", "--save_steps", "7", "--held_out", "4"),
    *("--eval_instances", "1", "--test_instances", "1", "--max_prompt_length", "512"),
    *("--max_completion_length", "256"),
)
WRITING = ("--max_new_tokens", "192", "--system_prompt", "")
ACTING = (
    *("--source", "builtin_shell", "--sandbox", "bubblewrap", "--max_new_tokens", "96"),
    *("--episode_turns", "3"),
)
STAGE = ROOT / "srl_agent" / "configs" / "srl_shell_quickstart.yaml"
ASKED_AS = ("families", "count", "held_out", "system_prompt", "history_turns")
"""Settings of that stage with which its model is asked."""


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


def lessons(asked: int) -> Iterator[Trajectory]:
    """Of each problem after those that are asked: solve it, and rewrite its solution."""
    for one in load_trajectories("builtin", count=asked + TRAINED)[asked:]:
        steps = titled(one)
        yield replace(one, id=f"{one.id}-solve", steps=steps, tail="")
        prompt = rewrite_text(one.prompt, prose(one))
        yield replace(one, id=f"{one.id}-rewrite", prompt=prompt, steps=steps, tail="")


def prose(one: Trajectory) -> str:
    """The expert's solution without numbers and titles."""
    return " ".join(step.action for step in one.steps) + f" The answer is {one.answer}."


def figures(name: str, folder: Path, *command: str) -> dict[str, object]:
    """What a command of ``collect`` says at its end, and how long it took."""
    started = time.monotonic()
    if collect([name, *command, "--output_dir", str(folder)]):
        raise SystemExit(f"collect {name} failed: see above.")
    seconds = round(time.monotonic() - started)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    names = ("problems", "kept", "passed", "answers", "open", "rejected", "figures", "spent")
    return {one: results[one] for one in names} | {"seconds": seconds}


def served(url: str, model: Path) -> tuple[str, ...]:
    """The flags that name the server."""
    where = ("--model", str(model), "--base_url", url)
    return (*where, "--timeout", "600", "--concurrency", "2")


def written(work: Path, teacher: Path, asked: int, tries: int) -> dict[str, object]:
    """The figures of ``math`` and ``rewrite``."""
    found = list(load_trajectories("builtin", count=asked + TRAINED))[:asked]
    rows = [{"id": one.id, "problem": one.prompt} for one in found]
    answers = [{**row, "answer": one.answer} for row, one in zip(rows, found, strict=True)]
    solved = [{**row, "solution": prose(one)} for row, one in zip(rows, found, strict=True)]
    problems, solutions = work / "problems.jsonl", work / "solutions.jsonl"
    for path, content in ((problems, answers), (solutions, solved)):
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    drawn = ("--tries", str(tries), "--temperature", "0.7" if tries > 1 else "0")
    with serving(teacher) as server:
        flags = (*served(server.base_url, teacher), *WRITING, *drawn)
        return {
            "math": figures("math", work / "math", "--problems", str(problems), *flags),
            "rewrite": figures("rewrite", work / "rewrite", "--solutions", str(solutions), *flags),
        }


def acted(work: Path, actor: Path, trained: bool, tasks: int, tries: int) -> dict[str, object]:
    """The figures of ``swe``; a trained actor gets tasks held out from its training."""
    flags = ["--limit", str(tasks), "--num_samples", str(tries)]
    flags += ["--temperature", "0.7" if tries > 1 else "0"]
    if trained:
        stage = yaml.safe_load(STAGE.read_text(encoding="utf-8"))
        flags += ["--split", "validation", "--require_think", "true"]
        flags += ["--observation_characters", str(stage["observation_characters"])]
        for name in ASKED_AS:
            value = stage[name]
            flags += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    else:
        flags += ["--count", "12"]
    with serving(actor) as server:
        return figures("swe", work / "swe", *ACTING, *flags, *served(server.base_url, actor))


def main() -> None:
    """Train, serve, collect, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the run; resumes")
    parser.add_argument("--start", default="quickstart", help="the model that learns the form")
    parser.add_argument("--teacher", type=Path, help="a model folder; it is not trained first")
    parser.add_argument("--actor", type=Path, help="a model of agent_quickstart, for collect swe")
    parser.add_argument("--asked", type=int, default=8, help="problems, and solutions to rewrite")
    parser.add_argument("--tasks", type=int, default=2, help="of the shell")
    parser.add_argument("--tries", type=int, default=1, help="of each")
    parser.add_argument("--record", help="name under benchmarks/results")
    chosen = parser.parse_args()
    work: Path = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    teacher = (chosen.teacher or work / "teacher" / "final").resolve()
    if not teacher.is_dir():
        save_trajectories(lessons(chosen.asked), work / "lessons.jsonl")
        data = ("--source", str(work / "lessons.jsonl"), "--output_dir", str(work / "teacher"))
        command = (*TRAINING, "--model_name_or_path", chosen.start, *data)
        subprocess.run([sys.executable, "-m", "srl_agent.train", *command], check=True, cwd=ROOT)
    found = written(work, teacher, chosen.asked, chosen.tries)
    actor = (chosen.actor or teacher).resolve()
    found["swe"] = acted(work, actor, bool(chosen.actor), chosen.tasks, chosen.tries)
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.record:
        folder = ROOT / "benchmarks" / "results" / chosen.record
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

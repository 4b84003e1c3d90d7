"""The page "Your own expert data": its commands run, one after another, as they are written."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from srl_agent.collect import main as collect
from srl_agent.train import main as train
from srl_envs.data import load_trajectories
from srl_envs.trajectory import Trajectory

sys.path.append(str(Path(__file__).parents[2] / "conformance"))
from teacher_server import Reply, TeacherServer, teacher_server

PAGE = Path(__file__).parents[3] / "docs" / "your-expert-data.md"
COMMANDS = re.findall(r"```bash\npython -m srl_agent\.(\w+) (.*?)\n```", PAGE.read_text())
TINY = {
    **{"require_think": "false", "bf16": "false", "use_cpu": "true", "format_warmup_steps": 0},
    **{"eval_instances": 2, "test_instances": 2, "max_completion_length": 16, "max_steps": 1},
    **{"num_generations": 4, "prompts_per_step": 2, "per_device_train_batch_size": 4},
    **{"eval_strategy": "no", "save_steps": 1, "disable_tqdm": "true"},
}


def written(one: Trajectory) -> str:
    """The expert's solution as the teacher is asked to write it."""
    steps = [
        f"{number}. **{step.title}**: {step.action}" for number, step in enumerate(one.steps, 1)
    ]
    return "\n\n".join(steps) + f" So \\boxed{{{one.answer}}}."


@pytest.fixture(scope="module")
def experts() -> list[Trajectory]:
    return list(load_trajectories("builtin", count=40))


@pytest.fixture
def server(experts: list[Trajectory], tmp_path: Path) -> Iterator[TeacherServer]:
    """A teacher that knows the problems of the two files, which are beside it."""
    for name, columns in (
        ("problems", ["problem", "answer"]),
        ("solutions", ["problem", "solution"]),
    ):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            for one in experts:
                prose = " ".join(step.action for step in one.steps)
                answer = (
                    one.answer if name == "problems" else f"{prose} The answer is {one.answer}."
                )
                rows.writerow([one.prompt, answer])

    def script(asked: str, before: int) -> Reply:
        return Reply(next(written(one) for one in experts if one.prompt in asked))

    with teacher_server(script) as server:
        yield server


def arguments(command: str, server: TeacherServer) -> list[str]:
    return shlex.split(command.replace("http://localhost:8000/v1", server.url))


def test_from_a_file_of_problems_to_a_trained_model(
    server: TeacherServer, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *collecting, training = [command for command in COMMANDS if "swe" not in command[1]][:5]
    assert [one[1].split()[0] for one in collecting] == ["math", "math", "rewrite", "curate"]
    assert training[0] == "train"
    for _, command in collecting:
        assert collect(arguments(command, server)) == 0, command
    for name in ("solved", "rewritten"):
        results = json.loads((tmp_path / "runs" / name / "results.json").read_text())
        assert results["kept"] > 30, results["rejected"]
    flags = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    model = ["--model_name_or_path", str(tiny_model_dir)]
    assert train([*arguments(training[1], server), *model, *flags]) == 0
    assert (tmp_path / "runs" / "trained" / "final" / "model.safetensors").is_file()
    assert (tmp_path / "runs" / "trained" / "report.html").is_file()


def test_the_other_commands_of_the_page_fit_their_settings(
    server: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they do is tested beside this file; rounds need a model that can be trained."""
    monkeypatch.chdir(tmp_path)
    acting, improving = (arguments(command, server) for _, command in COMMANDS[5:])
    assert collect([*acting, "--dry_run", "true"]) == 0
    assert collect([*improving, "--rounds", "0", "--dry_run", "true"]) == 0

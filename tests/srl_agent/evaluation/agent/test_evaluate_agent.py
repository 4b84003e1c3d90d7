"""An agent is evaluated through a real server: a script that replays the experts solves what they
solved, a killed run goes on, and nothing is asked twice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from srl_agent.evaluate import main
from srl_agent.evaluation.agent.attempts import EPISODES, AttemptStore
from srl_agent.evaluation.agent.config import AgentConfig
from srl_agent.evaluation.agent.results import summarize
from srl_agent.evaluation.agent.run import load_tasks
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.data import load_data
from srl_envs import load_trajectories
from srl_envs.errors import DataError
from srl_envs.trajectory import Trajectory

sys.path.append(str(Path(__file__).parents[3] / "conformance"))
from expert_server import ExpertServer, expert_server, turns


def evaluate(server: ExpertServer, folder: Path, *more: str) -> int:
    return main(
        [
            *("agent", "--model", "expert", "--base_url", server.url),
            *("--episode_history", "whole", "--output_dir", str(folder), *more),
        ]
    )


def results_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


MATH = ("--source", "builtin", "--count", "40", "--limit", "8")


@pytest.fixture(scope="module")
def word_problems() -> list[Trajectory]:
    return list(load_trajectories("builtin", count=40))[:8]


def test_an_expert_solves_all_and_is_asked_once(
    tmp_path: Path, word_problems: list[Trajectory], capsys: pytest.CaptureFixture[str]
) -> None:
    with expert_server(word_problems) as server:
        assert evaluate(server, tmp_path / "run", *MATH) == 0
        asked = server.asked
        assert asked == sum(len(turns(one)) for one in word_problems)
        assert evaluate(server, tmp_path / "run", *MATH) == 0
        assert server.asked == asked
    found = results_of(tmp_path / "run")
    assert (found["tasks"], found["rate"]["value"], found["unjudged"]) == (8, 1.0, 0)
    assert found["ends"] == {"ended": 8}
    assert found["malformed"] == 0 and found["turns"] == asked / 8
    assert "8 tasks, 1 episode each" in capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("episode right") == 8 and "&lt;think&gt;" not in page


def test_a_wrong_answer_is_not_solved_and_samples_are_counted_by_task(
    tmp_path: Path, word_problems: list[Trajectory]
) -> None:
    wrong = word_problems[0].prompt
    more = ("--num_samples", "2", "--temperature", "0.5")
    with expert_server(word_problems, [wrong]) as server:
        assert evaluate(server, tmp_path / "run", *MATH, *more) == 0
    found = results_of(tmp_path / "run")
    assert found["rate"]["value"] == found["pass_at"]["2"]["value"] == 7 / 8
    assert 0 < found["rate"]["low"] < 7 / 8 < found["rate"]["high"] <= 1
    lines = (tmp_path / "run" / EPISODES).read_text().splitlines()
    assert sorted((row["task"], row["number"]) for row in map(json.loads, lines)) == sorted(
        (one.id, number) for one in word_problems for number in (0, 1)
    )


def test_a_killed_run_goes_on_with_what_is_missing(
    tmp_path: Path, word_problems: list[Trajectory]
) -> None:
    with expert_server(word_problems) as server:
        assert evaluate(server, tmp_path / "run", *MATH) == 0
        path = tmp_path / "run" / EPISODES
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # killed while it wrote
        server.asked = 0
        assert evaluate(server, tmp_path / "run", *MATH) == 0
        kept = {json.loads(line)["task"] for line in lines[:5]}
        assert server.asked == sum(len(turns(one)) for one in word_problems if one.id not in kept)
    assert results_of(tmp_path / "run")["rate"]["value"] == 1.0
    again = [json.loads(line)["task"] for line in path.read_text().splitlines()]
    assert sorted(again) == sorted(one.id for one in word_problems)


def test_other_settings_and_tasks_that_nobody_can_judge_are_refused(
    tmp_path: Path, word_problems: list[Trajectory], capsys: pytest.CaptureFixture[str]
) -> None:
    with expert_server(word_problems) as server:
        assert evaluate(server, tmp_path / "run", *MATH) == 0
        assert evaluate(server, tmp_path / "run", *MATH, "--episode_turns", "3") == 1
        assert "episode_turns was 30, is 3" in capsys.readouterr().err
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"prompt": "Cook an egg.", "steps": ["Boil water.", "Add the egg."]}\n')
        server.asked = 0
        status = evaluate(
            server, tmp_path / "other", "--source", "jsonl", "--dataset_path", str(rows)
        )
        assert (status, server.asked) == (1, 0)
        assert "no task that can be judged" in capsys.readouterr().err
        assert evaluate(server, tmp_path / "third", *MATH, "--num_samples", "2") == 1
        assert "every episode of a task would be the same" in capsys.readouterr().err


def test_a_server_that_is_gone_is_no_verdict(
    tmp_path: Path, word_problems: list[Trajectory], capsys: pytest.CaptureFixture[str]
) -> None:
    with expert_server(word_problems) as server:
        url_of_nobody = server
    assert evaluate(url_of_nobody, tmp_path / "run", *MATH, "--retries", "0") == 1
    assert "error: " in capsys.readouterr().err
    assert (tmp_path / "run" / EPISODES).read_text() == ""


def record(task: str, number: int, correct: bool | None, end: str = "ended") -> EpisodeRecord:
    return EpisodeRecord(task, number, end, None, correct, (), 2.0, 1.0, 0.5, "", ())


def test_an_episode_without_a_verdict_keeps_the_denominator() -> None:
    tasks = [Trajectory(name, name, (), answer="1") for name in ("a", "b", "c")]
    attempts = {
        ("a", 0): record("a", 0, True),
        ("a", 1): record("a", 1, False, "turns"),
        ("b", 0): record("b", 0, False, "tokens"),
        ("b", 1): record("b", 1, False, "tokens"),
        ("c", 1): record("c", 1, True),
        ("c", 2): record("c", 2, True),  # of an earlier run with more samples
    }
    found = summarize("m", "s", tasks, 2, attempts)
    assert found.rate.value == pytest.approx(2 / 6)
    assert found.pass_at[2].value == pytest.approx(2 / 3)
    assert found.unjudged == 1
    assert found.ends == {"ended": 2, "turns": 1, "tokens": 2}
    assert found.solved_ends == {"ended": 2}


def test_a_damaged_line_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / EPISODES
    path.write_text('{"task": "a"}\n')
    with pytest.raises(DataError, match="line 1: not an episode"):
        AttemptStore(path)


def test_shell_tasks_are_solved_without_docker(tmp_path: Path, bubblewrap: None) -> None:
    experts = list(load_trajectories("builtin_shell", count=12))
    with expert_server(experts) as server:
        shell = ("--source", "builtin_shell", "--count", "12", "--sandbox", "bubblewrap")
        assert evaluate(server, tmp_path / "run", *shell) == 0
    found = results_of(tmp_path / "run")
    assert (found["tasks"], found["rate"]["value"]) == (12, 1.0), found["ends"]
    assert sum(kind["tasks"] for kind in found["kinds"]) == 12 and len(found["kinds"]) > 5


def test_the_validation_split_is_what_a_training_run_holds_out() -> None:
    chosen: dict[str, Any] = {"families": ["edit-1", "rank-1"], "count": 80, "held_out": 20}
    args = SRLConfig(method="agent", sandbox="bubblewrap", bf16=False, max_completion_length=8)
    parts = load_data(DataConfig(source="builtin_shell", **chosen), args)
    asked = load_tasks(AgentConfig(source="builtin_shell", split="validation", **chosen))
    held_out = {one.id for one in (*parts.validation, *parts.test)}
    assert {one.id for one in asked} == held_out and len(held_out) == 20
    assert {one.metadata["family"] for one in asked} == {"edit", "rank"}


@pytest.mark.docker
@pytest.mark.slow
def test_the_built_in_experts_solve_ten_of_ten(tmp_path: Path, base_image: str) -> None:
    experts = list(load_trajectories("builtin_swe"))
    with expert_server(experts) as server:
        status = evaluate(
            server, tmp_path / "run", "--source", "builtin_swe", "--episodes_at_once", "3"
        )
    found = results_of(tmp_path / "run")
    assert (status, found["tasks"], found["rate"]["value"]) == (0, 10, 1.0), found["ends"]

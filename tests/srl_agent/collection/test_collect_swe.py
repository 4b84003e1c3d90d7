"""``collect swe``: experts behind a real server act in real sandboxes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from srl_agent.collect import main
from srl_envs.commands import grammar_named
from srl_envs.data import load_trajectories
from srl_envs.replay import replay
from srl_envs.trajectory import Trajectory

sys.path.append(str(Path(__file__).parents[2] / "conformance"))
from expert_server import ExpertServer, expert_server

COUNT = ("--source", "builtin_shell", "--count", "12", "--limit", "3", "--sandbox", "bubblewrap")


def collect(server: ExpertServer, folder: Path, *more: str) -> int:
    return main(
        [
            *("swe", "--model", "expert", "--base_url", server.url, "--retries", "0"),
            *("--episode_history", "whole", "--output_dir", str(folder), "--log_level", "error"),
            *("--episode_turns", "8", *COUNT, *more),
        ]
    )


def results_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


@pytest.fixture(scope="module")
def experts() -> list[Trajectory]:
    return list(load_trajectories("builtin_shell", count=12))


@pytest.fixture(scope="module")
def collected(
    experts: list[Trajectory], bubblewrap: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run in which two of three tasks are solved, twice each."""
    folder = tmp_path_factory.mktemp("collected") / "run"
    with expert_server(experts, [experts[1].prompt]) as server:
        assert collect(server, folder, "--num_samples", "2") == 0
    return folder


def test_what_tests_and_replay_confirm_is_kept_with_what_was_seen(
    collected: Path, experts: list[Trajectory]
) -> None:
    kept = load_trajectories(str(collected / "trajectories.jsonl"))
    assert [one.id for one in kept] == [experts[0].id, experts[2].id]
    for mine, theirs in zip(kept, (experts[0], experts[2]), strict=True):
        assert [step.action for step in mine.steps] == [step.action for step in theirs.steps]
        assert mine.steps[0].observation == theirs.steps[0].observation
        assert mine.steps[0].thought == "turn 0"
        assert (mine.metadata["tries"], mine.metadata["passed"]) == (2, 2)
        assert replay(mine, sandbox="bubblewrap").resolved
    found = results_of(collected)
    assert (found["kept"], found["passed"], found["answers"]) == (2, 4, 6)
    assert sum(found["rejected"].values()) == 2


def test_swe_smith_rows_are_read_back(collected: Path) -> None:
    kept = load_trajectories(str(collected / "trajectories.jsonl"))
    rows = load_trajectories("agent", path=collected / "swe_smith.jsonl")
    assert [(one.prompt, one.steps) for one in rows] == [(one.prompt, one.steps) for one in kept]


def test_atif_documents_hold_calls_with_their_observations(collected: Path) -> None:
    kept = load_trajectories(str(collected / "trajectories.jsonl"))
    for one in kept:
        document = json.loads((collected / "atif" / f"{one.id}.json").read_text())
        task, *steps = document["steps"]
        assert document["schema_version"].startswith("ATIF-v1.") and task["message"] == one.prompt
        assert [step["step_id"] for step in document["steps"]] == [*range(1, len(one.steps) + 2)]
        for step, mine in zip(steps, one.steps, strict=True):
            (call,), (seen,) = step["tool_calls"], step["observation"]["results"]
            assert call["tool_call_id"] == seen["source_call_id"]
            assert call["arguments"]["command"] in mine.action
            assert seen["content"] == mine.observation and step["message"] == mine.thought


def test_atif_documents_are_read_back(collected: Path) -> None:
    """As calls with the same commands, and with the environment."""
    kept = load_trajectories(str(collected / "trajectories.jsonl"))
    read = load_trajectories("agent", path=collected / "atif")
    assert sorted(one.id for one in read) == sorted(one.id for one in kept)
    for one in read:
        (mine,) = [other for other in kept if other.id == one.id]
        assert one.prompt == mine.prompt and one.metadata["image"] == mine.metadata["image"]
        for step, other in zip(one.steps, mine.steps, strict=True):
            assert (step.thought, step.observation) == (other.thought, other.observation)
            command = grammar_named(one.grammar).parse(step.action)
            assert dict(command.arguments)["command"] in other.action


def test_a_broken_off_run_asks_nothing_twice(
    experts: list[Trajectory], tmp_path: Path, bubblewrap: None
) -> None:
    """Also not in the middle of an episode: its turns are found again."""
    folder, flags = tmp_path / "run", ("--num_samples", "1", "--episodes_at_once", "1")
    turns = sum(len(one.steps) for one in experts[:3])
    half = turns - len(experts[2].steps) + 1
    with expert_server(experts) as server:
        answer = server.answer

        def dies(messages: list[dict[str, str]]) -> str:
            if server.asked == half:
                raise ConnectionError
            return answer(messages)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(server, "answer", dies)
            patched.setattr(server, "handle_error", lambda *arguments: None)
            assert collect(server, folder, *flags) == 1
        found = results_of(folder)
        assert (found["kept"], found["open"], found["spent"]["requests"]) == (2, 1, half)
        assert collect(server, folder, *flags) == 0
        assert (server.asked, results_of(folder)["kept"]) == (turns, 3)
        assert collect(server, folder, *flags) == 0 and server.asked == turns


def test_a_budget_ends_the_run_before_what_it_may_not_cover(
    experts: list[Trajectory], tmp_path: Path, bubblewrap: None
) -> None:
    flags = ("--num_samples", "1", "--episodes_at_once", "1", "--max_new_tokens", "100")
    with expert_server(experts) as server:
        assert collect(server, tmp_path / "run", *flags, "--max_tokens_total", "100") == 0
        assert server.asked == 0 and results_of(tmp_path / "run")["open"] == 3
        assert collect(server, tmp_path / "run", *flags, "--max_tokens_total", "100000") == 0
        assert results_of(tmp_path / "run")["kept"] == 3


def test_runs_of_mini_swe_agent_2_are_replayed_and_kept(
    experts: list[Trajectory], tmp_path: Path, bubblewrap: None
) -> None:
    """One that solves its task, one that does not, and one of no task of the source."""
    runs = tmp_path / "runs"
    for expert, steps, name in (
        (experts[0], experts[0].steps, experts[0].id),
        (experts[1], (experts[1].steps[0], experts[1].steps[-1]), experts[1].id),
        (experts[2], experts[2].steps, "another-task"),
    ):
        messages = [
            {"role": "system", "content": "You act in a shell."},
            {"role": "user", "content": f"Please solve this issue: {expert.prompt}\n\nYou can"},
        ]
        for step in steps:
            fence = step.action.replace("```bash", "```mswea_bash_command")
            messages.append({"role": "assistant", "content": f"THOUGHT: {step.thought}\n\n{fence}"})
            if step.observation:
                messages.append({"role": "user", "content": step.observation})
        saved = {
            "info": {
                "exit_status": "Submitted",
                "mini_version": "2.1.0",
                "config": {"environment": {"cwd": "/work", "image": "none"}},
            },
            "messages": messages,
            "trajectory_format": "mini-swe-agent-1.1",
            "instance_id": name,
        }
        (runs / name).mkdir(parents=True)
        (runs / name / f"{name}.traj.json").write_text(json.dumps(saved))
    flags = ("--runs", str(runs), "--output_dir", str(tmp_path / "run"), "--log_level", "error")
    assert main(["swe", *COUNT, *flags]) == 0
    (kept,) = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert (kept.id, kept.grammar) == (experts[0].id, "mswea_bash")
    assert kept.metadata["checks"] == experts[0].metadata["checks"]
    assert results_of(tmp_path / "run")["rejected"] == {
        "its replay does not solve the task": 1,
        "no task of this id in the source": 1,
    }


def test_a_dry_run_and_wrong_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ("--model", "expert", "--base_url", "http://127.0.0.1:9/v1")
    assert main(["swe", *server, *COUNT, "--dry_run", "true"]) == 0
    assert "12 episodes of at most 30 turns" in capsys.readouterr().out
    assert main(["swe", *server, "--source", "builtin", "--sandbox", "bubblewrap"]) == 2
    assert "collect math" in capsys.readouterr().err
    assert main(["swe", *server, "--max_drift", "2"]) == 2
    assert "max_drift is 2.0" in capsys.readouterr().err

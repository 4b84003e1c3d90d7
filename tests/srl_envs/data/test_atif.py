"""Documents in ATIF that other agents wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srl_envs.data import load_trajectories
from srl_envs.errors import DataError


def call(number: int, command: str, tool: str = "bash") -> dict[str, Any]:
    arguments = {"command": command}
    return {"tool_call_id": f"c{number}", "function_name": tool, "arguments": arguments}


def document(**more: Any) -> dict[str, Any]:
    return {
        "schema_version": "ATIF-v1.8",
        "trajectory_id": "one",
        "agent": {"name": "another", "version": "1"},
        "steps": [
            {"step_id": 1, "source": "system", "message": "You act in a shell."},
            {"step_id": 2, "source": "user", "message": "Mend the file."},
            {"step_id": 3, "source": "agent", "message": "Old.", "is_copied_context": True},
            {
                "step_id": 4,
                "source": "agent",
                "message": "Look.",
                "reasoning_content": "Where is it?",
                "tool_calls": [call(1, "ls"), call(2, "pwd")],
                "observation": {
                    "results": [
                        {"source_call_id": "c1", "content": [{"type": "text", "text": "f"}]},
                        {"source_call_id": "c2", "content": "/work"},
                    ]
                },
            },
            {
                "step_id": 5,
                "source": "agent",
                "message": "",
                "tool_calls": [call(3, "cat f")],
                "observation": {"results": [{"content": "text"}]},
            },
        ],
        **more,
    }


def test_calls_side_by_side_thoughts_and_results_without_an_id(tmp_path: Path) -> None:
    (tmp_path / "trial" / "agent").mkdir(parents=True)
    (tmp_path / "trial" / "result.json").write_text('{"reward": 1}')
    file = tmp_path / "trial" / "agent" / "trajectory.json"
    file.write_text(json.dumps(document(), indent=2))
    with pytest.raises(DataError, match="no verdict in the row"):
        load_trajectories("agent", path=tmp_path)
    (read,) = load_trajectories("agent", path=tmp_path, resolved_only=False)
    assert (read.id, read.prompt) == ("one", "Mend the file.")
    assert [step.observation for step in read.steps] == ["f", "/work", "text"]
    assert "Where is it?" in read.steps[0].thought and "ls" in read.steps[0].action


def test_rows_of_documents_with_a_verdict_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [document(resolved=True), document(resolved=False)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_trajectories("agent", path=file)) == 1


def test_an_unknown_tool_is_named(tmp_path: Path) -> None:
    row = document(resolved=True)
    row["steps"][4]["tool_calls"] = [call(3, "cat f", tool="keyboard")]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="keyboard"):
        load_trajectories("agent", path=tmp_path / "rows.jsonl")

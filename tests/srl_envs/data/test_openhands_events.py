"""What OpenHands itself writes: events of its evaluations, and saved trajectories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srl_envs import load_trajectories
from srl_envs.errors import DataError

TASK = "<uploaded_files>\n/workspace/org__repo\n</uploaded_files>\n<issue_description>\nIt fails.\n"
TOOLS = {"run": "execute_bash", "edit": "str_replace_editor", "read": "str_replace_editor"}


def response(name: str, calls: list[dict[str, Any]], said: str | None = None) -> dict[str, Any]:
    message = {"content": said, "role": "assistant", "tool_calls": calls, "function_call": None}
    choice = {"finish_reason": "tool_calls", "index": 0, "message": message}
    return {"id": name, "object": "chat.completion", "choices": [choice]}


def pair(
    number: int, kind: str, of: dict[str, Any], content: str, call_id: str = "", **extras: Any
) -> list[dict[str, Any]]:
    """An action and its observation, with the response that holds the call ``call_id``."""
    names = [call["id"] for call in of["choices"][0]["message"]["tool_calls"]]
    call = {
        "function_name": TOOLS.get(kind, kind),
        "tool_call_id": call_id or names[0],
        "model_response": of,
        "total_calls_in_response": len(names),
    }
    action = {"id": number, "timestamp": "2025-04-30T16:32:57", "source": "agent"}
    action |= {"message": "", "action": kind, "tool_call_metadata": call, "args": {"thought": ""}}
    observation = {"id": number + 1, "timestamp": "2025-04-30T16:32:58", "source": "agent"}
    observation |= {"cause": number, "observation": kind, "tool_call_metadata": call}
    return [action, {**observation, "content": content, "extras": extras}]


def call(name: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": name, "function": {"name": tool, "arguments": json.dumps(arguments)}}


BOTH = response(
    "r1",
    [
        call("a", "execute_bash", command="ls", security_risk="LOW"),
        call("b", "str_replace_editor", command="view", path="/workspace/org__repo/a.py"),
    ],
    "Look.",
)
EDIT = call("c", "str_replace_editor", command="create", path="/workspace/x", file_text="x")
EVENTS: list[dict[str, Any]] = [
    {"id": 0, "timestamp": "2025-04-30T16:32:54", "source": "agent", "message": "You are."}
    | {"action": "system", "args": {"content": "You are.", "tools": []}},
    {"id": 1, "timestamp": "2025-04-30T16:32:54", "source": "user", "message": TASK}
    | {"action": "message", "args": {"content": f"{TASK}</issue_description>"}},
    {"id": 2, "source": "user", "action": "recall", "args": {"query": TASK}},
    {"id": 3, "source": "environment", "cause": 2, "observation": "recall", "content": "Added"},
    *pair(4, "run", BOTH, "a.py", "a", metadata={"exit_code": 0, "working_dir": "/workspace"}),
    *pair(6, "read", BOTH, "x = 1", "b", impl_source="oh_aci"),
    *pair(8, "think", response("r2", [call("t", "think", thought="Hm.")]), "logged"),
    *pair(10, "edit", response("r3", [EDIT]), "diff", formatted_output_and_error="File created"),
    {"id": 12, "source": "agent", "action": "change_agent_state", "args": {}},
    pair(13, "finish", response("r4", [call("f", "finish", message="Done.")]), "")[0],
]
ROW = {
    "instance_id": "org__repo-1",
    "test_result": {"git_patch": "diff", "report": {"resolved": True, "error_eval": False}},
    "instruction": TASK,
    "metadata": {"agent_class": "CodeActAgent"},
    "history": EVENTS,
    "error": None,
}


def test_rows_of_its_evaluations(tmp_path: Path) -> None:
    (tmp_path / "output.jsonl").write_text(json.dumps(ROW) + "\n")
    (trajectory,) = load_trajectories("agent", path=tmp_path / "output.jsonl")
    assert (trajectory.prompt, trajectory.id) == ("It fails.", "org__repo-1")
    assert trajectory.metadata["workdir"] == "/workspace/org__repo"
    assert trajectory.metadata["skipped_turns"] == {"idle tool": 1}
    tools = [json.loads(step.action)["name"] for step in trajectory.steps]
    assert tools == ["bash", "str_replace_editor", "str_replace_editor", "submit"]
    assert [step.thought for step in trajectory.steps] == ["Look.", "", "Hm.", ""]
    assert [step.observation for step in trajectory.steps] == [
        "a.py\n[Current working directory: /workspace]\n[Command finished with exit code 0]",
        "x = 1",
        "File created",
        "",
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_saved_trajectory_is_one_run(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "saved.json").write_text(json.dumps(EVENTS, indent=indent))
    loaded = load_trajectories("agent", path=tmp_path / "saved.json", resolved_only=False)
    assert [len(one.steps) for one in loaded] == [4] and loaded[0].id == "saved"
    with pytest.raises(DataError, match="1 no verdict in the row"):
        load_trajectories("agent", path=tmp_path / "saved.json")


def test_its_verdicts_count(tmp_path: Path) -> None:
    failed = {**ROW, "test_result": {"git_patch": "", "report": {"resolved": False}}}
    other = {**ROW, "test_result": {"git_patch": ""}, "report": {"resolved": True}}
    nothing = {**ROW, "test_result": {"git_patch": ""}}
    rows = "".join(json.dumps(row) + "\n" for row in (ROW, failed, other, nothing))
    (tmp_path / "output.jsonl").write_text(rows)
    loaded = load_trajectories("agent", path=tmp_path / "output.jsonl")
    assert len(loaded) == 2 and loaded.rejected["not resolved"] == 1
    assert sum(loaded.rejected.values()) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"history": [{"command": "ls", "thought": "", "action": "run"}]},
            "OpenHands' events without tool_call_metadata are not read",
        ),
        (
            {"history": [[{"action": "run", "args": {}}, {"observation": "run"}]]},
            "OpenHands' events in pairs are not read",
        ),
        (
            {"trajectory": [{"kind": "ActionEvent", "source": "agent", "tool_name": "terminal"}]},
            "events of OpenHands' SDK are not read",
        ),
        (
            {"schema_version": "ATIF-v1.7", "steps": [{"step_id": 1, "source": "user"}]},
            "no issue",
        ),
        (
            {"type": "user", "sessionId": "s", "uuid": "u", "message": {"role": "user"}},
            "a line of a Claude Code session is not read",
        ),
        (
            {"timestamp": "t", "type": "response_item", "payload": {"type": "message"}},
            "a line of a Codex session is not read",
        ),
        ({"responses_create_params": {}, "response": {}, "reward": 1}, "NeMo Gym is not read"),
        ({"id": "a", "content": [], "details": {}}, "agent data protocol is not read"),
        ({"turns": [{"text": "ls"}]}, "no messages in a column messages, history, trajectory or"),
    ],
)
def test_other_formats_are_rejected_by_name(tmp_path: Path, row: Any, reason: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "resolved": True}) + "\n")
    with pytest.raises(DataError, match=reason):
        load_trajectories("agent", path=tmp_path / "rows.jsonl")


def test_a_foreign_row_is_named_also_where_it_says_no_verdict(tmp_path: Path) -> None:
    line = {"type": "user", "sessionId": "s", "uuid": "u", "message": {"role": "user"}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match="1 a line of a Claude Code session is not read"):
        load_trajectories("agent", path=tmp_path / "rows.jsonl")


def test_a_row_that_only_submits_is_rejected(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "It fails."},
        {"role": "assistant", "content": "It is 7.\n<function=submit>\n</function>"},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": messages, "resolved": 1}) + "\n")
    with pytest.raises(DataError, match="1 no command but the submission"):
        load_trajectories("agent", path=tmp_path / "rows.jsonl")


def test_commands_in_tags_of_early_swe_agents(tmp_path: Path) -> None:
    history = [
        {"role": "system", "content": "."},
        {"role": "user", "content": "ISSUE:\nIt fails.\n\nINSTRUCTIONS:\nGo."},
        {
            "role": "assistant",
            "content": "Like `x`:\n```\nnot this\n```\n<command>\nls -F\n</command>",
        },
        {"role": "user", "content": "a.py\n(Open file: n/a)\n(Current directory: /repo)\nbash-$"},
        {
            "role": "assistant",
            "content": "Mend.\n<command>edit 1:1\n```\nend_of_edit</command>\nSo.",
        },
        {"role": "user", "content": "done"},
        {"role": "assistant", "content": "Now I think."},
        {"role": "user", "content": "Your output was not formatted correctly."},
        {"role": "assistant", "content": "<command>\nsubmit\n</command>"},
    ]
    run = {"history": history, "trajectory": [], "info": {"exit_status": "submitted"}}
    (tmp_path / "one.traj").write_text(json.dumps(run))
    (trajectory,) = load_trajectories("agent", path=tmp_path / "one.traj")
    assert trajectory.grammar == "swe_agent_0"
    assert [step.action for step in trajectory.steps] == [
        "```\nls -F\n```",
        "````\nedit 1:1\n```\nend_of_edit\n````",
        "```\nsubmit\n```",
    ]
    assert trajectory.steps[0].thought == "Like `x`:\n```\nnot this\n```"
    assert trajectory.steps[1].thought == "Mend.\n\nSo."
    assert trajectory.metadata["skipped_turns"] == {"no command": 1}

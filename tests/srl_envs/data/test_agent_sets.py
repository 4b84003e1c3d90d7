"""Published sets of agents' trajectories: a row of each shape, its columns as published."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from srl_envs import load_trajectories
from srl_envs.commands import GRAMMARS
from srl_envs.data.agent_rows import read
from srl_envs.data.agent_sets import AGENT_SETS
from srl_envs.errors import DataError
from srl_envs.instances import TrajectorySet

PATCH = "diff --git a/a.py b/a.py\n"
OPENHANDS_TASK = (
    "<uploaded_files>\n/workspace/org__repo__1.2\n</uploaded_files>\nI've uploaded a repository. "
    "Consider the following PR description:\n\n<pr_description>\nIt fails.\n</pr_description>\n\n"
    "Can you help me?"
)


def call(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "index": None, "type": "function", "function": function}


def openhands(calls: list[dict[str, Any]], task: str = OPENHANDS_TASK) -> list[dict[str, Any]]:
    """Messages as OpenHands saves them; every key is there, whether it is used or not."""
    empty = {"function_call": None, "name": None, "tool_call_id": None, "tool_calls": None}
    messages = [
        {**empty, "role": "system", "content": "You are a helpful assistant."},
        {**empty, "role": "user", "content": task},
    ]
    for one in calls:
        name = one["function"]["name"]
        messages.append({**empty, "role": "assistant", "content": "", "tool_calls": [one]})
        if name != "finish":
            seen = {"role": "tool", "name": name, "tool_call_id": one["id"]}
            messages.append({**empty, **seen, "content": f"OBSERVATION:\nseen {one['id']}"})
    return messages


CALLS = [
    call(1, "execute_bash", command="ls", security_risk="LOW"),
    call(2, "think", thought="The cause is a.py."),
    call(3, "str_replace_editor", command="view", path="/workspace/a.py", view_range=[1, 9]),
    call(4, "finish", message="Done.", task_completed="true"),
]
SWE_GYM = {
    "instance_id": "org__repo-1",
    "run_id": "gpt-4o_maxiter_50",
    "resolved": True,
    "messages": openhands(CALLS),
    "tools": [],
    "test_result": {"git_patch": PATCH, "report": {"resolved": True}},
}
SWE_REBENCH = {
    "trajectory_id": "chatcmpl-1",
    "instance_id": "org__repo-1",
    "repo": "org/repo",
    "trajectory": openhands(
        CALLS, "<issue_description>\nIt fails.\n</issue_description>\nThe repository is there."
    ),
    "tools": [],
    "model_patch": PATCH,
    "exit_status": "submit",
    "resolved": 1,
    "gen_tests_correct": None,
    "pred_passes_gen_tests": None,
}
XML = (
    "<function=execute_bash>\n<parameter=command>\nls\n</parameter>\n</function>",
    "<function=think>\n<parameter=thought>The cause is a.py.</parameter>\n</function>",
    "<function=str_replace_editor>\n<parameter=command>view</parameter>\n"
    "<parameter=path>/workspace/a.py</parameter>\n</function>",
    "<function=finish>\n<parameter=message>Done.</parameter>\n"
    "<parameter=task_completed>true</parameter>\n",  # stopped at </function>
)


def chat(
    turns: tuple[str, ...], task: str, seen: str = "EXECUTION RESULT of [execute_bash]:\nseen"
) -> list[dict[str, Any]]:
    messages = [{"role": "system", "content": "."}, {"role": "user", "content": task}]
    for turn in turns:
        messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": seen}]
    return messages[:-1]


SWE_GYM_SFT = {"messages": chat(XML, OPENHANDS_TASK)}
R2E_GYM = {
    "messages": chat(
        (
            "I look.\n\n<function=search>\n  <parameter=search_term>fail</parameter>\n"
            "  <parameter=path>/testbed</parameter>\n</function>",
            "<function=file_editor>\n  <parameter=command>view</parameter>\n"
            "  <parameter=path>/testbed/a.py</parameter>\n  <parameter=concise>True</parameter>\n"
            "</function>",
            "<function=execute_bash>\n  <parameter=cmd>ls</parameter>\n</function>",
            "<function=finish>\n  <parameter=command>submit</parameter>\n"
            "  <parameter=result></parameter>\n</function>",
        ),
        "Consider the following github issue:\n<github_issue>\nIt fails.\n</github_issue>\n\nGo.",
        "Execution output of [search]:\nseen",
    )
}
NEBIUS = {
    "instance_id": "org__repo-1",
    "model_name": "swe-agent-llama-70b",
    "target": True,
    "trajectory": [
        {"cutoff_date": "01.01.2023", "mask": False, "role": "system", "system_prompt": "SETTING"}
        | {"text": None},
        *(
            {"cutoff_date": None, "mask": role == "ai", "role": role, "system_prompt": None}
            | {"text": text}
            for role, text in (
                (
                    "user",
                    "We're solving an issue.\nISSUE:\nIt fails.\n\nINSTRUCTIONS:\nNow go.\n\n"
                    "(Open file: n/a)\n(Current directory: /repo)\nbash-$",
                ),
                ("ai", "I open it.\n```\nopen a.py 3\n```"),
                ("user", "seen\n(Open file: /repo/a.py)\n(Current directory: /repo)\nbash-$"),
                ("ai", "I mend it.\n```\nedit 3:3\n    return 1\nend_of_edit\n```"),
                ("user", "seen"),
                ("ai", "```\nsubmit\n```"),
            )
        ),
    ],
    "exit_status": "submitted",
    "generated_patch": PATCH,
    "eval_logs": "...",
}
NEMOTRON = {  # messages only
    "uuid": "2150a3fd-8078-4b75-83f0-12165cd738e1",
    "messages": openhands(CALLS),
    "license": "cc-by-4.0",
    "used_in": ["nano_v3"],
    "tools": [],
}
SWE_ZERO = {
    "trajectory_id": "t1",
    "instance_id": "org__repo-1",
    "repo": "org/repo",
    "dataset": "SWE-Gym",
    "trajectory": openhands(CALLS),
    "model_patch": PATCH,
}
CODERFORGE = {
    "trajectory_id": "t1",
    "reward": 1.0,
    "messages": json.dumps(openhands(CALLS)),
    "tools": "[]",
}
MINI_TASK = "<pr_description>\nConsider the following PR description:\nIt fails.\n</pr_description>"
MINI_SEEN = "<returncode>0</returncode>\n<output>\nseen\n</output>"
END = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff"
MINI_CODER = {
    "messages": chat(
        ("THOUGHT: Look.\n\n```bash\nls\n```", f"Done.\n\n```bash\n{END}\n```"),
        MINI_TASK,
        MINI_SEEN,
    ),
    "patch": PATCH,
    "model": "qwen3-coder-30b",
    "instance_id": "org__repo.73871d76.func__x",
    "verified": True,
}
KLEAR = {"instance_id": "org__repo.73871d76.func__x", "messages": MINI_CODER["messages"]}
MINI_2_TEXT = {
    "info": {"exit_status": "Submitted", "submission": PATCH},
    "instance_id": "org__repo-1",
    "trajectory_format": "mini-swe-agent-1.1",
    "messages": chat(
        ("Look.\n\n```mswea_bash_command\nls\n```", f"```mswea_bash_command\n{END}\n```"),
        MINI_TASK,
        MINI_SEEN,
    ),
}
RESPONSES = {
    "info": {"exit_status": "Submitted", "submission": PATCH},
    "instance_id": "org__repo-1",
    "trajectory_format": "mini-swe-agent-1.1",
    "messages": [
        {"role": "system", "content": "."},
        {"role": "user", "content": MINI_TASK},
        {
            "object": "response",
            "id": "resp_1",
            "output": [
                {
                    "type": "reasoning",
                    "id": "r",
                    "summary": [{"type": "summary_text", "text": "?"}],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Look."}],
                },
                {"type": "function_call", "call_id": "a", "name": "bash"}
                | {"arguments": json.dumps({"command": "ls"})},
                {"type": "function_call", "call_id": "b", "name": "bash"}
                | {"arguments": json.dumps({"command": "pwd"})},
            ],
            "extra": {"actions": [{"command": "ls", "tool_call_id": "a"}]},
        },
        {"type": "function_call_output", "call_id": "a", "output": "seen a", "extra": {}},
        {"type": "function_call_output", "call_id": "b", "output": "seen b", "extra": {}},
        {
            "object": "response",
            "output": [
                {"type": "function_call", "call_id": "c", "name": "bash"}
                | {"arguments": json.dumps({"command": END})}
            ],
        },
        {"role": "exit", "content": PATCH, "extra": {"exit_status": "Submitted"}},
    ],
}
HERMES = {
    "messages": [
        {"role": "system", "content": "."},
        {"role": "user", "content": "It fails."},
        {
            "role": "assistant",
            "content": '<think>Or <tool_call>{"name": "x"}?</think>\n<tool_call>\n'
            '{"name": "bash", "arguments": {"command": "ls"}}\n</tool_call>',
        },
        {"role": "user", "content": "<tool_response>\nseen\n</tool_response>"},
        {
            "role": "assistant",
            "content": '<tool_call>\n{"name": "submit", "arguments": {}}\n</tool_call>',
        },
    ],
    "resolved": "true",
}
ANTHROPIC = {
    "resolved": True,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "It fails."}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Look."},
                {"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "seen"}],
                }
            ],
        },
    ],
}
TRAJ = {
    "environment": "swe_main",
    "trajectory": [],
    "history": [
        {"role": "system", "content": ".", "agent": "main", "message_type": "system_prompt"},
        {"role": "user", "content": "demo", "agent": "main", "is_demo": True},
        {"role": "user", "content": MINI_TASK, "agent": "main", "message_type": "observation"},
        {
            "role": "assistant",
            "content": "Look.",
            "thought": "Look.",
            "action": "ls",
            "agent": "main",
            "tool_calls": [call(1, "bash", command="ls")],
            "message_type": "action",
        },
        {
            "role": "tool",
            "content": [{"type": "text", "text": "OBSERVATION:\nseen"}],
            "agent": "main",
            "message_type": "observation",
            "tool_call_ids": ["call_1"],
        },
        {
            "role": "assistant",
            "content": "Done.",
            "action": "submit",
            "agent": "main",
            "tool_calls": [call(2, "submit")],
            "message_type": "action",
        },
    ],
    "info": {"exit_status": "submitted", "submission": PATCH, "model_stats": {}},
    "replay_config": "{}",
}
SETS: Mapping[str, tuple[dict[str, Any], str, list[str], list[str]]] = {
    "swe_gym": (SWE_GYM, "tool", ["bash", "str_replace_editor", "submit"], ["seen call_1"]),
    "swe_rebench": (SWE_REBENCH, "tool", ["bash", "str_replace_editor", "submit"], ["seen call_1"]),
    "swe_gym_sft": (SWE_GYM_SFT, "xml", ["bash", "str_replace_editor", "submit"], ["seen"]),
    "r2e_gym": (
        R2E_GYM,
        "r2e",
        ["search", "str_replace_editor", "bash", "submit"],
        ["seen"],
    ),
    "swe_agent_0": (
        NEBIUS,
        "swe_agent_0",
        ["bash", "bash", "submit"],
        ["seen\n(Open file: /repo/a.py)\n(Current directory: /repo)\nbash-$"],
    ),
    "coderforge": (CODERFORGE, "tool", ["bash", "str_replace_editor", "submit"], ["seen call_1"]),
    "mini_coder": (MINI_CODER, "bash", ["bash", "bash"], [MINI_SEEN]),
    "mini_klear": (KLEAR, "bash", ["bash", "bash"], [MINI_SEEN]),
    "mini_swe_agent": (MINI_2_TEXT, "mswea_bash", ["bash", "bash"], [MINI_SEEN]),
    "agent": (RESPONSES, "bash_tool", ["bash", "bash", "bash"], ["seen a", "seen b", PATCH]),
}


def load(path: Path, row: Any, source: str = "agent", **options: Any) -> TrajectorySet:
    file = path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return load_trajectories(source, path=file, **options)


def tools_of(trajectory: Any) -> list[str]:
    grammar = GRAMMARS[trajectory.grammar]
    return [grammar.parse(step.action).tool for step in trajectory.steps]


@pytest.mark.parametrize("source", SETS)
def test_a_row_of_each_published_set(tmp_path: Path, source: str) -> None:
    row, grammar, tools, seen = SETS[source]
    loaded = load(tmp_path, row, source)
    assert loaded.rejected == {}
    (trajectory,) = loaded
    assert (trajectory.prompt, trajectory.grammar) == ("It fails.", grammar)
    assert tools_of(trajectory) == tools
    assert [step.observation for step in trajectory.steps][: len(seen)] == seen
    assert GRAMMARS[grammar].parse(trajectory.steps[-1].action).submits


@pytest.mark.parametrize(
    ("row", "grammar", "tools"),
    [
        (HERMES, "tool", ["bash", "submit"]),
        (ANTHROPIC, "tool", ["bash"]),
        ({**SWE_REBENCH, "resolved": "True"}, "tool", ["bash", "str_replace_editor", "submit"]),
    ],
)
def test_other_spellings_are_seen_from_the_row(
    tmp_path: Path, row: dict[str, Any], grammar: str, tools: list[str]
) -> None:
    (trajectory,) = load(tmp_path, row)
    assert (trajectory.prompt, trajectory.grammar) == ("It fails.", grammar)
    assert tools_of(trajectory) == tools
    assert trajectory.steps[0].observation.startswith("seen")


def test_what_was_thought_with_a_tool_is_the_next_thought(tmp_path: Path) -> None:
    (trajectory,) = load(tmp_path, SWE_GYM)
    assert [step.thought for step in trajectory.steps] == ["", "The cause is a.py.", ""]
    assert trajectory.metadata["skipped_turns"] == {"idle tool": 1}
    assert trajectory.metadata["workdir"] == "/workspace/org__repo__1.2"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (call(9, "browse", url="x"), "unknown tool browse"),
        (call(9, "execute_bash", command="ls", why="x"), "unknown argument bash.why"),
        (call(9, "execute_bash"), "missing argument bash.command"),
        (
            call(9, "execute_bash", command="y", is_input="true"),
            "unknown argument bash.is_input=true",
        ),
        (call(9, "execute_bash", command="ls", cmd="ls"), "malformed"),
    ],
)
def test_what_is_not_known_rejects_the_row_by_reason(
    tmp_path: Path, wrong: dict[str, Any], reason: str
) -> None:
    row = {**SWE_GYM, "messages": openhands([CALLS[0], wrong, CALLS[3]])}
    with pytest.raises(DataError, match=rf"none of 1 rows is usable \(1 {reason}\)"):
        load(tmp_path, row)


def test_a_call_that_only_waits_or_interrupts_is_counted(tmp_path: Path) -> None:
    keys = [call(9, "execute_bash", command=key, is_input="true") for key in ("", "C-c")]
    (trajectory,) = load(tmp_path, {**SWE_GYM, "messages": openhands([CALLS[0], *keys, CALLS[3]])})
    assert tools_of(trajectory) == ["bash", "submit"]
    assert trajectory.metadata["skipped_turns"] == {"wait or interrupt": 2}
    assert "skipped turns: 2 wait or interrupt" in repr(TrajectorySet([trajectory]))


def test_arguments_that_a_table_leaves_empty_were_not_given(tmp_path: Path) -> None:
    one = call(1, "str_replace_editor", command="view", path="/a", old_str=None, view_range=None)
    (trajectory,) = load(tmp_path, {**SWE_GYM, "messages": openhands([one])})
    assert GRAMMARS["tool"].parse(trajectory.steps[0].action).arguments == {
        "command": "view",
        "path": "/a",
    }


def test_calls_in_text_that_were_each_answered_are_steps_of_their_own(tmp_path: Path) -> None:
    calls = [
        f'<tool_call>\n{{"name": "bash", "arguments": {{"command": "{command}"}}}}\n</tool_call>'
        for command in ("ls", "pwd")
    ]
    answers = [f"<tool_response>\nseen {number}\n</tool_response>" for number in (1, 2)]
    messages = [
        {"role": "user", "content": "It fails."},
        {"role": "assistant", "content": "Look.\n" + "\n".join(calls)},
        {"role": "user", "content": "\n".join(answers)},
        {"role": "assistant", "content": "Again.\n" + "\n".join(calls)},
        {"role": "user", "content": "Use one tool."},
    ]
    (trajectory,) = load(tmp_path, {"messages": messages, "resolved": True})
    assert [(step.thought, step.observation) for step in trajectory.steps] == [
        ("Look.", "seen 1"),
        ("", "seen 2"),
    ]
    assert trajectory.metadata["skipped_turns"] == {"several commands": 1}


def test_a_verdict_in_the_row_counts_in_a_set_of_solutions_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 not resolved"):
        load(tmp_path, {**CODERFORGE, "reward": 0.0}, "coderforge")


def test_a_json_file_of_one_object_is_one_run(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(SWE_GYM, indent=1), encoding="utf-8")
    assert len(load_trajectories("agent", path=file)) == 1
    file.write_text(json.dumps([SWE_GYM, SWE_GYM]), encoding="utf-8")
    assert len(load_trajectories("agent", path=file)) == 2


@pytest.mark.parametrize("row", [NEMOTRON, SWE_ZERO, SWE_GYM_SFT])
def test_a_row_without_a_verdict_says_what_is_missing(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"1 no verdict in the row \(resolved_only=False"):
        load(tmp_path, row)
    assert len(load(tmp_path, row, resolved_only=False)) == 1


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (True, ""),
        (1, ""),
        (1.0, ""),
        ("True", ""),
        ("resolved", ""),
        (False, "not resolved"),
        (0, "not resolved"),
        ("false", "not resolved"),
        ("perhaps", "unreadable 'resolved'"),
        ([1], "unreadable 'resolved'"),
    ],
)
def test_verdicts_are_read_as_people_write_them(tmp_path: Path, verdict: Any, reason: str) -> None:
    row = {**SWE_GYM, "resolved": verdict}
    if not reason:
        assert len(load(tmp_path, row)) == 1
        return
    with pytest.raises(DataError, match=rf"\(1 {reason}\)"):
        load(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "name"), [(TRAJ, "org__repo-7.traj"), (RESPONSES, "org__repo-1.traj.json")]
)
def test_saved_runs_are_read_one_by_one_and_as_a_folder(
    tmp_path: Path, row: dict[str, Any], name: str
) -> None:
    folder = tmp_path / "runs" / name.partition(".")[0]
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(row), encoding="utf-8")
    (folder / "preds.json").write_text("{}", encoding="utf-8")
    (alone,) = load_trajectories("agent", path=folder / name)
    (one_of_many,) = load_trajectories("mini_swe_agent", path=tmp_path / "runs")
    assert alone == one_of_many
    assert alone.id == name.partition(".")[0]
    assert (alone.prompt, tools_of(alone)[0]) == ("It fails.", "bash")
    (folder / name).write_text(json.dumps(RESPONSES["messages"]), encoding="utf-8")
    (bare,) = load_trajectories("agent", path=folder / name, resolved_only=False)
    assert len(bare.steps) == 3
    (folder / name).write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="must hold one JSON object, or a list of messages"):
        load_trajectories("agent", path=folder / name)


def test_a_demonstration_is_not_the_agents_work(tmp_path: Path) -> None:
    (trajectory,) = load(tmp_path, TRAJ)
    assert trajectory.prompt == "It fails."
    assert [step.observation for step in trajectory.steps] == ["seen", ""]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


@pytest.mark.parametrize("name", [*SETS, "hermes", "anthropic", "traj"])
def test_no_row_is_a_crash_whatever_is_in_one_of_its_places(name: str) -> None:
    others = {"hermes": HERMES, "anthropic": ANTHROPIC, "traj": TRAJ}
    row = others[name] if name in others else SETS[name][0]
    for path in places(row):
        for wrong in (None, 3, "[{", [None], {"a": 1}, [{"type": "tool_use"}]):
            changed = copy.deepcopy(row)
            place: Any = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            rejected: Counter[str] = Counter()
            assert len(list(read([changed], rejected, False))) + rejected.total() == 1


def test_every_set_has_a_source_and_can_be_named_as_on_the_hub(tmp_path: Path) -> None:
    for name, agent_set in AGENT_SETS.items():
        if agent_set is not None:
            with pytest.raises(DataError, match="does not exist"):
                load_trajectories(agent_set.name, path=tmp_path / "nothing")
        with pytest.raises(DataError, match="does not exist"):
            load_trajectories(name, path=tmp_path / "nothing")


TASK_TURN = {"role": "user", "content": "<pr_description>\nIt fails.\n</pr_description>"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('<invoke name="bash">\n<parameter name="command">ls</parameter>\n</invoke>', "<invoke>"),
        ("<execute_bash>\nls\n</execute_bash>", "<execute_bash>"),
        ("<execute_ipython>\nprint(1)\n</execute_ipython>", "<execute_bash>"),
        ("<|tool_call_begin|>functions.bash:0<|tool_call_end|>", "Kimi"),
        ("<tool_call>bash\n<arg_key>command</arg_key>\n</tool_call>", "GLM"),
        ('[TOOL_CALLS]bash[ARGS]{"command":"ls"}', "Mistral"),
        ('<|python_tag|>{"name":"bash","parameters":{"command":"ls"}}', "Llama"),
        ("<\uff5ctool\u2581call\u2581begin\uff5c>bash\n```json\n{}\n```", "DeepSeek"),
        ("Thought: .\nAction: bash\nAction Input: ls", "ReAct"),
    ],
)
def test_calls_in_other_spellings_are_rejected_by_name(
    tmp_path: Path, said: str, reason: str
) -> None:
    """Though some of their turns have code in fences, which would pass for commands."""
    turns = [said, f"{said}\n```\nx = 1\n```", said]
    messages = [TASK_TURN]
    for turn in turns:
        messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": "seen"}]
    with pytest.raises(DataError, match=reason):
        load(tmp_path, {"resolved": True, "messages": messages})


@pytest.mark.parametrize(
    ("turns", "seen", "reason"),
    [
        (["So:\n```python\nprint(1)\n```", "Or:\n```js\n1\n```"], "?", "code of another language"),
        (["Hm.", "```\nls\n```", "Well."], "?", "most turns hold no command"),
        (["```sh\nls\n```"], "<returncode>0</returncode>", "in another fence"),
    ],
)
def test_fences_that_are_not_commands_are_rejected(
    tmp_path: Path, turns: list[str], seen: str, reason: str
) -> None:
    messages = [TASK_TURN]
    for turn in turns:
        messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": seen}]
    with pytest.raises(DataError, match=reason):
        load(tmp_path, {"resolved": True, "messages": messages})


def test_a_command_that_is_a_list_is_not_taken_for_its_json(tmp_path: Path) -> None:
    listed = call(1, "bash", command=["ls", "-l"])
    with pytest.raises(DataError, match=r"malformed bash\.command"):
        load(tmp_path, {"resolved": True, "messages": openhands([listed, CALLS[3]])})


@pytest.mark.parametrize("role", ["model", "Assistant", "gpt"])
def test_other_names_of_the_agents_role(tmp_path: Path, role: str) -> None:
    messages = [TASK_TURN, {"role": role, "content": "```bash\nls\n```"}]
    (trajectory,) = load(tmp_path, {"resolved": True, "messages": messages})
    assert [step.action for step in trajectory.steps] == ["```\nls\n```"]

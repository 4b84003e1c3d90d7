"""Software-engineering trajectories: SWE-smith's three spellings, mini-swe-agent's two versions,
and the real files.
"""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs import ExpertStep, Trajectory, load_trajectories
from srl_envs.commands import GRAMMARS
from srl_envs.data import builtin, save_trajectories
from srl_envs.data.agent_rows import read
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import TrajectorySet

TASK = (
    "<uploaded_files>\n/testbed\n</uploaded_files>\nConsider the following PR "
    "description:\n\n<pr_description>\n# It fails\n\nAlways.\n</pr_description>\n\n"
    "Meet the requirements of the <pr_description>."
)
COMMANDS: list[tuple[str, str, dict[str, str]]] = [
    ("Let me look.", "bash", {"command": "ls -l"}),
    (
        "",
        "str_replace_editor",
        {"command": "view", "path": "/testbed/a.py", "view_range": "[1, 9]"},
    ),
    ("Done.", "submit", {}),
]


def row(grammar: str, **changes: Any) -> dict[str, Any]:
    """A row of SWE-smith's split of that name, as its documentation has it."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You use tools."},
        {"role": "user", "content": TASK},
    ]
    for number, (thought, tool, arguments) in enumerate(COMMANDS):
        command = GRAMMARS[grammar].command(tool, **arguments)
        if grammar == "tool":
            function = {
                "name": tool,
                "arguments": json.dumps(json.loads(command.text)["arguments"]),
            }
            messages.append(
                {
                    "role": "assistant",
                    "content": thought,
                    "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}],
                }
            )
            answer = {
                "role": "tool",
                "content": [{"type": "text", "text": f"OBSERVATION:\nseen {number}"}],
                "tool_call_ids": [f"c{number}"],
            }
        else:
            messages.append({"role": "assistant", "content": f"{thought}\n\n{command.text}"})
            answer = {"role": "user", "content": f"OBSERVATION:\nseen {number}"}
        messages += [answer] if tool != "submit" else []
    plain = {
        "instance_id": "pudo__dataset.5c2dc8d3.func_1",
        "resolved": True,
        "model": "m",
        "traj_id": "t1",
        "patch": "not trusted",
    }
    return {**plain, "messages": messages, **changes}


def load(
    path: Path, rows: list[dict[str, Any]], source: str = "swe_smith", **options: Any
) -> TrajectorySet:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_trajectories(source, path=file, **options)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("grammar", ["xml", "tool", "ticks"])
def test_the_three_splits_of_swe_smith_give_the_same_trajectory(
    tmp_path: Path, grammar: str, as_json: bool
) -> None:
    given = row(grammar)
    if as_json:
        given["messages"] = json.dumps(given["messages"])
    (trajectory,) = load(tmp_path, [given], hub_split=grammar)
    assert (trajectory.id, trajectory.prompt, trajectory.domain) == (
        "t1",
        "# It fails\n\nAlways.",
        "swe",
    )
    assert trajectory.metadata == {
        "instance_id": "pudo__dataset.5c2dc8d3.func_1",
        "repo": "pudo/dataset",
        "model": "m",
        "grammar": grammar,
        "workdir": "/testbed",
        "skipped_turns": {},
    }
    assert [(step.thought, step.observation) for step in trajectory.steps] == [
        ("Let me look.", "seen 0"),
        ("", "seen 1"),
        ("Done.", ""),
    ]
    assert [step.action for step in trajectory.steps] == [
        GRAMMARS[grammar].command(tool, **arguments).text for _, tool, arguments in COMMANDS
    ]


def test_only_resolved_rows_count_unless_asked_for_and_rejects_are_counted(tmp_path: Path) -> None:
    rows = [
        row("xml"),
        row("xml", resolved=False),
        row("xml", resolved=None),
        row("xml", messages="[{"),
        row("xml", messages=[]),
        row("xml", messages=[{"role": "assistant", "content": "Hm."}]),
        row(
            "xml",
            messages=[
                {"role": "user", "content": TASK},
                {"role": "assistant", "content": "I give up."},
            ],
        ),
    ]
    loaded = load(tmp_path, rows)
    assert len(loaded) == 1
    nothing = "no messages in a column messages, history, trajectory or conversations"
    assert loaded.rejected == {"not resolved": 2, nothing: 2, "no issue": 1, "no command": 1}
    everything = load(tmp_path, rows, resolved_only=False)
    assert [trajectory.id for trajectory in everything] == ["t1", "t1-2", "t1-3"]
    with pytest.raises(DataError, match=r"none of 1 rows is usable \(1 not resolved\)"):
        load(tmp_path, [row("xml", resolved=False)])


def test_a_row_in_which_no_agent_speaks_is_counted(tmp_path: Path) -> None:
    silent = [{"role": "user", "content": TASK}]
    loaded = load(
        tmp_path,
        [
            row("xml"),
            row("xml", messages=silent),
            row("tool", messages=[*silent, {"role": "tool", "content": "x"}]),
        ],
    )
    assert (len(loaded), loaded.rejected) == (1, {"no command": 2})


def test_a_turn_without_command_is_left_out_with_the_complaint_about_it(tmp_path: Path) -> None:
    given = row("xml")
    given["messages"][4:4] = [
        {"role": "assistant", "content": "Hm, what now?"},
        {"role": "user", "content": "Your last output did not use any tool calls!"},
    ]
    (trajectory,) = load(tmp_path, [given])
    assert [step.observation for step in trajectory.steps] == ["seen 0", "seen 1", ""]
    assert trajectory.metadata["skipped_turns"] == {"no command": 1}


def test_a_message_without_tags_is_the_issue_itself(tmp_path: Path) -> None:
    given = row("xml")
    given["messages"][1]["content"] = " Mend it. \n"
    assert load(tmp_path, [given])[0].prompt == "Mend it."


def mini(version: int, **changes: Any) -> dict[str, Any]:
    task = (
        "<pr_description>\nConsider the following PR description:\nIt "
        "fails.\n</pr_description>\n\n<instructions>\n...\n</instructions>"
    )
    end = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You use a shell."},
        {"role": "user", "content": task},
    ]
    if version == 1:
        messages += [
            {"role": "assistant", "content": "THOUGHT: Look.\n\n```bash\nls\n```"},
            {"role": "user", "content": "<returncode>0</returncode>\n<output>\na.py\n</output>"},
            {"role": "assistant", "content": f"THOUGHT: Done.\n\n```bash\n{end}\n```"},
            {"role": "user", "content": "diff --git"},
        ]
    else:
        calls = [
            {
                "id": i,
                "type": "function",
                "function": {"name": "bash", "arguments": json.dumps({"command": c})},
            }
            for i, c in (("a", "ls"), ("b", "pwd"))
        ]
        last = {
            "id": "c",
            "type": "function",
            "function": {"name": "bash", "arguments": json.dumps({"command": end})},
        }
        messages += [
            {
                "role": "assistant",
                "content": "Look.",
                "tool_calls": calls,
                "extra": {"actions": [{"command": "ls"}, {"command": "pwd"}]},
            },
            {
                "role": "tool",
                "content": "<output>/testbed</output>",
                "tool_call_id": "b",
                "extra": {"returncode": 0},
            },
            {
                "role": "tool",
                "content": "<output>a.py</output>",
                "tool_call_id": "a",
                "extra": {"returncode": 0},
            },
            {"role": "assistant", "content": None, "tool_calls": [last], "extra": {}},
            {"role": "exit", "content": "diff --git", "extra": {"exit_status": "Submitted"}},
        ]
    info = {"exit_status": "Submitted", "submission": "diff --git"}
    return {
        "instance_id": "django__django-11039",
        "info": info,
        "messages": messages,
        "trajectory_format": "mini-swe-agent-1",
        **changes,
    }


def test_version_1_of_mini_swe_agent(tmp_path: Path) -> None:
    (trajectory,) = load(tmp_path, [mini(1)], "mini_swe_agent")
    assert (trajectory.id, trajectory.prompt) == ("django__django-11039", "It fails.")
    assert trajectory.metadata["grammar"] == "bash"
    assert trajectory.metadata["repo"] == "django/django"
    first, last = trajectory.steps
    assert first == ExpertStep(
        "```bash\nls\n```",
        thought="THOUGHT: Look.",
        observation="<returncode>0</returncode>\n<output>\na.py\n</output>",
    )
    assert GRAMMARS["bash"].parse(last.action).submits


def test_each_of_several_tool_calls_of_version_2_is_a_step_with_its_own_answer(
    tmp_path: Path,
) -> None:
    (trajectory,) = load(tmp_path, [mini(2)], "mini_swe_agent")
    assert trajectory.metadata["grammar"] == "bash_tool"
    assert [(step.thought, step.observation) for step in trajectory.steps] == [
        ("Look.", "<output>a.py</output>"),
        ("", "<output>/testbed</output>"),
        ("", "diff --git"),
    ]
    assert GRAMMARS["bash_tool"].parse(trajectory.steps[1].action).arguments == {"command": "pwd"}


@pytest.mark.parametrize("wrong", [["a"], {"a": 1}, 3, None, True])
def test_ids_that_are_no_text_are_none(tmp_path: Path, wrong: Any) -> None:
    given = mini(2)
    for reply in given["messages"][3:5]:
        reply["tool_call_id"] = wrong
    (trajectory,) = load(tmp_path, [given], "mini_swe_agent")
    assert [step.observation for step in trajectory.steps] == [
        "<output>/testbed</output>",
        "<output>a.py</output>",
        "diff --git",
    ]  # in their order
    given = mini(2)
    given["messages"][2]["tool_calls"][0]["id"] = wrong
    (trajectory,) = load(tmp_path, [given], "mini_swe_agent")
    assert [step.observation for step in trajectory.steps] == [
        "",
        "<output>/testbed</output>",
        "diff --git",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "id", "name", "function", "arguments", "text", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)


@given(data=st.data())
def test_no_row_is_a_crash_whatever_stands_in_one_of_its_places(data: st.DataObject) -> None:
    given_row = data.draw(st.sampled_from([row("xml"), row("tool"), mini(1), mini(2)]))
    place: Any = given_row
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    rejected: Counter[str] = Counter()
    assert len(list(read([given_row], rejected))) + rejected.total() == 1


def test_several_tool_calls_that_were_not_each_answered_were_not_run(tmp_path: Path) -> None:
    given = mini(2, resolved=True)
    calls = given["messages"][2]["tool_calls"]
    given["messages"][3:5] = [
        {"role": "user", "content": "Use exactly one tool."},
        {"role": "assistant", "content": "Look.", "tool_calls": calls[:1]},
        {"role": "tool", "tool_call_id": "a", "content": "<output>a.py</output>"},
    ]
    (trajectory,) = load(tmp_path, [given])
    assert (len(trajectory.steps), trajectory.metadata["skipped_turns"]) == (
        2,
        {"several commands": 1},
    )


def test_mini_swe_agent_counts_what_was_submitted_where_nobody_says_resolved(
    tmp_path: Path,
) -> None:
    rows = [
        mini(1),
        mini(1, resolved=False),
        mini(1, info={"exit_status": "LimitsExceeded"}),
        mini(1, info=None, exit_status="Submitted"),
    ]
    loaded = load(tmp_path, rows, "mini_swe_agent")
    assert (len(loaded), loaded.rejected) == (2, {"not resolved": 1, "not submitted": 1})


def test_the_split_of_a_folder_can_be_chosen(tmp_path: Path) -> None:
    for grammar in ("xml", "tool"):
        (tmp_path / f"{grammar}.jsonl").write_text(
            json.dumps(row(grammar)) + "\n", encoding="utf-8"
        )
    assert load_trajectories("swe_smith", path=tmp_path)[0].metadata["grammar"] == "xml"
    assert (
        load_trajectories("SWE-bench/SWE-smith-trajectories", path=tmp_path, hub_split="tool")[
            0
        ].metadata["grammar"]
        == "tool"
    )
    with pytest.raises(ConfigError, match="hub_split is 'yaml': use one of 'xml', 'tool', 'ticks'"):
        load_trajectories("swe_smith", path=tmp_path, hub_split="yaml")
    with pytest.raises(DataError, match="'mini_swe_agent' has no data set on the hub"):
        load_trajectories("mini_swe_agent")


def test_validation_is_held_out_by_issue(tmp_path: Path) -> None:
    rows = [
        row(
            "xml",
            traj_id=f"t{i}",
            messages=[{"role": "user", "content": f"Issue {i % 4}"}, *row("xml")["messages"][2:]],
        )
        for i in range(12)
    ]
    parts = {
        split: {t.prompt for t in load(tmp_path, rows, split=split, held_out=1)}
        for split in ("train", "validation")
    }
    assert {name: len(issues) for name, issues in parts.items()} == {"train": 3, "validation": 1}
    assert not parts["train"] & parts["validation"]


def test_trajectories_go_through_our_own_format_unchanged(tmp_path: Path) -> None:
    loaded = load(tmp_path, [row("xml"), row("ticks", traj_id="t2")])
    save_trajectories(loaded, tmp_path / "own.jsonl")
    assert list(load_trajectories("jsonl", path=tmp_path / "own.jsonl")) == list(loaded)


def test_builtin_swe_is_read_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trajectories.jsonl"
    save_trajectories([Trajectory("b", "It fails.", (ExpertStep("ls"),), domain="swe")], file)
    monkeypatch.setattr(builtin, "_SWE", file)
    assert load_trajectories("builtin_swe")[0].id == "b"


@pytest.mark.shared_data
def test_all_shared_trajectories_load(shared_data: Path) -> None:
    smith = load_trajectories(
        "swe_smith", path=shared_data / "swe_trajectories" / "swe_smith_xml_6.jsonl"
    )
    assert (len(smith), smith.rejected, sum(len(t.steps) for t in smith)) == (6, {}, 153)
    assert {t.metadata["grammar"] for t in smith} == {"xml"}
    assert not any(
        step.observation.lower().startswith("observation") for t in smith for step in t.steps
    )
    mini_rows = load_trajectories(
        "mini_swe_agent", path=shared_data / "swe_trajectories" / "mini_swe_agent_40.jsonl"
    )
    assert (len(mini_rows), mini_rows.rejected) == (40, {})
    assert (
        sum(len(t.steps) for t in mini_rows),
        sum((Counter(t.metadata["skipped_turns"]) for t in mini_rows), Counter()),
    ) == (1336, {"several commands": 31})
    for trajectory in (*smith, *mini_rows):
        grammar = GRAMMARS[trajectory.grammar]
        assert grammar.parse(trajectory.steps[-1].action).submits
        assert all(grammar.parse(step.action).text == step.action for step in trajectory.steps)


def test_instances_cost_no_memory_beyond_their_trajectories(tmp_path: Path) -> None:
    """134k instances of 5k trajectories in the paper; here a hundredth of them, made and rendered
    one after the other.
    """
    step = ExpertStep(GRAMMARS["xml"].command("bash", command="ls").text, observation="x" * 4000)
    trajectories = TrajectorySet(
        [Trajectory(f"t{i}", f"Issue {i}", (step,) * 28, domain="swe") for i in range(50)]
    )
    tracemalloc.start()
    instances = trajectories.instances()
    rendered = sum(len(instance.messages[-1]["content"]) for instance in instances)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(instances) == 50 * 27
    assert rendered > 10_000_000
    assert peak < 1_000_000

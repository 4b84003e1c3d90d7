from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from srl_envs import RewardSettings, load_trajectories, step_reward
from srl_envs.adapters.pivot import pivot_row, read_pivot_rows
from srl_envs.adapters.rows import StepRow, load_rows
from srl_envs.adapters.tables import TABLES
from srl_envs.adapters.verl import compute_score
from srl_envs.data import save_trajectories
from srl_envs.export import main


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_rows_are_the_instances_split_by_question(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["--to", "jsonl", "--count", "30", "--held_out", "5", "--autojunk", "true"]
    assert main([*asked, "builtin", str(out)]) == 0
    train, validation = (list(load_rows(out / f"{s}.jsonl")) for s in ("train", "validation"))
    expected = load_trajectories("builtin", count=30, split="train", held_out=5)
    assert [row.id for row in train] == [one.id for one in expected.instances()]
    assert [row.messages for row in train] == [one.messages for one in expected.instances()]
    assert {row.id.split("/")[0] for row in train}.isdisjoint(
        row.id.split("/")[0] for row in validation
    )
    manifest = json.loads((out / "export.json").read_text())
    assert manifest["split"] == {"held_out": 5, "split_seed": 0}
    assert manifest["counts"]["validation"] == {"trajectories": 5, "rows": len(validation)}
    assert manifest["reward"]["autojunk"] is True and train[0].reward.autojunk is True


@pytest.mark.parametrize("to", sorted(TABLES))
@pytest.mark.parametrize(
    "source, episodes",
    [
        ("builtin", "false"),
        ("builtin", "true"),
        ("builtin_swe", "false"),
        ("builtin_shell", "true"),
    ],
)
def test_every_format_holds_every_kind_of_row(
    to: str, episodes: str, source: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ["--to", to, "--held_out", "2", "--limit", "3", "--episodes", episodes]
    asked += ["--count", "8"] if source != "builtin_swe" else []
    assert main([*asked, source, str(out)]) == 0
    path = out / f"train{TABLES[to].suffix}"
    rows = parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else lines(path)
    assert len(rows) == json.loads((out / "export.json").read_text())["counts"]["train"]["rows"]
    assert all(
        file in {str(p.relative_to(out)) for p in out.rglob("*")} for file in TABLES[to].files
    )
    prompts = [
        row.get("prompt") or row.get("messages") or row["responses_create_params"]["input"]
        for row in rows
    ]
    assert all(prompt[0]["role"] == "system" and prompt[1]["content"] for prompt in prompts)


def test_verl_scores_a_row_of_its_parquet_as_we_do(tmp_path: Path) -> None:
    assert main(["--to", "verl", "--held_out", "0", "builtin_swe", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "validation.parquet").exists()
    (row, *_) = parquet.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    instance = load_trajectories("builtin_swe").instances()[0]
    answer = "<think>look</think>\n" + instance.trajectory.steps[1].action
    ours = step_reward(answer, instance.expert_action, scored=instance.scored).value
    scored = compute_score(
        row["data_source"], answer, row["reward_model"]["ground_truth"], row["extra_info"]
    )
    assert scored == {"score": ours, "thousandths": round(1000 * ours), "malformed": 0.0}
    cut = {**row["extra_info"], "truncated": True}
    assert compute_score("srl", answer, "", cut)["score"] == -1.0


def test_equal_thousandths_have_no_spread() -> None:
    """The standard deviation by which verl filters is not 0 for equal fractions."""
    import numpy as np

    assert float(np.std([0.1, 0.1, 0.1])) != 0.0
    row = StepRow("a/1", [{"role": "user", "content": "?"}], "one two three")
    answers = ["<think></think>one"] * 3
    info = {"row": json.dumps(row.as_dict())}
    given = [compute_score("", answer, "", info)["thousandths"] for answer in answers]
    assert float(np.std(given)) == 0.0


@pytest.mark.parametrize("source", ["builtin", "builtin_swe", "builtin_shell"])
def test_pivot_rows_come_back_as_they_were(source: str, tmp_path: Path) -> None:
    trajectories = load_trajectories(source, limit=4)
    rows = [StepRow.of(one, RewardSettings(autojunk=True)) for one in trajectories.instances()]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(pivot_row(row, pass_rate=0.25)) + "\n" for row in rows))
    read = list(read_pivot_rows(file))
    assert [row for row, _ in read] == rows
    assert {raw["pass_rate"] for _, raw in read} == {0.25}
    kinds = {raw["expected_action"]["type"] for _, raw in read}
    assert kinds == ({"message"} if source == "builtin" else {"function_call"})


def test_pivot_rows_of_others_are_read(tmp_path: Path) -> None:
    arguments = json.dumps({"command": "ls /testbed"})
    call = {"type": "function_call", "name": "bash", "arguments": arguments, "call_id": "1"}
    row = {
        "uuid": "x",
        "agent_ref": {"type": "responses_api_agents", "name": "swe_pivot_tool_simulation_agent"},
        "responses_create_params": {
            "input": [
                {"role": "system", "content": "You fix issues."},
                {"role": "user", "content": [{"type": "input_text", "text": "It fails."}]},
                call,
                {"type": "function_call_output", "call_id": "1", "output": "setup.py"},
            ]
        },
        "expected_action": {**call, "arguments": json.dumps({"command": "cat setup.py"})},
    }
    file = tmp_path / "pivot.jsonl"
    file.write_text(json.dumps(row) + "\n")
    ((step, _),) = read_pivot_rows(file)
    assert [m["role"] for m in step.messages] == ["system", "user", "assistant", "user"]
    answer = '<think>read</think>{"name": "bash", "arguments": {"command": "cat setup.py"}}'
    assert step.grammar == "tool" and step.score(answer).value == 1.0


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--to", "verl", "nothing", "OUT"], "Unknown source 'nothing'"),
        (["--to", "verl", "builtin", "."], "is not empty"),
        (["--to", "verl", "--held_out", "-1", "builtin", "OUT"], "--held_out is -1"),
        (["--to", "verl", "--limit", "0", "builtin", "OUT"], "--limit is 0"),
        (["--to", "verl", "--limit", "-1", "builtin", "OUT"], "--limit is -1"),
        (["--to", "verl", "--sandbox", "bubblewrap", "builtin", "OUT"], "no effect without"),
        (["--to", "verl", "--reward", "none", "builtin", "OUT"], "reward is 'none'"),
        (["--to", "verl", "--count", "3", "--held_out", "9", "builtin", "OUT"], "distinct"),
        (["--to", "verl", "--episodes", "true", "--max_steps", "0", "builtin", "OUT"], "is 0"),
        (["--to", "verl", "--reward", "execution", "builtin_swe", "OUT"], "sandbox"),
        (
            ["--to", "verl", "--episodes", "true", "--autojunk", "true", "builtin", "OUT"],
            "autojunk",
        ),
        (["--to", "verl", "--episodes", "true", "--targets", "all", "builtin", "OUT"], "targets"),
        (["--to", "verl", "--history_turns", "3", "builtin", "OUT"], "has no commands"),
        (["--to", "verl", "--title_hint", "false", "builtin_swe", "OUT"], "has no titles"),
    ],
)
def test_what_cannot_work_is_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(out) if one == "OUT" else one for one in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error
    assert not out.exists()


def test_a_file_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "out"
    taken.write_text("")
    assert main(["--to", "verl", "builtin", str(taken)]) == 2
    assert "is a file" in capsys.readouterr().err and taken.read_text() == ""


def test_episodes_without_a_verdict_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    one, two, *_ = load_trajectories("builtin", count=5)
    mine = tmp_path / "mine.jsonl"
    save_trajectories([replace(one, answer=""), two], mine)
    asked = ["--to", "trl", "--episodes", "true", "--held_out", "0", str(mine)]
    assert main([*asked, str(tmp_path / "out")]) == 0
    (row,) = lines(tmp_path / "out" / "train.jsonl")
    assert row["id"] == two.id
    manifest = json.loads((tmp_path / "out" / "export.json").read_text())
    assert manifest["left_out"] == {"no tests and no answer, so no verdict": 1}
    save_trajectories([replace(one, answer="")], mine)
    assert main([*asked, str(tmp_path / "other")]) == 2
    assert "no episode has a verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, says",
    [
        ({"messages": []}, "a text is missing"),
        ({"expert_action": None}, "a text is missing"),
        ({"grammar": "klingon"}, "klingon"),
        ({"compared": "all"}, "compared is 'all'"),
        ({"reward": {"max_characters": 0}}, "max_characters is 0"),
        ({"color": "red"}, "color"),
    ],
)
def test_a_damaged_row_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    row = StepRow("a/1", [{"role": "user", "content": "?"}], "one").as_dict()
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({**row, **change}))
    with pytest.raises(ValueError, match="line 1") as refused:
        list(load_rows(file))
    assert says in str(refused.value)


RECIPES = (Path(__file__).parents[3] / "docs" / "trainers.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(command.replace("\\\n", " "))
    for command in re.findall(r"srl_envs\.export (--to(?:.*\\\n)*.*)", RECIPES)
]


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if any(word.startswith("builtin") for word in one)], ids=str
)
def test_recipes_of_built_in_sources_run(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0

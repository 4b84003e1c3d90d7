"""Rows of SWE-bench's schema, old and new, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from srl_agent.evaluation.swebench.instances import load_instances, select_instances
from srl_agent.evaluation.swebench.legacy_rows import COLUMNS, with_current_columns
from srl_envs.errors import ConfigError, DataError

ROW: dict[str, Any] = {
    "instance_id": "acme__tool-1",
    "repo": "acme/tool",
    "base_commit": "0123456789abcdef0123456789abcdef01234567",
    "problem_statement": "It breaks.",
    "patch": "diff --git a/tool.py b/tool.py\n",
    "test_patch": "",
    "FAIL_TO_PASS": '["test_tool.py::test_a[1, \\"x\\"]"]',
    "PASS_TO_PASS": "[]",
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.shared_data
def test_the_real_rows_of_both_schemas(shared_data: Path) -> None:
    folder = shared_data / "swe_bench_verified"
    old = load_instances(folder / "verified_full_columns_100.jsonl")
    assert (len(old.instances), old.rejected) == (100, ())
    assert {one.difficulty for one in old.instances} == {
        "<15 min fix",
        "15 min - 1 hour",
        "1-4 hours",
        ">4 hours",
    }
    assert all(
        one.fail_to_pass and one.image == "" and set(one.row) >= {"created_at", "FAIL_TO_PASS"}
        for one in old.instances
    )

    [new] = load_instances(folder / "flask-5014.harness5.jsonl").instances
    [same] = select_instances(old.instances, ids=["pallets__flask-5014"])
    assert (
        new.fail_to_pass
        == same.fail_to_pass
        == ("tests/test_blueprints.py::test_empty_name_not_allowed",)
    )
    assert (new.patch, new.pass_to_pass) == (same.patch, same.pass_to_pass)
    assert new.image == "swebench/sweb.eval.x86_64.pallets_1776_flask-5014:latest"
    assert new.row == json.loads((folder / "flask-5014.harness5.jsonl").read_text())


def test_every_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    listed = {**ROW, "FAIL_TO_PASS": ['test_tool.py::test_a[1, "x"]'], "PASS_TO_PASS": []}
    jsonl = load_instances(write(tmp_path / "set.jsonl", ROW)).instances
    (tmp_path / "set.json").write_text(json.dumps([listed]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([listed]), tmp_path / "set.parquet")
    assert jsonl[0].fail_to_pass == ('test_tool.py::test_a[1, "x"]',)
    assert (
        jsonl
        == load_instances(tmp_path / "set.json").instances
        == load_instances(str(tmp_path / "set.parquet")).instances
    )
    assert len({*jsonl, *load_instances(tmp_path / "set.json").instances}) == 1, (
        "instances can be put into sets"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": None}, r"line 2: 'patch' must be text, not NoneType"),
        (
            {"base_commit": "main"},
            r"line 2: 'base_commit' is 'main': it must be a commit's full hash",
        ),
        ({"instance_id": "../escape"}, r"line 2: 'instance_id' is '../escape'"),
        ({"repo": "tool"}, r"line 2: 'repo' is 'tool': it must be owner/name"),
        ({"repo": "../.."}, r"line 2: 'repo' is"),
        ({"problem_statement": " \n"}, r"line 2: 'problem_statement' is empty"),
        ({"FAIL_TO_PASS": "test_a"}, r"line 2: 'FAIL_TO_PASS' is text, but no JSON list"),
        ({"FAIL_TO_PASS": '{"a": 1}'}, r"line 2: 'FAIL_TO_PASS' must be a list"),
        ({"FAIL_TO_PASS": "[]"}, r"line 2: 'FAIL_TO_PASS' names no test"),
        ({"PASS_TO_PASS": [1]}, r"line 2: 'PASS_TO_PASS' must be a list"),
        ({"difficulty": 3}, r"line 2: 'difficulty' must be text"),
        ({"instance_id": "acme__tool-1"}, r"line 2: 'instance_id' 'acme__tool-1' was used before"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "set.jsonl", ROW, {**ROW, "instance_id": "acme__tool-2", **change})
    with pytest.raises(DataError, match=rf"set\.jsonl, {message}"):
        load_instances(file)
    kept = load_instances(file, skip_malformed=True)
    assert [one.instance_id for one in kept.instances] == ["acme__tool-1"]
    assert len(kept.rejected) == 1 and "set.jsonl, line 2" in kept.rejected[0]


@pytest.mark.parametrize(
    "key",
    [
        "instance_id",
        "repo",
        "base_commit",
        "problem_statement",
        "patch",
        "test_patch",
        "FAIL_TO_PASS",
        "PASS_TO_PASS",
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, key: str) -> None:
    row = {name: value for name, value in ROW.items() if name != key}
    with pytest.raises(DataError, match=rf"line 1: '{key}'"):
        load_instances(write(tmp_path / "set.jsonl", row))
    with pytest.raises(
        DataError, match=r"holds no usable instance\. The first of 1 malformed rows"
    ):
        load_instances(write(tmp_path / "set.jsonl", row), skip_malformed=True)


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.json", "absent.parquet", "absent folder"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_instances(str(tmp_path / name))


def test_selection(tmp_path: Path) -> None:
    rows = [{**ROW, "instance_id": f"acme__tool-{number}"} for number in range(12)]
    instances = load_instances(write(tmp_path / "set.jsonl", *rows)).instances

    def chosen(**selection: Any) -> list[str]:
        return [
            one.instance_id.removeprefix("acme__tool-")
            for one in select_instances(instances, **selection)
        ]

    assert chosen() == [str(number) for number in range(12)]
    assert chosen(ids=["acme__tool-7", "acme__tool-2"]) == ["2", "7"]
    assert chosen(pattern=r".*-1\d?", limit=2) == ["1", "10"]
    assert chosen(pattern=r".*-1") == ["1"], "the whole id must match"
    with pytest.raises(
        ConfigError, match=r"no instance 'acme__tool_7' among 12: did you mean acme__tool-7"
    ):
        chosen(ids=["acme__tool_7"])
    with pytest.raises(ConfigError, match="No instance is left"):
        chosen(ids=["acme__tool-7"], pattern=".*-2")
    with pytest.raises(ConfigError, match="is not a regular expression"):
        chosen(pattern="(")
    with pytest.raises(ConfigError, match="limit is 0"):
        chosen(limit=0)


# ---------------------------------------------------------------- the schema of 13 columns


def test_rows_of_13_columns_get_the_columns_of_the_harness(
    shared_data: Path, tmp_path: Path
) -> None:
    """The scripts are those that swebench 4.1.0 made, to the byte."""
    folder = shared_data / "swe_bench_verified"
    rows = [
        instance.row
        for instance in load_instances(folder / "verified_full_columns_100.jsonl").instances
    ]
    assert not set(COLUMNS) & rows[0].keys()
    made = {str(row["instance_id"]): row for row in with_current_columns(rows, tmp_path)}
    assert len(made) == 100 and all(row[column] for row in made.values() for column in COLUMNS)
    (known,) = load_instances(folder / "flask-5014.harness5.jsonl").instances
    for column in ("image", "eval_script", "eval_type"):
        assert made[known.instance_id][column] == known.row[column]
    parsers = pytest.importorskip("swebench.harness.log_parsers").PARSER_REGISTRY
    assert {str(row["log_parser"]) for row in made.values()} <= set(parsers)
    assert with_current_columns([known.row], tmp_path / "unused") == [known.row]
    assert not (tmp_path / "unused").exists()
    with pytest.raises(DataError, match=r"does not know version '99' of pallets/flask"):
        with_current_columns([rows[0] | {"repo": "pallets/flask", "version": "99"}], tmp_path)
    (tmp_path / "swebench-4.1.0-py3-none-any.whl").write_bytes(b"other")
    with pytest.raises(DataError, match="is not the expected file"):
        with_current_columns(rows, tmp_path)

"""Files of a data set: which are read for a split, and what is said of unreadable ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from srl_envs.data import load_trajectories, save_trajectories
from srl_envs.errors import DataError
from srl_envs.trajectory import ExpertStep, Trajectory

GOOD = '{"question": "Q%d?", "answer": "1 + 1 = 2\\n#### 2"}'
HUGE, DEEP = "9" * 5000, "[" * 100_000


def shard(path: Path, *numbers: int) -> None:
    from pyarrow import Table, parquet

    path.parent.mkdir(exist_ok=True)
    parquet.write_table(Table.from_pylist([json.loads(GOOD % number) for number in numbers]), path)


def questions(path: Path, split: str | None = None) -> list[str]:
    return [one.prompt for one in load_trajectories("gsm8k", path=path, split=split)]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [HUGE, DEEP])
def test_json_that_python_cannot_hold_is_one_error_with_its_line(
    tmp_path: Path, value: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{GOOD % 1}\n{{"question": {value}\n', encoding="utf-8")
    for source in ("gsm8k", "jsonl"):
        with pytest.raises(DataError, match=re.escape(f"{path}, line ")) as caught:
            load_trajectories(source, path=path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    whole = tmp_path / "bad.json"
    whole.write_text(f'[{GOOD % 1},\n{{"question": {value}}}]', encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(whole))):
        load_trajectories("gsm8k", path=whole)


def test_broken_json_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('[{"question": "Q"},\n{"question" 3}]', encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"{path}, line 2: not valid JSON")):
        load_trajectories("gsm8k", path=path)


def test_a_lone_surrogate_is_counted_in_rows_and_an_error_in_our_schema(tmp_path: Path) -> None:
    rows, own = tmp_path / "rows.jsonl", tmp_path / "own.jsonl"
    rows.write_text(
        f'{GOOD % 1}\n{{"question": "Q \\ud800", "answer": '
        f'"1 + 1 = 2\\n#### 2"}}\n{{"question": "Q \\ud83d\\ude00", "answer": '
        f'"a\\n#### 2"}}\n'
    )
    loaded = load_trajectories("gsm8k", path=rows)
    assert [one.prompt for one in loaded] == ["Q1?", "Q \U0001f600"]
    assert loaded.rejected == {"a lone surrogate": 1}
    for step in ('"\\ud800"', '{"action": "a", "observation": "\\udfff"}'):
        own.write_text(
            f'{{"prompt": "p", "steps": ["a"]}}\n{{"prompt": "p", "steps": ["a", {step}]}}\n'
        )
        with pytest.raises(
            DataError,
            match=re.escape(f"{own}, line 2, step 2, '") + "(action|observation)': .*surrogate",
        ):
            load_trajectories(str(own))
    for key in ("prompt", "id", "answer", "tail"):
        own.write_text(json.dumps({"prompt": "p", "steps": ["a"], key: "p \ud800"}))
        with pytest.raises(DataError, match=re.escape(f"{own}, line 1, '{key}': ")):
            load_trajectories(str(own))
    own.write_text('{"prompt": "p", "steps": ["a"], "metadata": {"k": [{"\\ud800": 1}]}}')
    with pytest.raises(DataError, match="line 1, 'metadata': "):
        load_trajectories(str(own))


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Trajectory 't', 'prompt': .*surrogate"):
        save_trajectories([Trajectory("t", "p \ud800", (ExpertStep("a"),))], tmp_path / "t.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_shards_of_a_split_are_joined_in_order(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "train-00001-of-00002.parquet", 3, 4)
    shard(tmp_path / "data" / "train-00000-of-00002.parquet", 1, 2)
    shard(tmp_path / "data" / "test-00000-of-00001.parquet", 5)
    assert questions(tmp_path) == ["Q1?", "Q2?", "Q3?", "Q4?"]
    assert questions(tmp_path, "test") == ["Q5?"]
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"holds 1 of 2 files of the split .train."):
        questions(tmp_path)


def test_what_are_no_shards_of_one_split_is_not_guessed(tmp_path: Path) -> None:
    for folder in ("main", "socratic"):
        shard(tmp_path / folder / "train-00000-of-00001.parquet", 1)
    with pytest.raises(DataError, match=r"main/train-00000-of-00001.parquet.*socratic/train"):
        questions(tmp_path)
    assert questions(tmp_path / "main") == ["Q1?"]
    (tmp_path / "main" / "train.jsonl").write_text(GOOD % 2)
    with pytest.raises(DataError, match="Or give the path of the file itself"):
        questions(tmp_path / "main")


def test_hidden_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(GOOD % 1)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.json").write_text("{}")
    assert questions(tmp_path) == ["Q1?"]


def test_a_file_without_rows_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=re.escape(f"{path} holds no rows")):
        load_trajectories("gsm8k", path=path)

"""Files of a data set: which are read for a split, and what is said of unreadable ones."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from pathlib import Path

import datasets
import pyarrow
import pytest

from srl_envs.data import load_trajectories, save_trajectories
from srl_envs.data.rows import read_rows
from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.trajectory import ExpertStep, Trajectory

GOOD = '{"question": "Q%d?", "answer": "1 + 1 = 2\\n#### 2"}'
HUGE, DEEP = "9" * 5000, "[" * 100_000


def shard(path: Path, *numbers: int) -> None:
    from pyarrow import Table, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
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


# ---------------------------------------------------------------- other kinds of files

ROWS = [
    {"question": f"Q{i}?", "answer": f'{i} + 1\n"two", {i + 1}\n#### {i + 1}'} for i in range(3)
]
NAMES = ["Q0?", "Q1?", "Q2?"]


def in_lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", in_lines(ROWS)),
        ("t.json", "\n\n" + in_lines(ROWS)),
        ("t.json", json.dumps(ROWS)),
        ("t.json", json.dumps(ROWS, indent=2)),
        ("t.json", json.dumps({"data": ROWS})),
        ("t.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("t.jsonl", in_lines(ROWS)),
        ("t.jsonl", "\ufeff" + in_lines(ROWS)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("in_folder", [False, True])
def test_json_in_every_shape(
    tmp_path: Path, name: str, text: str, packed: bool, in_folder: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert questions(tmp_path if in_folder else path) == NAMES


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_csv(tmp_path: Path, name: str) -> None:
    opened = gzip.open if name.endswith(".gz") else open
    long = {"question": "Long?", "answer": "x" * 300_000 + "\n#### 1"}
    with opened(tmp_path / name, "wt", newline="", encoding="utf-8") as file:  # type: ignore[operator]
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows([*ROWS, long])
    limit = csv.field_size_limit()
    assert questions(tmp_path) == [*NAMES, "Long?"]
    assert csv.field_size_limit() == limit


def test_text_in_a_csv_means_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "problem,solution,answer,correct\n"
        'p1,"1. we add.\n2. we halve.",nan,True\n'
        'p2,"1. we add.\n2. we halve.",4,False\n'
    )
    [only] = load_trajectories("numbered", path=path)
    assert (only.prompt, only.answer) == ("p1", "")


def test_a_saved_data_set(tmp_path: Path) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    full = datasets.Dataset.from_list(ROWS)
    full.save_to_disk(one, num_shards=2)
    full.select([2, 0]).save_to_disk(tmp_path / "selected")
    datasets.DatasetDict(train=full, test=full.select([1])).save_to_disk(several)
    datasets.DatasetDict(other=full).save_to_disk(tmp_path / "sole")
    assert questions(one) == NAMES
    assert questions(tmp_path / "selected") == ["Q2?", "Q0?"]
    assert questions(several) == NAMES and questions(several, "test") == ["Q1?"]
    assert questions(several / "test") == ["Q1?"]
    assert questions(tmp_path / "sole") == NAMES
    with pytest.raises(DataError, match=r"holds no split 'xml': it holds test, train"):
        list(read_rows("x", "", several, "xml"))
    with pytest.raises(DataError, match=r"holds no split 'test': it holds other"):
        questions(tmp_path / "sole", "test")
    next(one.glob("*.arrow")).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"is not a readable data set") as caught:
        questions(one)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl.gz", b"not packed", "cannot be read"),
        ("t.jsonl.gz", gzip.compress(in_lines(ROWS).encode(), mtime=0)[:-9], "cannot be read"),
        ("t.json.gz", b"not packed", "cannot be read"),
        ("t.csv.gz", b"not packed", "cannot be read"),
        ("t.csv", b"question,answer\na\n", "line 2: not as many cells"),
        ("t.csv", b"question,answer\na,b,c\n", "line 2: not as many cells"),
        ("t.csv", b'question,answer\na,"b\n', "not a readable CSV file"),
        ("t.csv", b"question\n\xe9\n", "is not UTF-8 text"),
        ("t.csv", b"", "holds no rows"),
        ("t.json", b'{"data": 3}', "must hold a list of objects"),
        ("t.json", b"[1, 2]", "must hold a list of objects"),
        ("t.json", b'{"question": "a"}\n[1]\n', "line 2: a line must be a JSON object"),
        ("t.json", b"", "not valid JSON"),
        ("t.parquet", b"broken", "not a readable parquet file"),
        ("t.xlsx", b"broken", "not a supported file type: use .jsonl, .json, .csv"),
        ("t.gz", b"broken", "not a supported file type"),
    ],
)
def test_unreadable_files_get_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_trajectories("gsm8k", path=tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_our_schema_packed(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "p", "steps": ["a", "b"]}\n'))
    assert load_trajectories(str(path))[0].prompt == "p"
    assert load_trajectories("jsonl", path=path)[0].prompt == "p"


@pytest.mark.parametrize("option", ["config", "revision"])
def test_what_only_the_hub_has_is_refused_elsewhere(tmp_path: Path, option: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(in_lines(ROWS))
    with pytest.raises(ConfigError, match=rf"{option} is 'x', but .* is a local copy"):
        load_trajectories("gsm8k", path=path, **{option: "x"})  # type: ignore[arg-type]
    for source in ("builtin", "numbered"):
        with pytest.raises(ConfigError, match=f"the source '{source}' is not on the hub"):
            load_trajectories(source, **{option: "x"})  # type: ignore[arg-type]


def test_the_hub_is_asked_for_revision_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself is not at hand: what its two libraries are asked for is recorded."""
    import huggingface_hub

    asked: list[object] = []

    def info(self: object, name: str, *, revision: str | None, timeout: float) -> None:
        asked.append((name, revision))

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> object:
        asked.append((name, config, split, revision))
        if config == "none":
            raise ValueError("BuilderConfig 'none' not found.\nAvailable: main")
        return ROWS

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(load_trajectories("gsm8k", config="socratic", revision="v2")) == 3
    assert len(load_trajectories("gsm8k")) == 3
    assert asked == [
        ("openai/gsm8k", "v2"),
        ("openai/gsm8k", "socratic", "train", "v2"),
        ("openai/gsm8k", None),
        ("openai/gsm8k", "main", "train", None),
    ]
    with pytest.raises(InfrastructureError, match=r"at revision 'v1' .*'none' not found") as caught:
        load_trajectories("gsm8k", config="none", revision="v1")
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('problem,problem,solution\nfirst,second,"1. Add it.\n2. Halve it."\n')
    with pytest.raises(DataError, match="line 1: two columns are named 'problem'"):
        load_trajectories("numbered", path=path)


def test_an_empty_path_is_not_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"problem": "How many?", "solution": "1. Add it.\n2. Halve it."}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="path is empty"):
        load_trajectories("numbered", path="")


@pytest.mark.parametrize("name", ["folder", "rows.parquet", "rows.csv"])
def test_our_schema_is_read_from_json_lines_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"PAR1\xff")
    with pytest.raises(DataError, match="reads one file with a JSON object a line"):
        load_trajectories("jsonl", path=path)


@pytest.mark.parametrize(
    "names",
    [
        ("train-0.parquet", "train-1.parquet"),
        ("train_1.parquet", "train_2.parquet"),
        ("train.00000.parquet", "train.00001.parquet"),
        ("train-00000-of-00002-3f9a.parquet", "train-00001-of-00002-b07c.parquet"),
        ("train-00000-of-00002#a.parquet", "train-00001-of-00002#b.parquet"),
        ("s1k#train-00000-of-00002.parquet", "s1k#train-00001-of-00002.parquet"),
        ("0000.parquet", "0001.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet"),
        ("default-train-0.parquet", "default-train-1.parquet"),
        ("train-9.parquet", "train-10.parquet"),
    ],
)
def test_every_name_of_a_shard(tmp_path: Path, names: tuple[str, str]) -> None:
    if "train-9" in names[0]:
        for number in range(9):
            shard(tmp_path / f"train-{number}.parquet")
    shard(tmp_path / names[0], 1)
    shard(tmp_path / names[1], 2)
    if "default" in names[0]:
        shard(tmp_path / "default" / "test" / "0000.parquet", 3)
        shard(tmp_path / "default-test-0.parquet", 3)
    assert questions(tmp_path) == ["Q1?", "Q2?"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-0.parquet", "train-2.parquet"), "numbered with a gap"),
        (("train-2023.parquet", "train-2024.parquet"), "numbered with a gap or not from 0 or 1"),
        (("train-00000-of-00002-a.parquet", "train-00000-of-00002-b.parquet"), "there twice"),
        (("train-v1.parquet", "train-v2.parquet"), "must hold one file for the split"),
        (("test.parquet",), "must hold one file for the split"),
        (("validation-0.parquet", "validation-1.parquet"), "must hold one file for the split"),
    ],
)
def test_what_are_not_the_shards_of_a_split(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for number, name in enumerate(names):
        shard(tmp_path / name, number)
    with pytest.raises(DataError, match=message):
        questions(tmp_path)


def test_a_saved_test_split_is_not_trained_on(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "tests"))
    with pytest.raises(DataError, match=r"holds no split 'train': it holds test"):
        load_trajectories("gsm8k", path=tmp_path / "tests")
    datasets.DatasetDict({"train_sft": rows}).save_to_disk(str(tmp_path / "sft"))
    assert len(load_trajectories("gsm8k", path=tmp_path / "sft")) == len(ROWS)


def test_arrow_files_without_their_state(tmp_path: Path) -> None:
    folder = tmp_path / "a#b"
    datasets.Dataset.from_list(ROWS).save_to_disk(str(folder), num_shards=2)
    (folder / "state.json").unlink()
    assert len(load_trajectories("gsm8k", path=folder)) == len(ROWS)
    assert len(load_trajectories("gsm8k", path=next(folder.glob("*.arrow")))) < len(ROWS)


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.zst"])
def test_columns_apart_by_another_mark(tmp_path: Path, name: str, mark: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mark)
    writer.writerow(["\ufeffquestion ", " answer"])
    writer.writerows([row["question"], row["answer"]] for row in ROWS)
    with pyarrow.output_stream(str(tmp_path / name), compression="detect") as file:
        file.write(text.getvalue().encode())
    assert len(load_trajectories("gsm8k", path=tmp_path / name)) == len(ROWS)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_packed_texts(tmp_path: Path, kind: str) -> None:
    text = in_lines(ROWS).encode()
    packed = tmp_path / f"train.jsonl.{kind}"
    if kind == "zst":
        with pyarrow.CompressedOutputStream(str(packed), "zstd") as file:
            file.write(text)
    else:
        packed.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[kind].compress(text))
    assert len(load_trajectories("gsm8k", path=tmp_path)) == len(ROWS)
    cut = tmp_path / f"cut.jsonl.{kind}"
    cut.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        load_trajectories("gsm8k", path=cut)
    (tmp_path / "rows.jsonl").write_bytes(packed.read_bytes())
    with pytest.raises(DataError, match=f"is packed: unpack it, or let its name end in .{kind}"):
        load_trajectories("gsm8k", path=tmp_path / "rows.jsonl")


@pytest.mark.parametrize("source", ["jsonl", "gsm8k"])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_not_json_lines(tmp_path: Path, source: str, indent: int | None) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS, indent=indent))
    with pytest.raises(DataError, match=r"holds one JSON list.* jq -c '.\[\]' rows.jsonl"):
        load_trajectories(source, path=tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0], indent=1))
    with pytest.raises(DataError, match="holds one JSON object over several lines"):
        load_trajectories(source, path=tmp_path / "rows.jsonl")


@pytest.mark.parametrize("key", ["train", "rows", "columns"])
def test_json_with_other_lists_is_refused(tmp_path: Path, key: str) -> None:
    held = {"question": {"0": "a"}, "answer": {"0": "b"}} if key == "columns" else {key: ROWS}
    (tmp_path / "rows.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match="must hold a list of objects"):
        load_trajectories("gsm8k", path=tmp_path / "rows.json")

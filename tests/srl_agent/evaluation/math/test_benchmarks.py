"""Benchmarks from local files; mistakes in them are named by file, line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, TABLE_1, load_benchmark
from srl_envs.errors import ConfigError, DataError, InfrastructureError


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name, count, answer",
    [
        ("amc23", 40, "27"),
        ("aime24", 30, "204"),
        ("aime25", 30, "70"),
        ("minerva_math", 272, "1.6"),
        ("math500", 500, None),
    ],
)
def test_real_benchmarks(shared_data: Path, name: str, count: int, answer: str | None) -> None:
    problems = load_benchmark(name, [shared_data / "math_bench"])
    assert (
        len(problems) == count == BENCHMARKS[name].problems
        and len({problem.id for problem in problems}) == count
    )
    assert answer is None or problems[0].answer == answer


@pytest.mark.shared_data
def test_gsm8k_gives_the_number_after_the_hashes(shared_data: Path) -> None:
    problems = load_benchmark("gsm8k", [shared_data])
    assert len(problems) == 1319 == BENCHMARKS["gsm8k"].problems and [
        problem.answer for problem in problems[:3]
    ] == ["18", "3", "70000"]
    assert all(
        "<<" not in problem.answer and float(problem.answer) is not None for problem in problems
    )


def test_the_papers_table_samples_three_of_four() -> None:
    assert [BENCHMARKS[name].sampled for name in TABLE_1] == [True, True, True, False]


def test_files_are_found_by_name_in_files_and_folders(tmp_path: Path) -> None:
    row = {"problem": "1 + 1?", "answer": 2}
    file = write(tmp_path / "a" / "amc23.jsonl", row)
    nested = write(
        tmp_path / "b" / "gsm8k" / "test.jsonl",
        {"question": "2?", "answer": "It is 2.\n#### 1,002"},
    )
    solved = write(
        tmp_path / "aime24.jsonl", {"problem": "3?", "solution": "so \\boxed{3}", "id": 7}
    )
    places = [tmp_path / "a", tmp_path / "b", solved]
    assert [(p.id, p.text, p.answer) for p in load_benchmark("amc23", places)] == [
        ("amc23-0", "1 + 1?", "2")
    ]
    assert (
        load_benchmark("gsm8k", [nested])[0].answer
        == load_benchmark("gsm8k", places)[0].answer
        == "1002"
    )
    assert [(p.id, p.answer) for p in load_benchmark("aime24", places)] == [("7", "3")]
    assert load_benchmark("amc23", [file])[0].benchmark == "amc23"


@pytest.mark.parametrize("place", ["test.jsonl", "."])
def test_files_are_found_from_within_their_folder(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "gsm8k" / "test.jsonl", {"question": "2?", "answer": "#### 2"})
    monkeypatch.chdir(tmp_path / "gsm8k")
    assert [problem.answer for problem in load_benchmark("gsm8k", [Path(place)])] == ["2"]


def test_limit_takes_the_first(tmp_path: Path) -> None:
    file = write(
        tmp_path / "amc23.jsonl", *({"problem": f"{i}?", "answer": str(i)} for i in range(5))
    )
    assert [p.answer for p in load_benchmark("amc23", [file], limit=2)] == ["0", "1"]
    with pytest.raises(ConfigError, match="limit is 0"):
        load_benchmark("amc23", [file], limit=0)


@pytest.mark.parametrize(
    "rows, message",
    [
        (
            [{"problem": "1?", "answer": "1"}, {"answer": "1"}],
            r"amc23\.jsonl, line 2: the key 'problem' .*not nothing",
        ),
        (
            [{"problem": "1?"}],
            r"amc23\.jsonl, line 1: the key 'answer' must hold the reference answer, not nothing",
        ),
        ([{"problem": "1?", "answer": ["1"]}], r"line 1: the key 'answer' .*not \['1'\]"),
        ([{"problem": "1?", "answer": True}], r"the key 'answer' .*not True"),
        (
            [
                {"problem": "1?", "answer": "1", "id": "a"},
                {"problem": "2?", "answer": "2", "id": "a"},
            ],
            r"line 2: the id 'a' is in .*line 1 already",
        ),
        ([[1]], r"holds one JSON list, but each line must be an object"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[object], message: str) -> None:
    file = write(tmp_path / "amc23.jsonl", *rows)
    with pytest.raises(DataError, match=message):
        load_benchmark("amc23", [file])


def test_missing_files_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown benchmark 'aime26': use one of amc23"):
        load_benchmark("aime26")
    with pytest.raises(DataError, match="does not exist"):
        load_benchmark("amc23", [tmp_path / "nowhere"])
    with pytest.raises(
        DataError, match=r"No file of the benchmark 'amc23': looked for .*amc23\.jsonl"
    ):
        load_benchmark("amc23", [tmp_path])
    with pytest.raises(DataError, match="no kind that can be read"):
        load_benchmark("amc23", [write(tmp_path / "amc23.txt", {})])


def test_without_the_hub_the_message_names_what_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InfrastructureError,
        match=r"math-ai/amc23 cannot be fetched from the hub .*--data FOLDER that holds "
        r"amc23\.jsonl",
    ) as caught:
        load_benchmark("amc23")
    assert "--dataset_path" not in str(caught.value) and "\n" not in str(caught.value)

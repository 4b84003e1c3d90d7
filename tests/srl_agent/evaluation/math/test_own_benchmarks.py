"""A user's own benchmarks: files of problems, and questions that a source holds out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from srl_agent.evaluate import main
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.evaluation.math.own_benchmarks import load_own
from srl_agent.evaluation.math.run import load_problems
from srl_agent.rollouts.source_settings import SourceSettings
from srl_envs.data.splits import split_by_question
from srl_envs.errors import ConfigError, DataError

ROWS = [{"problem": f"What is {n} plus one?", "answer": str(n + 1)} for n in range(3)]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "json", "jsonl.gz"])
def test_a_file_of_any_kind_is_a_benchmark_under_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"my set.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["problem", "answer"])
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == "parquet":
        pytest.importorskip("datasets", reason="writes the parquet file").Dataset.from_list(
            ROWS
        ).to_parquet(path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        lines(path, ROWS)
        if kind.endswith("gz"):
            import gzip

            path.write_bytes(gzip.compress(path.read_bytes()))
    (problems,) = load_problems(MathConfig(benchmarks=[str(path)])).values()
    assert [(one.benchmark, one.text, one.answer) for one in problems] == [
        ("my-set", row["problem"], row["answer"]) for row in ROWS
    ]
    assert len(load_own(str(path), limit=2)) == 2


def test_rows_of_our_own_schema_and_of_solutions_are_read(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "1+1?", "answer": "2"}, {"question": "3?", "solution": "#### 3"}]
    found = load_own(str(lines(tmp_path / "mine.jsonl", rows)))
    assert [(one.id, one.text, one.answer) for one in found] == [
        ("a", "1+1?", "2"),
        ("mine-1", "3?", "3"),
    ]


def test_a_folder_that_has_a_sources_name_is_not_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "builtin").mkdir()
    monkeypatch.chdir(tmp_path)
    found = load_problems(MathConfig(benchmarks=["builtin"]))
    assert len(found["builtin-held-out"]) == 60


def test_what_a_source_or_a_run_holds_out_is_a_benchmark(tmp_path: Path) -> None:
    run = tmp_path / "srl"
    run.mkdir()
    settings = {"method": "srl", "source": "builtin", "count": 200, "held_out": 7, "split_seed": 3}
    (run / "config.yaml").write_text("".join(f"{key}: {one}\n" for key, one in settings.items()))
    source = SourceSettings(count=200, held_out=7, split_seed=3)
    _, held_out = split_by_question(source.trajectories(), 7, 3)
    found = load_problems(MathConfig(benchmarks=[str(run), "builtin"]))
    assert list(found) == ["srl-held-out", "builtin-held-out"]
    assert {one.text for one in found["srl-held-out"]} == {one.prompt for one in held_out}
    assert len(found["builtin-held-out"]) == 60 and all(one.answer for one in found["srl-held-out"])


@pytest.mark.parametrize(
    "name, rows, message",
    [
        ("mine.jsonl", [], "mine.jsonl has no problems"),
        ("mine.txt", ROWS, "not a supported file type"),
        ("mine.jsonl", [*ROWS, {"problem": "x"}], "row 4: the key 'answer' must hold"),
        ("mine.jsonl", [{"text": "x"}], "row 1: the key 'problem' .* the keys text"),
        ("mine.jsonl", [*ROWS, ROWS[0]], "'mine-3' has the question of 'mine-0' again"),
        ("mine.jsonl", [{**row, "id": 1} for row in ROWS], "has the id '1' again"),
    ],
)
def test_a_file_that_would_score_wrongly_is_refused(
    name: str, rows: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_own(str(lines(tmp_path / name, rows)))


def test_names_that_mislead_are_refused(tmp_path: Path) -> None:
    one, other = lines(tmp_path / "set.jsonl", ROWS), lines(tmp_path / "set.json", ROWS)
    for entries, message in (
        ([str(lines(tmp_path / "gsm8k.jsonl", ROWS))], "give --benchmarks gsm8k --data"),
        ([str(one), str(other)], "names a benchmark twice: set, set"),
        ([str(tmp_path)], "unknown benchmark .* the folder of a training run"),
        (["builtin_swe"], "holds 'swe' tasks, which have no final answer"),
        (["jsonl"], "The source jsonl is a file of your own"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_problems(MathConfig(benchmarks=entries))


def test_an_own_benchmark_is_scored_as_the_known_ones(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "mine.jsonl", ROWS)
    flags = ["math", "--model", str(tiny_model_dir), "--benchmarks", str(path), "--device", "cpu"]
    flags += ["--num_samples", "2", "--max_new_tokens", "8", "--grading_processes", "1"]
    whole = [*flags, "--output_dir", str(tmp_path / "whole"), "--sampled", "mine"]
    assert main(whole) == 0
    assert "mine, greedy " in capsys.readouterr().out
    (result,) = json.loads((tmp_path / "whole" / "results.json").read_text())["benchmarks"].values()
    assert (result["problems"], set(result["sampled"]["pass_at"])) == (3, {"1", "2"})
    assert "mine" in (tmp_path / "whole" / "report.html").read_text()
    step = [*flags, "--output_dir", str(tmp_path / "step"), "--stepwise", "true"]
    assert main([*step, "--max_steps", "2"]) == 0
    assert "mine, greedy, step by step " in capsys.readouterr().out
    assert main(["math", "--compare", str(tmp_path / "whole"), str(tmp_path / "step")]) == 0
    assert "mine, greedy, accuracy" in capsys.readouterr().out

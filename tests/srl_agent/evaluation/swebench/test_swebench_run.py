"""``python -m srl_agent.evaluate swebench`` without Docker: patches of a real tiny model on a local git repository, kills, resumes, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from swebench_clones import instance_at

from srl_agent.evaluate import main
from srl_agent.evaluation.swebench.harness import Judgement
from srl_agent.evaluation.swebench.records import Records

ROW_KEYS = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")


@pytest.fixture
def dataset(clones: Path, tmp_path: Path) -> Path:
    clone = clones / "acme" / "tool"
    rows = []
    for number, revision in enumerate(["HEAD~1", "HEAD", "HEAD"], 1):
        instance = instance_at(clone, revision, instance_id=f"acme__tool-{number}")
        rows.append({key: getattr(instance, key) for key in ROW_KEYS} | {"FAIL_TO_PASS": ["t.py::t"], "PASS_TO_PASS": [], "difficulty": "easy"})
    rows[2]["base_commit"] = "0" * 40  # no such commit
    path = tmp_path / "instances.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(dataset: Path, clones: Path, model: Path, folder: Path, *more: str) -> list[str]:
    return [
        *("swebench", "--dataset", str(dataset), "--repositories", str(clones), "--repository_cache", str(dataset.parent / "cache")),
        *("--model", str(model), "--device", "cpu", "--backend", "transformers", "--max_new_tokens", "8", "--max_prompt_tokens", "2000"),
        *("--output_dir", str(folder), "--judge", "false", *more),
    ]


@pytest.mark.parametrize("mode", ["oracle", "end-to-end"])
def test_patches_are_written_and_a_missing_commit_is_told(mode, dataset, clones, tiny_model_dir, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    asked = command(dataset, clones, tiny_model_dir, folder, "--mode", mode, "--instances_at_once", "1")
    assert main(asked) == 1
    shown = capsys.readouterr()
    assert "1 of 3 instances have no patch: acme__tool-3" in shown.err and "paper: SRL" in shown.out and "14.8" in shown.out
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [row["instance_id"] for row in predictions] == ["acme__tool-1", "acme__tool-2"]
    assert all(row.keys() == {"instance_id", "model_name_or_path", "model_patch"} for row in predictions)
    answer = json.loads((folder / "answers" / "acme__tool-1.json").read_text())
    assert answer["repair"]["samples"][0]["tokens"] >= 1 and "VALUE should be 3." in answer["repair"]["messages"][-1]["content"]
    assert ("localize" in answer) == (mode == "end-to-end")
    results = json.loads((folder / "results.json").read_text())
    assert results["instances"] == 3 and results["counts"]["error"] == 1 and results["by_repository"]["acme/tool"]["instances"] == 3
    page = (folder / "report.html").read_text()
    assert page.count("<article") == 3 and "VALUE should be 3." in page

    before = {path: path.read_bytes() for path in [folder / "predictions.jsonl", *(folder / "answers").iterdir()]}
    assert main(asked) == 1, "what is finished is not asked again, what failed is tried again"
    assert {path: path.read_bytes() for path in before} == before


def test_a_cut_line_is_mended_and_only_its_patch_is_written_again(dataset, clones, tiny_model_dir, tmp_path) -> None:
    folder = tmp_path / "run"
    asked = command(dataset, clones, tiny_model_dir, folder, "--limit", "2")
    assert main(asked) == 0
    path = folder / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    answers = {answer.name: answer.stat().st_mtime_ns for answer in (folder / "answers").iterdir()}
    assert main(asked) == 0
    assert path.read_bytes() == whole
    assert (folder / "answers" / "acme__tool-1.json").stat().st_mtime_ns == answers["acme__tool-1.json"]


def test_changed_settings_are_named(dataset, clones, tiny_model_dir, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "1")) == 0
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "1", "--mode", "end-to-end", "--seed", "3")) == 1
    error = capsys.readouterr().err
    assert "mode was 'oracle', is 'end-to-end'" in error and "seed was 0, is 3" in error


def test_several_samples_are_kept_and_one_is_chosen(dataset, clones, tiny_model_dir, tmp_path) -> None:
    folder = tmp_path / "run"
    assert main(command(dataset, clones, tiny_model_dir, folder, "--limit", "1", "--num_samples", "3", "--temperature", "1.0")) == 0
    repair = json.loads((folder / "answers" / "acme__tool-1.json").read_text())["repair"]
    assert [sample["number"] for sample in repair["samples"]] == [0, 1, 2] and repair["chosen"] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--judge", "true"], "acme__tool-1 has no image, eval_script, log_parser, eval_type"),
        (["--num_samples", "2"], "temperature is 0"),
        (["--gold", "true"], "there would be nothing to do"),
        (["--instance_ids", "acme__tool-9"], "did you mean"),
        (["--jobs", "0"], "jobs is 0"),
    ],
)
def test_mistakes_are_told_in_one_line(more, message, dataset, clones, tiny_model_dir, tmp_path, capsys) -> None:
    assert main(command(dataset, clones, tiny_model_dir, tmp_path / "run", *more)) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error


def test_a_verdict_counts_for_its_own_patch_only(tmp_path) -> None:
    records = Records(tmp_path)
    records.add_prediction("a__b-1", "model", "patch")
    records.add_judgement(Judgement("a__b-1", "infrastructure_failure", "engine"))
    records.add_judgement(Judgement("a__b-1", "unresolved", failing=("t",)))
    again = Records(tmp_path)
    assert again.judgements == {"a__b-1": Judgement("a__b-1", "unresolved", failing=("t",))}
    path = tmp_path / "predictions.jsonl"
    path.write_text(path.read_text().replace('"patch"', '"another"'))
    assert Records(tmp_path).judgements == {}

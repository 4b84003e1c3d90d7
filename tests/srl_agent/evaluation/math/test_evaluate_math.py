"""``python -m srl_agent.evaluate math`` from end to end, on a real tiny model: runs, kills,
resumes, comparisons, mistakes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srl_agent.evaluate import main
from srl_agent.evaluation.math.samples import read_samples

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, answers in {"amc23": ["27", "36", "45"], "minerva_math": ["4.5e33", "1.6"]}.items():
        rows = [
            {"id": f"{name}-{i}", "problem": f"What is ${answer}$ plus zero?", "answer": answer}
            for i, answer in enumerate(answers)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def command(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    return [
        *(
            "math",
            "--model",
            str(model),
            "--data",
            str(data),
            "--output_dir",
            str(folder),
            "--benchmarks",
            "amc23",
            "minerva_math",
        ),
        *(
            "--num_samples",
            "4",
            "--max_new_tokens",
            "24",
            "--device",
            "cpu",
            "--grading_processes",
            "1",
            *more,
        ),
    ]


@pytest.fixture(scope="module")
def finished(tiny_model_dir: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(command(tiny_model_dir, data, folder)) == 0
    return folder


def test_a_run_leaves_all_answers_their_scores_and_a_page(finished: Path) -> None:
    samples = read_samples(finished / "samples.jsonl")
    assert len({sample.key for sample in samples}) == len(samples) == 3 * (1 + 4) + 2
    assert all(sample.correct is not None and 1 <= sample.tokens <= 24 for sample in samples)
    results = json.loads((finished / "results.json").read_text())
    amc, minerva = results["benchmarks"]["amc23"], results["benchmarks"]["minerva_math"]
    assert (
        amc["problems"] == 3
        and amc["sampled"]["k"] == 4
        and set(amc["sampled"]["pass_at"]) == {"1", "2", "4"}
        and minerva["sampled"] is None
    )
    right = [
        sample.correct
        for sample in samples
        if sample.benchmark == "amc23" and sample.mode == "sampled"
    ]
    assert amc["sampled"]["average"]["value"] == sum(map(bool, right)) / 12
    assert amc["sampled"]["answers"]["truncated"] == sum(
        s.truncated for s in samples if (s.benchmark, s.mode) == ("amc23", "sampled")
    )
    assert (results["config"]["backend"], results["config"]["dtype"]) == (
        "transformers",
        "float32",
    ), "auto is written down as what it was"
    assert (
        results["config"]["num_samples"] == 4
        and results["config"]["batch_rows"] == 64
        and results["environment"]["packages"]["math-verify"]
    )
    assert results["average"] is None, "two of the four benchmarks are missing"
    page = (finished / "report.html").read_text()
    assert page.count('<details class="answer ') == 17 and "plus zero?" in page and "<svg" in page
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page), "the page needs no other file"
    assert (finished / "plots" / "lengths.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_asks_nothing_again(
    finished: Path, tiny_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "samples.jsonl").read_bytes()
    assert main(command(tiny_model_dir, data, finished)) == 0
    assert (finished / "samples.jsonl").read_bytes() == before
    shown = capsys.readouterr().out
    assert "paper: SRL -> RLVR" in shown and "52.1 / 57.5" in shown and "27.5" in shown
    assert json.loads((finished / "results.json").read_text())["generation"] == {}


def test_more_samples_are_added_and_fewer_still_count(
    finished: Path, tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert main(command(tiny_model_dir, data, folder, "--num_samples", "2", "--limit", "2")) == 0
    few = read_samples(folder / "samples.jsonl")
    assert len(few) == 2 * (1 + 2) + 2
    assert main(command(tiny_model_dir, data, folder)) == 0
    more = read_samples(folder / "samples.jsonl")
    assert more[: len(few)] == few and len(more) == 17
    assert sorted(more, key=str) == sorted(read_samples(finished / "samples.jsonl"), key=str), (
        "an answer does not depend on what is asked beside it"
    )
    assert main(command(tiny_model_dir, data, folder, "--num_samples", "2")) == 0
    assert (
        json.loads((folder / "results.json").read_text())["benchmarks"]["amc23"]["sampled"]["k"]
        == 2
    )


def stopped_in_the_middle(
    arguments: list[str], path: Path, signal_number: int
) -> tuple[int, list[bytes]]:
    """Run the command, send it a signal once three answers are written; its exit status, and the
    lines that it left.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "srl_agent.evaluate", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not (path.is_file() and path.read_bytes().count(b"\n") >= 3):
        time.sleep(0.002)
    os.kill(process.pid, signal_number)
    _, errors = process.communicate()
    assert signal_number == signal.SIGKILL or errors.decode().endswith(
        "Rerun the same command to resume.\n"
    )
    return process.returncode, path.read_bytes().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "signal_number, status", [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_stopped_run_goes_on_and_asks_nothing_twice(
    finished: Path,
    tiny_model_dir: Path,
    data: Path,
    tmp_path: Path,
    signal_number: int,
    status: int,
) -> None:
    """Stopped in the middle, a last line cut off on top, then the same command: the same answers
    as of a run that was never stopped.
    """
    path = tmp_path / "run" / "samples.jsonl"
    arguments = command(tiny_model_dir, data, path.parent, "--num_samples", "30")
    stopped, kept = stopped_in_the_middle([*arguments, "--batch_rows", "1"], path, signal_number)
    assert stopped == status and 3 <= len(kept) < 95
    with path.open("ab") as file:
        file.write(b'{"benchmark": "amc23", "prob')
    assert main(arguments) == 0
    samples = read_samples(path)
    assert len({sample.key for sample in samples}) == len(samples) == 3 * (1 + 30) + 2
    assert [json.loads(line)["text"] for line in kept] == [
        sample.text for sample in samples[: len(kept)]
    ]
    assert json.loads((path.parent / "results.json").read_text())["generation"]["tokens"] == sum(
        sample.tokens for sample in samples[len(kept) :]
    )
    few = [sample for sample in samples if sample.number < 4]
    assert sorted(few, key=str) == sorted(read_samples(finished / "samples.jsonl"), key=str)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--temperature", "0.7"], "temperature was 1.0, is 0.7"),
        (["--model", "quickstart"], "model was .*, is 'quickstart'"),
        (["--max_new_tokens", "25"], "max_new_tokens was 24, is 25"),
        (["--stepwise"], "stepwise was False, is True"),
        (
            ["--base_url", "http://127.0.0.1:9/v1", "--retries", "0"],
            "backend was 'transformers', is 'openai'",
        ),
    ],
)
def test_other_settings_need_another_folder(
    finished: Path,
    tiny_model_dir: Path,
    data: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert main(command(tiny_model_dir, data, finished, *more)) == 1
    (error,) = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith("step-wise: ")
    ]
    assert re.search(message, error) and "--output_dir" in error
    assert {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before


def test_changed_data_is_refused(
    finished: Path,
    tiny_model_dir: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("amc23", "minerva_math"):
        (tmp_path / f"{name}.jsonl").write_text(
            (data / f"{name}.jsonl").read_text().replace("plus zero", "plus one")
        )
    assert main(command(tiny_model_dir, tmp_path, finished)) == 1
    assert "another problem of amc23 with the id 'amc23-0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--benchmarks", "aime26"], "unknown benchmark 'aime26'"),
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--tempreature", "1"], "did you mean temperature"),
        (["--temperature", "0"], "temperature is 0.0"),
        (["--limit", "0"], "limit is 0"),
        (["--compare", "one"], "compare takes two run folders"),
        (["--compare", "one", "two"], "There is no folder one"),
        (["--model", "./nowhere"], "no folder './nowhere'"),
    ],
)
def test_mistakes_are_one_line(
    data: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command(tiny_model_dir, data, tmp_path / "run", *arguments)) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and error.startswith("error: ") and "\n" not in error
    assert not list(tmp_path.rglob("results.json"))


def test_a_start_that_failed_binds_nobody(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens at port 9; the same folder then takes a run with another model, and runs
    without a common problem are not compared.
    """
    folder = tmp_path / "run"
    server = ["--base_url", "http://127.0.0.1:9/v1", "--retries", "0", "--device", "auto"]
    assert main(command(tiny_model_dir, data, folder, "--model", "served", *server)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "127.0.0.1:9" in error
    few = ["--benchmarks", "amc23", "--num_samples", "0"]
    assert main(command(tiny_model_dir, data, folder, "--limit", "1", *few)) == 0
    assert (
        main(command(tiny_model_dir, data, tmp_path / "other", "--benchmarks", "minerva_math")) == 0
    )
    assert main(["math", "--compare", str(folder), str(tmp_path / "other")]) == 1
    assert "no answered problem in common" in capsys.readouterr().err


def test_a_task_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2 and "name what to evaluate: math" in capsys.readouterr().err
    assert main(["--help"]) == 0 and "srl_agent.evaluate math" in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(command(tiny_model_dir, data, tmp_path)) == 1
    assert "is not empty and holds no evaluation" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folders_of_other_tasks_are_left_alone(
    tiny_model_dir: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training run's own folder is the place that is named by mistake."""
    for name, settings, message in (
        ("training", "method: srl\noutput_dir: runs/mine\n", "holds something else"),
        ("swebench", "task: swebench\nidentity: {}\n", "holds a swebench evaluation"),
        ("damaged", "[1, 2", "its config.yaml is damaged"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(settings)
        assert main(command(tiny_model_dir, data, tmp_path / name)) == 1
        error = capsys.readouterr().err.strip()
        assert message in error and "choose another --output_dir" in error and "\n" not in error
        assert (tmp_path / name / "config.yaml").read_text() == settings and not (
            tmp_path / name / "problems.jsonl"
        ).exists()


def test_training_leaves_an_evaluation_alone(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from srl_agent.train import main as train

    before = (finished / "config.yaml").read_bytes()
    assert train(["--output_dir", str(finished)]) == 1
    assert "is not empty and holds no run" in capsys.readouterr().err
    assert (finished / "config.yaml").read_bytes() == before


def test_stepwise(tiny_model_dir: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    more = [
        "--stepwise",
        "--require_think",
        "false",
        "--max_steps",
        "3",
        "--max_new_tokens",
        "12",
        "--episodes_at_once",
        "4",
    ]
    assert main(command(tiny_model_dir, data, folder, *more)) == 0
    samples = read_samples(folder / "samples.jsonl")
    assert len(samples) == 17 and all(1 <= (sample.steps or 0) <= 3 for sample in samples)
    assert all(
        sample.truncated for sample in samples if sample.answer is None and sample.steps == 3
    )
    results = json.loads((folder / "results.json").read_text())
    answers = results["benchmarks"]["amc23"]["sampled"]["answers"]
    drawn = [sample for sample in samples if sample.mode == "sampled"]
    assert answers["malformed_steps"] == pytest.approx(
        sum(s.malformed or 0 for s in drawn) / sum(s.steps or 0 for s in drawn)
    )


def test_two_runs_are_compared(
    finished: Path,
    tiny_model_dir: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    assert main(command(tiny_model_dir, data, other, "--seed", "1", "--max_new_tokens", "12")) == 0
    capsys.readouterr()
    assert main(["math", "--compare", str(finished), str(other)]) == 0
    shown = capsys.readouterr().out
    assert "AMC23, sampled, tokens" in shown and "Minerva Math, greedy, accuracy %" in shown
    assert (
        "asked otherwise: max_new_tokens is 24 in first, 12 in other" in shown
        and "temperature is" not in shown
    )
    content = json.loads((other / "compare-first" / "compare.json").read_text())
    assert content["asked_otherwise"] == {"max_new_tokens": [24, 12], "seed": [0, 1]}
    [tokens] = [
        row
        for row in content["differences"]
        if (row["benchmark"], row["mode"], row["measure"]) == ("amc23", "sampled", "tokens")
    ]
    means = [
        sum(
            s.tokens
            for s in read_samples(run / "samples.jsonl")
            if (s.benchmark, s.mode) == ("amc23", "sampled")
        )
        / 12
        for run in (finished, other)
    ]
    assert [tokens["before"], tokens["after"]] == pytest.approx(means)
    assert (
        tokens["difference"]["value"] == pytest.approx(means[1] - means[0])
        and tokens["difference"]["count"] == 3
    )
    assert (
        tokens["difference"]["low"] <= tokens["difference"]["value"] <= tokens["difference"]["high"]
    )
    assert (other / "compare-first" / "plots" / "lengths-amc23.png").is_file() and "<svg" in (
        other / "compare-first" / "compare.html"
    ).read_text()
    assert (
        main(["math", "--compare", str(finished), str(other), "--output_dir", str(finished)]) == 1
    )
    assert "one of the two runs" in capsys.readouterr().err


def test_histograms_of_two_runs_weigh_problems_alike(finished: Path, tmp_path: Path) -> None:
    """A run with twice as many samples of one benchmark does not seem to write longer answers
    because that benchmark's are long.
    """
    runs = {"more": 4, "fewer": 2}
    for name, k in runs.items():
        shutil.copytree(finished, tmp_path / name)
        samples = [
            json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()
        ]
        rows = [
            sample | {"tokens": 100 if sample["benchmark"] == "amc23" else 10}
            for sample in samples
            if sample["number"] < k
        ]
        (tmp_path / name / "samples.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )
    assert main(["math", "--compare", *(str(tmp_path / name) for name in runs)]) == 0
    page = (tmp_path / "fewer" / "compare-more" / "compare.html").read_text()
    mean = (3 * 3 * 100 + 2 * 10) / 11
    assert f"more, mean {mean:.0f}" in page and f"fewer, mean {mean:.0f}" in page

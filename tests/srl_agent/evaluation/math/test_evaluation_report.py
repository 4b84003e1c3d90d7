"""What is computed and shown from answers whose verdicts are known."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from filelock import FileLock

from srl_agent.evaluation.folder import model_label
from srl_agent.evaluation.math.benchmarks import Problem
from srl_agent.evaluation.math.config import MathConfig
from srl_agent.evaluation.math.folder import default_folder, math_folder
from srl_agent.evaluation.math.page import shown_samples, write_page
from srl_agent.evaluation.math.results import Results, summarize
from srl_agent.evaluation.math.samples import Sample, SampleStore
from srl_agent.evaluation.math.table import (
    aligned,
    benchmark_cells,
    note_lines,
    table_1_cells,
    terminal_text,
)
from srl_agent.inference.backends import GeneratorConfig
from srl_envs.errors import ConfigError

NAMES = ("amc23", "aime24", "aime25", "minerva_math")
PROBLEMS = {
    name: [Problem(name, f"{name}-{i}", f"<b>Problem</b> {i} & more", "5") for i in range(4)]
    for name in NAMES
}


def answers(right: int, k: int = 0, **settings: object) -> list[Sample]:
    """Four problems in each benchmark; greedily the first ``right`` are right, sampled the first
    half of the k answers of these.
    """
    found = []
    for name in NAMES:
        for i in range(4):
            found.append(
                Sample(
                    name,
                    f"{name}-{i}",
                    "greedy",
                    0,
                    "so <script>",
                    10 * (i + 1),
                    i == 3,
                    "5" if i < 3 else None,
                    i < right,
                    **settings,
                )
            )  # type: ignore[arg-type]
            for number in range(k):
                correct = i < right and number < k // 2
                found.append(
                    Sample(
                        name,
                        f"{name}-{i}",
                        "sampled",
                        number,
                        f"text {number}",
                        7,
                        False,
                        "5" if correct else "6",
                        correct,
                        **settings,
                    )
                )  # type: ignore[arg-type]
    return found


def results(right: int = 1, k: int = 4, **settings: object) -> Results:
    num_samples = {name: 0 if name == "minerva_math" else k for name in NAMES}
    return summarize(
        "tiny",
        PROBLEMS,
        answers(right, k, **settings),
        num_samples,
        lambda one, other: one == other,
        seed=0,
    )


def test_scores() -> None:
    found = results(right=2)
    amc, minerva = found.benchmarks[0], found.benchmarks[3]
    assert amc.greedy.value == 0.5 and minerva.greedy.value == 0.5 and minerva.sampled is None
    assert amc.sampled is not None
    assert amc.sampled.average.value == amc.sampled.pass_at[1].value == 0.25
    assert (
        amc.sampled.pass_at[2].value == pytest.approx(0.5 * (1 - 1 / 6))
        and amc.sampled.pass_at[4].value == 0.5
    )
    assert amc.sampled.majority.value == 0.25, (
        "a tie of two right and two wrong votes counts one half"
    )
    assert (
        amc.greedy_answers.truncated,
        amc.greedy_answers.without_answer,
        amc.greedy_answers.mean_tokens,
        amc.greedy_answers.median_tokens,
    ) == (1, 1, 25, 25)
    assert found.average == pytest.approx((3 * 0.25 + 4 * 0.5) / 7)


def test_the_papers_rows_and_ours() -> None:
    rows = table_1_cells(results(right=2))
    assert rows[0][0] == "avg@4 (paper: 32) / greedy, %"
    assert rows[-1] == [
        "tiny, of fewer problems",
        "25.0 / 50.0",
        "25.0 / 50.0",
        "25.0 / 50.0",
        "50.0",
        "39.3",
    ]
    averages = {row[0]: row[-1] for row in rows}
    assert averages["paper: SRL"] == "26.9", "the mean of the seven columns; the paper prints 27.6"
    assert (
        averages["paper: Base (Qwen2.5-7B-Instruct)"] == "24.6"
        and averages["paper: SRL -> RLVR"] == "28.3"
    )
    assert table_1_cells(results(k=0))[-1] == [
        "tiny, of fewer problems",
        "- / 25.0",
        "- / 25.0",
        "- / 25.0",
        "25.0",
        "-",
    ]


def test_all_problems_of_a_benchmark_are_not_called_fewer() -> None:
    problems = [Problem("amc23", str(i), "?", "5") for i in range(40)]
    samples = [
        Sample("amc23", problem.id, "greedy", 0, "5", 1, False, "5", True) for problem in problems
    ]
    whole = summarize(
        "tiny", {"amc23": problems}, samples, {"amc23": 0}, lambda one, other: False, seed=0
    )
    assert table_1_cells(whole)[-1] == ["tiny", "- / 100.0", "- / -", "- / -", "-", "-"]


def test_without_its_benchmarks_the_papers_table_is_left_out(tmp_path: Path) -> None:
    problem = Problem("gsm8k", "1", "1 + 1?", "2")
    sample = Sample("gsm8k", "1", "greedy", 0, "\\boxed{2}", 5, False, "2", True)
    only = summarize(
        "tiny", {"gsm8k": [problem]}, [sample], {"gsm8k": 0}, lambda one, other: False, seed=0
    )
    assert (
        "paper" not in terminal_text(only)
        and "GSM8K, greedy" in terminal_text(only)
        and "paper: SRL" in terminal_text(results())
    )
    assert "Table 1" not in write_page(tmp_path, only, [problem], [sample], {}, 10).read_text()


def test_tables_are_aligned() -> None:
    lines = aligned(benchmark_cells(results())).splitlines()
    assert lines[1] == "-" * max(map(len, lines)) and len(lines) == 2 + 7
    assert lines[2].startswith("AMC23, greedy ") and "25.0 [0.0, 75.0]" in lines[2]


def test_malformed_steps_are_told() -> None:
    assert note_lines(results()) == []
    lines = note_lines(results(k=2, steps=4, malformed=1))
    assert (
        lines[0] == "AMC23, greedy: 4.0 steps a solution, 25.0% of them malformed"
        and len(lines) == 7
    )


def test_contexts_that_were_too_short_are_told(tmp_path: Path) -> None:
    lines = note_lines(results(context_full=True, steps=0))
    assert lines[:2] == [
        "AMC23, greedy: 0.0 steps a solution, 0.0% of them malformed",
        "AMC23, greedy: 4 of 4 answers found no room in the model's context",
    ]
    problems = [problem for name in NAMES for problem in PROBLEMS[name]]
    page = write_page(
        tmp_path, results(k=0, context_full=True), problems, answers(1, context_full=True), {}, 20
    ).read_text()
    assert (
        page.count('<span class="flaw">context full</span>') == 4
        and "found no room in the model&#39;s context" in page
    )


def test_samples_that_are_all_the_same_text_are_told() -> None:
    problems = [Problem("amc23", name, "1 + 1?", "2") for name in ("1", "2")]
    keys = [("greedy", 0), ("sampled", 0), ("sampled", 1)]
    empty = ("", "")  # the problem's prompt filled the context
    for texts, lines in {
        (("2", "2"), empty): 1,
        (empty, ("2", "2")): 1,
        (empty, ("2", "two")): 0,
        (empty, empty): 0,
    }.items():
        samples = [
            Sample("amc23", problem.id, mode, number, drawn[number], 1, False, "2", True)  # type: ignore[arg-type]
            for problem, drawn in zip(problems, texts, strict=True)
            for mode, number in keys
        ]
        notes = note_lines(
            summarize(
                "tiny",
                {"amc23": problems},
                samples,
                {"amc23": 2},
                lambda one, other: one == other,
                seed=0,
            )
        )
        assert len(notes) == lines, texts
    assert note_lines(results(k=1)) == []


def test_the_page_shows_greedy_answers_first_up_to_its_cap_and_escapes_them(tmp_path: Path) -> None:
    samples = answers(1, 4)
    problems = [problem for name in NAMES for problem in PROBLEMS[name]]
    page = write_page(
        tmp_path,
        results(),
        problems,
        samples,
        {"temperature": 1.0, "stepwise": False},
        most_answers=20,
    ).read_text()
    assert page.count('data-mode="greedy"') == 16 and page.count('data-mode="sampled"') == 4
    assert "20 of 80 answers" in page and "samples.jsonl has all" in page
    assert (
        "so &lt;script&gt;" in page
        and "&lt;b&gt;Problem&lt;/b&gt; 0 &amp; more" in page
        and "so <script>" not in page
    )
    assert len(re.findall(r'data-flags="wrong truncated none"', page)) == 4
    assert [(sample.mode, sample.number) for sample in shown_samples(samples, 33)[-2:]] == [
        ("sampled", 0),
        ("sampled", 1),
    ]


def test_a_very_long_answer_is_shortened_in_the_page(tmp_path: Path) -> None:
    long = [
        Sample(
            s.benchmark,
            s.problem_id,
            s.mode,
            s.number,
            "x" * 30_000 + "\ud800",
            s.tokens,
            True,
            None,
            False,
        )
        for s in answers(0)
    ]
    page = write_page(
        tmp_path, results(k=0), [p for name in NAMES for p in PROBLEMS[name]], long, {}, 1
    ).read_text()
    assert (
        "[... 10001 characters left out here; samples.jsonl has all ...]" in page
        and len(page) < 250_000
    )


def test_a_folder_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    config, model = MathConfig(), GeneratorConfig(model="owner/name")
    claim = math_folder(tmp_path / "run", config, model, PROBLEMS["amc23"])
    with (
        math_folder(tmp_path / "run", config, model, PROBLEMS["amc23"]),
        pytest.raises(ConfigError, match="in use by another process"),
        claim,
    ):
        raise AssertionError
    with FileLock(tmp_path / "run" / ".lock", timeout=0):
        pass


def test_weights_that_were_written_anew_are_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1")
    model = GeneratorConfig(model=str(folder))
    with (
        math_folder(tmp_path / "run", MathConfig(), model, []),
        SampleStore(tmp_path / "run" / "samples.jsonl") as store,
    ):
        store.append(answers(1)[0])
    os.utime(folder / "model.safetensors", (0, 0))
    with (
        pytest.raises(ConfigError, match="weights_written was"),
        math_folder(tmp_path / "run", MathConfig(), model, []),
    ):
        raise AssertionError


def test_where_a_run_goes_that_names_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine" / "final").mkdir(parents=True)
    trained = GeneratorConfig(model=str(tmp_path / "mine" / "final"))
    assert (
        default_folder(MathConfig(), trained) == Path("runs/math-mine-final")
        and model_label(trained) == "mine/final"
    )
    hub = GeneratorConfig(model="Qwen/Qwen2.5-7B-Instruct")
    assert (
        default_folder(MathConfig(stepwise=True), hub)
        == Path("runs/math-Qwen2.5-7B-Instruct-stepwise")
        and model_label(hub) == "Qwen/Qwen2.5-7B-Instruct"
    )

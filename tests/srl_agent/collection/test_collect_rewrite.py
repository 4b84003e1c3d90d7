"""``collect rewrite`` with a scripted teacher behind a real server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from srl_agent.collect import main
from srl_envs.data import load_trajectories

sys.path.append(str(Path(__file__).parents[2] / "conformance"))
from teacher_server import Reply, Script, teacher_server

PROBLEM = "Tom has three bags of 12 apples and eats 5. How many are left?"
PROSE = "In three bags there are 3 * 12 = 36 apples, and so 36 - 5 = 31 are left. The answer is 31."
STEPS = (
    "1. **Count the apples**: In three bags there are $3 \\cdot 12 = 36$ apples.\n\n"
    "2. **Take those that he eats**: $36 - 5 = 31$, so \\boxed{31} are left."
)


def run(script: Script, tmp_path: Path, rows: list[dict[str, Any]], *flags: str) -> int:
    file = tmp_path / "book.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with teacher_server(script) as server:
        return main(
            [
                *("rewrite", "--solutions", str(file), "--model", "teacher", "--tries", "1"),
                *("--base_url", server.url, "--retries", "0"),
                *("--output_dir", str(tmp_path / "run"), "--log_level", "error", *flags),
            ]
        )


def results(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "run" / "results.json").read_text())
    return content


def test_a_rewrite_keeps_the_original_beside_it(tmp_path: Path) -> None:
    rows = [{"problem": PROBLEM, "solution": PROSE}]
    assert run(lambda asked, before: Reply(STEPS), tmp_path, rows) == 0
    (kept,) = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert kept.metadata["original"] == PROSE and kept.answer == "31"
    assert kept.prompt == PROBLEM
    assert [step.title for step in kept.steps] == ["Count the apples", "Take those that he eats"]


@pytest.mark.parametrize(
    "change, reason, named",
    [
        (("= 36$ apples.", "= 36$ apples, or 6 boxes."), "a number or formula is invented", "6"),
        (("$36 - 5 = 31$, so", "So"), "a number or formula is lost", "36-5"),
        (
            ("so \\boxed{31} are left.", "so 5 are left, which is \\boxed{31}."),
            "a number is exchanged for another",
            "5 for 31",
        ),
        (("boxed{31}", "boxed{32}"), "wrong answer", "32"),
        (("2. **", "Then **"), "no numbered steps", ""),
    ],
)
def test_what_changes_the_content_is_rejected_and_named(
    change: tuple[str, str], reason: str, named: str, tmp_path: Path
) -> None:
    rows = [{"problem": PROBLEM, "solution": PROSE, "answer": 31}]
    assert run(lambda asked, before: Reply(STEPS.replace(*change)), tmp_path, rows) == 0
    assert results(tmp_path)["rejected"] == {reason: 1}
    (reject,) = map(json.loads, (tmp_path / "run" / "rejects.jsonl").read_text().splitlines())
    assert reject["reason"] == reason and named in reject["detail"]


def test_losses_can_be_allowed_and_are_then_recorded(tmp_path: Path) -> None:
    rows = [{"problem": PROBLEM, "solution": f"{PROSE} Let me check: 31 + 5 = 36."}]
    assert run(lambda asked, before: Reply(STEPS), tmp_path, rows) == 0
    assert results(tmp_path)["kept"] == 0
    assert run(lambda asked, before: Reply(), tmp_path, rows, "--max_lost", "0.5") == 0
    (kept,) = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert kept.metadata["lost"] == ["31+5"]


def test_solutions_that_need_no_rewriting_or_cannot_be_checked_are_not_asked(
    tmp_path: Path,
) -> None:
    rows = [
        {"problem": PROBLEM, "solution": PROSE},
        {"problem": "Another one, with 36 apples?", "solution": STEPS},
        {"problem": "What is not answered?", "solution": "Nobody knows."},
        {"problem": "What does the book get wrong?", "solution": PROSE, "answer": "32"},
    ]
    assert run(lambda asked, before: Reply(STEPS), tmp_path, rows) == 0
    assert results(tmp_path)["answers"] == 1
    assert results(tmp_path)["refused"] == {
        "in titled steps already": 1,
        "no final answer, in the solution or beside it": 1,
        "the solution's answer is not the reference": 1,
    }


def test_rows_of_s1k_and_gsm8k_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [
        {
            "question": PROBLEM,
            "solution": "31",
            "deepseek_attempt": PROSE,
            "deepseek_grade": "Yes",
        },
        {"question": f"{PROBLEM} Say why.", "answer": "3*12=<<3*12=36>>36\n36-5=31\n#### 31"},
    ]
    assert run(lambda asked, before: Reply(STEPS), tmp_path, rows) == 0
    kept = load_trajectories(str(tmp_path / "run" / "trajectories.jsonl"))
    assert [one.answer for one in kept] == ["31", "31"]
    assert kept[1].metadata["original"] == "3*12=36\n36-5=31\n#### 31"


@pytest.mark.parametrize(
    "row, flags, said",
    [
        ({"problem": PROBLEM}, (), "there is no solution"),
        ({"problem": PROBLEM, "solution": PROSE}, ("--solution_column", "text"), "'text'"),
        ({"solution": PROSE}, (), "must hold the problem's text"),
        ({"problem": PROBLEM, "solution": STEPS}, (), "1 in titled steps already"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    row: dict[str, Any],
    flags: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(lambda asked, before: Reply(STEPS), tmp_path, [row], *flags) == 2
    assert said in capsys.readouterr().err

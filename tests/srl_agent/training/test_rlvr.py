"""RLVR: prompts that ask for whole solutions, rewards by the final answer, and a run on a tiny
model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_train import arguments, lines

from srl_agent.rollouts.scorers import AnswerInstance, AnswerScorer, verifiable
from srl_agent.train import main
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.trajectory import ExpertStep, Trajectory

HALF = Trajectory("half", "What is 1 - 1/2?", (ExpertStep("It is 1/2."),), answer="0.5")


@pytest.fixture(scope="module")
def scorer() -> Iterator[AnswerScorer]:
    scorer = AnswerScorer()
    yield scorer
    scorer.close()


@pytest.mark.parametrize(
    ("text", "truncated", "reward", "error"),
    [
        (r"So \boxed{\frac{1}{2}}", False, 1.0, None),
        (
            r"<think>\boxed{2}</think> The answer is 1/2.",
            False,
            0.0,
            None,
        ),  # an evaluation takes the box
        (r"\boxed{0.25}", False, 0.0, None),
        (r"\boxed{0.5} and so on", True, 1.0, None),  # given before the limit, as in an evaluation
        ("It is 0.5", False, 0.0, "no_answer"),
        ("It is 0.5", True, 0.0, "truncated"),
    ],
)
def test_the_reward_is_the_verdict_of_an_evaluation(
    scorer: AnswerScorer, text: str, truncated: bool, reward: float, error: str | None
) -> None:
    (scored,) = scorer.score([AnswerInstance(HALF)], [text], [truncated])
    assert (scored.value, scored.response.error, scored.similarity) == (reward, error, None)


def test_problems_are_asked_as_an_evaluation_asks_them() -> None:
    assert AnswerInstance(HALF).messages == list(evaluation_messages(HALF.prompt))


def test_each_question_counts_once_and_only_with_a_reference_answer() -> None:
    again, unknown = (
        replace(HALF, id="again", prompt="What  is 1 - 1/2?"),
        replace(HALF, id="unknown", prompt="Prove it.", answer=""),
    )
    without = replace(HALF, id="without", answer="")
    instances, left_out = verifiable([without, unknown, HALF, again])
    assert [instance.id for instance in instances] == ["half"] and left_out == 1


def rlvr(model: Path, run: Path, **over: object) -> list[str]:
    settings = {
        "method": "rlvr",
        "use_cpu": "true",
        "disable_tqdm": "true",
        "max_steps": 2,
        "dynamic_sampling": "false",
        **over,
    }
    return arguments(model, run, **settings)


def test_a_run_ends_with_accuracies(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(rlvr(tiny_model_dir, run)) == 0
    output = capfd.readouterr().err
    assert (
        "base: held-out accuracy +0.000" in output
        and "150 problems, without 0 that have no reference answer; 20 questions held out" in output
    )
    assert all(
        {"reward", "malformed/no_answer", "groups_kept"} <= row.keys() and "similarity" not in row
        for row in lines(run, "train").values()
    )
    assert [
        stage["stage"] for stage in json.loads((run / "summary.json").read_text())["stages"]
    ] == ["base", "rlvr"]
    page = (run / "report.html").read_text()
    assert (
        "RLVR changed the accuracy by" in page and "After RLVR" in page and "After SRL" not in page
    )


def test_the_format_warm_up_teaches_solutions(tiny_model_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        main(rlvr(tiny_model_dir, run, format_warmup_steps=1, warmup_instances=2, max_steps=1)) == 0
    )
    assert sorted(lines(run, "warmup")) == [1]
    assert [
        stage["stage"] for stage in json.loads((run / "summary.json").read_text())["stages"]
    ] == ["base", "warmup", "rlvr"]


def test_groups_that_are_all_wrong_are_dropped(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(rlvr(tiny_model_dir, tmp_path / "run", dynamic_sampling="true", max_sampling_rounds=2))
        == 1
    )
    assert "0 of 2 groups kept after 2 rounds" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "rlvr", "--think_prefilled", "true"], "think_prefilled is True"),
        (
            ["--config", "srl_swe_quickstart", "--think_prefilled", "false", "--method", "rlvr"],
            "asks for whole solutions with a final answer",
        ),
    ],
)
def test_what_does_not_go_with_whole_problems(
    flags: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--output_dir", str(tmp_path / "run")]) == 1
    assert message in capfd.readouterr().err


def test_the_paper_settings() -> None:
    from srl_agent.command_line import read_config

    settings = read_config("rlvr_math_7b")
    paper = {
        "prompts_per_step": 128,
        "num_generations": 8,
        "learning_rate": 5e-7,
        "temperature": 1.0,
        "max_grad_norm": 1.0,
        "dynamic_sampling": True,
    }
    assert {name: settings[name] for name in paper} == paper

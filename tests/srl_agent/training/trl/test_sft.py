"""Supervised fine-tuning: what is learned of an expert's answer, and runs on a tiny model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_train import arguments, lines

from srl_agent.inference.chat import ChatEncoder
from srl_agent.rollouts.scorers import AnswerInstance, AnswerScorer
from srl_agent.train import main
from srl_agent.training.config import SRLConfig
from srl_agent.training.methods import solution_answer
from srl_agent.training.trl.sft import SupervisedTrainer, examples_of, expert_example
from srl_envs.data.s1k import TRACE, read
from srl_envs.trajectory import ExpertStep, Trajectory

HALF = Trajectory(
    "half",
    "What is 1 - 1/2?",
    (ExpertStep("It is 1/2.", gap=""),),
    answer="0.5",
    metadata={TRACE: "Hm."},
)


def settings(folder: Path, **over: Any) -> SRLConfig:
    return SRLConfig(
        output_dir=str(folder),
        bf16=False,
        use_cpu=True,
        method="sft",
        per_device_train_batch_size=1,
        eval_strategy="no",
        **over,
    )


def test_an_answer_that_an_evaluation_would_not_find_is_put_in_a_box() -> None:
    boxed = Trajectory("boxed", "?", (ExpertStep(r"It is \boxed{0.5}.", gap=""),), answer="0.5")
    assert (
        solution_answer(HALF) == "It is 1/2.\n\n\\boxed{0.5}"
        and solution_answer(boxed) == r"It is \boxed{0.5}."
    )
    assert (
        solution_answer(HALF, with_trace=True) == "<think>Hm.</think>\nIt is 1/2.\n\n\\boxed{0.5}"
    )


def test_s1k_gives_reasoning_traces() -> None:
    row = {
        "question": "Q?",
        "deepseek_attempt": "1. **One**: a\n2. **Two**: b",
        "deepseek_thinking_trajectory": " Hm.\n",
    }
    with_trace, without = read(
        [row, row | {"question": "R?", "deepseek_thinking_trajectory": ""}], Counter()
    )
    assert with_trace.metadata[TRACE] == "Hm." and TRACE not in without.metadata


def test_only_the_answer_carries_loss(tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    args, scorer = settings(tmp_path, max_completion_length=100), AnswerScorer()
    rows, _ = examples_of(tiny_tokenizer, [AnswerInstance(HALF)], args)
    trainer = SupervisedTrainer(tiny_model, args, rows, [], tiny_tokenizer, None, [], scorer)
    learned = [token for token in trainer.train_dataset[0]["labels"] if token != -100]
    assert tiny_tokenizer.decode(learned) == solution_answer(HALF) + tiny_tokenizer.eos_token


def test_too_long_answers_are_left_out_and_counted(tiny_tokenizer: Any, tmp_path: Path) -> None:
    long = Trajectory("long", "?", (ExpertStep("word " * 200),))
    instances = [AnswerInstance(HALF), AnswerInstance(long)]
    rows, too_long = examples_of(
        tiny_tokenizer, instances, settings(tmp_path, max_completion_length=100)
    )
    assert (
        rows == [expert_example(ChatEncoder(tiny_tokenizer), instances[0], settings(tmp_path))]
        and too_long == 1
    )


def sft(model: Path, run: Path, **over: object) -> list[str]:
    return arguments(
        model,
        run,
        method="sft",
        use_cpu="true",
        disable_tqdm="true",
        max_completion_length=200,
        prompts_per_step=8,
        **over,
    )


def test_a_run_goes_on_from_its_checkpoint_to_the_same_losses(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    run, cut = tmp_path / "run", tmp_path / "cut"
    assert main(sft(tiny_model_dir, run, max_steps=3)) == 0
    losses = {step: (row["loss"], row["grad_norm"]) for step, row in lines(run, "train").items()}
    assert sorted(losses) == [1, 2, 3] and losses[3][0] < losses[1][0]
    assert [
        stage["stage"] for stage in json.loads((run / "summary.json").read_text())["stages"]
    ] == ["base", "sft"]
    assert "After SFT" in (run / "report.html").read_text()
    shutil.copytree(run, cut)
    for path in (cut / "summary.json", cut / "report.html", *cut.glob("samples/sft-*")):
        path.unlink()
    for folder in ("checkpoint-2", "checkpoint-3", "final"):
        shutil.rmtree(cut / folder)
    assert main(sft(tiny_model_dir, cut, max_steps=3)) == 0
    assert {
        step: (row["loss"], row["grad_norm"]) for step, row in lines(cut, "train").items()
    } == losses


def test_steps_are_learned_in_the_format_of_srl(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(sft(tiny_model_dir, tmp_path / "run", max_steps=1, sft_on="steps")) == 0
    output = capfd.readouterr().err
    assert "base: held-out step reward" in output and "supervised on steps" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sft_on", "traces"], "no trajectory has a reasoning trace"),
        (["--format_warmup_steps", "3"], "format_warmup_steps is 3: it must be 0 for sft"),
    ],
)
def test_what_does_not_go_with_sft(
    flags: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "--method",
                "sft",
                "--format_warmup_steps",
                "0",
                "--prompts_per_step",
                "16",
                *flags,
                "--output_dir",
                str(tmp_path / "run"),
            ]
        )
        == 1
    )
    assert message in capfd.readouterr().err


def test_the_paper_settings() -> None:
    from srl_agent.command_line import read_config

    paper = {
        "prompts_per_step": 64,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.3,
        "num_train_epochs": 3,
        "bf16": True,
    }
    config = read_config("sft_math_7b")
    assert {name: config[name] for name in paper} == paper

"""The study: arms are the trainings they are named for, intervals are right, a kill is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Not benchmarks/ itself: benchmarks/swebench.py must not replace the package swebench.
sys.path.append(str(ROOT))

from benchmarks.study.measures import MEASURES  # noqa: E402
from benchmarks.study.plan import TRAINED, Size, read_size, stage_folders, write_config  # noqa: E402
from benchmarks.study.report import findings, table  # noqa: E402
from benchmarks.study.results import consumed, interval  # noqa: E402
from srl_agent.intervals import Interval  # noqa: E402
from srl_envs.errors import ConfigError  # noqa: E402

TINY = {
    "seeds": 1,
    "steps": 12,  # so many that the kill falls between them
    "training": {
        **{
            "source": "builtin",
            "count": 170,
            "targets": "all",
            "held_out": 20,
            "bf16": False,
            "require_think": False,
            "prompts_per_step": 2,
        },
        **{
            "num_generations": 4,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "max_sampling_rounds": 2,
            "save_steps": 1,
            "use_cpu": True,
        },
    },
    "warmup_solutions": {
        "per_device_train_batch_size": 2,
        "max_steps": 1,
        "max_completion_length": 400,
    },
    "warmup_steps": {
        "per_device_train_batch_size": 2,
        "max_steps": 1,
        "max_completion_length": 400,
    },
    **{name: {"max_completion_length": 24} for name in ("srl", "one_step", "rlvr")},
    "sft": {"per_device_train_batch_size": 2, "max_completion_length": 400},
    "scores": {
        "questions": 6,
        "gsm8k": 6,
        "step_tokens": 24,
        "answer_tokens": 24,
        "dtype": "float32",
    },
}


def resolved(size: Size, arm: str, folder: Path) -> list[tuple[Any, Any]]:
    """An arm's stages as ``srl_agent.train`` reads them: data and training settings."""
    from trl import ModelConfig

    from srl_agent.command_line import parse_stages
    from srl_agent.training.config import DataConfig, SRLConfig

    config = write_config(folder, size, arm)
    _, parsed = parse_stages(
        [DataConfig, SRLConfig, ModelConfig],
        "quickstart",
        ["--config", str(config), "--output_dir", str(folder), "--bf16", "false"],
    )
    return [settings[:2] for _, settings in parsed]


def test_every_arm_has_the_same_budget_and_is_what_it_is_called(tmp_path: Path) -> None:
    size = read_size("gpu", {})
    budget = size.steps * size.training["prompts_per_step"]
    found = {arm: resolved(size, arm, tmp_path) for arm in TRAINED}
    for arm, plan in found.items():
        assert sum(args.max_steps * args.prompts_per_step for _, args in plan) == budget, arm
        assert all(
            args.eval_strategy == "no" and not args.load_best_model_at_end for _, args in plan
        ), arm
    assert [(args.method, args.max_steps) for _, args in found["srl_then_rlvr"]] == [
        ("srl", size.steps // 2),
        ("rlvr", size.steps // 2),
    ]
    ((data, srl),) = found["srl"]
    assert (srl.method, srl.dynamic_sampling, data.steps) == ("srl", True, "each")
    assert found["srl_no_dynamic_sampling"][0][1].dynamic_sampling is False
    assert found["srl_one_step"][0][0].steps == "one"
    assert (found["sft"][0][1].method, found["sft"][0][1].sft_on, found["rlvr"][0][1].method) == (
        "sft",
        "solutions",
        "rlvr",
    )
    assert [args.sft_on for _, args in resolved(size, "warmup", tmp_path)] == ["solutions", "steps"]


@pytest.mark.parametrize(
    ("change", "message"), [({"steps": 3}, "must be even"), ({"seeds": 0}, "at least 1")]
)
def test_sizes_that_cannot_be(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_size("gpu", change)


def test_a_size_names_each_setting(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seeds: 1\nrollouts: 2\n")
    with pytest.raises(ConfigError, match=r"wrong or missing: .*rollouts"):
        read_size(str(tmp_path / "mine.yaml"), {})
    with pytest.raises(ConfigError, match="use tiny, gpu"):
        read_size("tpu", {})


def test_intervals_are_of_seeds_and_of_questions() -> None:
    constant = interval(np.full((3, 20), 0.25))
    assert constant == Interval(0.25, 0.25, 0.25, 60)
    seeds_differ = interval(np.repeat([[0.0], [1.0]], 50, axis=1))
    assert seeds_differ == Interval(0.5, 0.0, 1.0, 100)
    questions_differ = interval(np.tile([0.0, 1.0], (1, 50)))
    assert questions_differ is not None
    half = 1.96 * 0.5 / 100**0.5  # of the mean of 100 fair coins
    assert questions_differ.low == pytest.approx(0.5 - half, abs=0.015)
    assert questions_differ.high == pytest.approx(0.5 + half, abs=0.015)


def test_answers_without_a_value_are_left_out() -> None:
    found = interval(np.array([[1.0, np.nan, 3.0]]))
    assert found is not None and (found.value, found.count) == (2.0, 2)
    assert interval(np.full((2, 3), np.nan)) is None


def test_what_was_consumed_counts_each_step_once(tmp_path: Path) -> None:
    size = Size("model", **TINY)
    (run,) = stage_folders(tmp_path / "seed-0" / "rlvr", size, "rlvr")
    run.mkdir(parents=True)
    rows = [
        {"kind": "train", "step": step, "groups_kept": 3, "groups_dropped": 5, "groups_surplus": 0}
        for step in (1, 2, 2)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "seed-0" / "rlvr.json").write_text('{"stopped": true}')
    # The batch at which it stopped is logged nowhere: two rounds of two prompts.
    assert consumed(tmp_path, size, "rlvr", 0) == {
        "seed": 0,
        "steps": 2,
        "learned_from": 6,
        "drawn": 20,
        "dropped": 14,
        "stopped": True,
    }


@pytest.mark.slow
def test_a_killed_study_goes_on(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "gsm8k.jsonl").write_text(
        "".join(
            json.dumps({"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"}) + "\n"
            for n in range(8)
        )
    )
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({"model_name_or_path": str(tiny_model_dir), **TINY})
    )
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "benchmarks.study",
        "--size",
        str(tmp_path / "tiny.yaml"),
        "--gsm8k",
        str(tmp_path / "gsm8k.jsonl"),
    ]
    command += ["--output_dir", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    study = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    while (
        not list((run / "seed-0").glob("srl/checkpoint-*/manifest.json")) and study.poll() is None
    ):
        time.sleep(0.05)
    study.send_signal(signal.SIGTERM)
    assert study.wait() == 130
    before = [json.loads(line) for line in (run / "children.jsonl").read_text().splitlines()]
    assert before[-1]["child"] == "seed 0, srl: training" and before[-1]["status"]

    assert (
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL).returncode
        == 0
    )
    after = [json.loads(line) for line in (run / "children.jsonl").read_text().splitlines()][
        len(before) :
    ]
    assert after[0]["child"] == "seed 0, srl: training" and not {
        row["child"] for row in before[:-1]
    } & {row["child"] for row in after}
    assert "resuming from" in (run / "seed-0" / "srl.log").read_text()

    results = json.loads((run / "results.json").read_text())
    assert set(results["scores"]["srl"]) == {
        "step_reward",
        "format_rate",
        "similarity",
        "builtin_accuracy",
        "gsm8k_accuracy",
    }
    assert results["interrupted"] == 1
    assert results["consumed"]["rlvr"][0]["stopped"]  # a random model solves nothing
    words = findings(results, MEASURES)
    assert (run / "findings.md").read_text() == words + "\n" and "RLVR stopped" in words
    assert (run / "table.md").read_text() == table(results, MEASURES) + "\n"
    for row in results["differences"]:
        row |= {"value": 0.2, "low": 0.0 if row["measure"] == "similarity" else 0.1, "high": 0.3}
    assert "more steps in the format" in findings(results, MEASURES)
    for row in results["differences"]:
        row["low"] = 0.1
    assert "more steps in the format" not in findings(results, MEASURES)
    assert (run / "plot.png").stat().st_size > 10_000
    assert (run / "table.md").read_text().count("\n") == 10
    assert (
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL).returncode
        == 0
    )  # nothing is left to do

"""Stages one after another: from the best checkpoint before, in folders of their own, gone on
with where they were left.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from test_train import arguments, environment

from srl_agent.command_line import read_config
from srl_agent.evaluate import main as evaluate_main
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.train import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """SRL, then SFT on steps (whose answers a random model can give too) in another precision."""
    for name, settings in {
        "first": {"method": "srl", "bf16": True},
        "second": {"method": "sft", "sft_on": "steps", "bf16": False},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    curriculum = tmp_path / "both.yaml"
    curriculum.write_text(
        yaml.safe_dump(
            {
                "stages": [str(tmp_path / "first.yaml"), str(tmp_path / "second.yaml")],
                "max_steps": 1,
            }
        )
    )
    return curriculum


def flags(config: Path, model: Path, run: Path, **over: object) -> list[str]:
    settings = arguments(
        model,
        run,
        config=config,
        prompts_per_step=4,
        max_completion_length=150,
        use_cpu="true",
        disable_tqdm="true",
        **over,
    )
    for name in {"max_steps", "bf16"} - set(over):  # what the configs say
        place = settings.index(f"--{name}")
        del settings[place : place + 2]
    return settings


def test_stages_follow_each_other_and_finished_ones_are_passed_over(
    config: Path, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(flags(config, tiny_model_dir, run)) == 0
    first, second = run / "1-first", run / "2-second"
    assert yaml.safe_load((second / "config.yaml").read_text())["model_name_or_path"] == str(
        first / "final"
    )
    assert (second / "final" / "model.safetensors").is_file()
    assert main(flags(config, tiny_model_dir, run)) == 1
    assert "holds a finished curriculum" in capfd.readouterr().err

    weights = (second / "final" / "model.safetensors").read_bytes()
    shutil.rmtree(second)
    before = (first / "metrics.jsonl").read_bytes()
    assert main(flags(config, tiny_model_dir, run)) == 0
    assert f"finished before: {first}" in capfd.readouterr().err
    assert (first / "metrics.jsonl").read_bytes() == before and (
        second / "final" / "model.safetensors"
    ).read_bytes() == weights

    shutil.rmtree(second)
    assert main(flags(config, tiny_model_dir, run, seed=7)) == 1
    assert "1-first holds a run with other settings (seed was " in capfd.readouterr().err


def killed_when(path: Path, command: list[str]) -> None:
    """Run the command, and kill it as soon as there is such a file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "srl_agent.train", *command],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not path.is_file():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_in_both_stages_and_between_them_it_comes_to_the_same_model(
    config: Path, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights, losses and the held-out answers of both stages are those of a curriculum that
    nobody disturbed.
    """
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"max_steps": 3}))
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main(flags(config, tiny_model_dir, whole)) == 0
    command = flags(config, tiny_model_dir, run)
    for done in (
        "1-first/checkpoint-1/manifest.json",
        "1-first/summary.json",
        "2-second/samples/base-0.jsonl",
        "2-second/checkpoint-2/manifest.json",
    ):
        killed_when(run / done, command)
    capfd.readouterr()
    assert main(command) == 0
    output = capfd.readouterr().err
    assert (
        f"finished before: {run / '1-first'}" in output
        and f"resuming from {run / '2-second' / 'checkpoint-'}" in output
    )
    for path in ("1-first/final/model.safetensors", "2-second/final/model.safetensors"):
        assert (run / path).read_bytes() == (whole / path).read_bytes(), path
    for path in sorted(whole.rglob("samples/*.jsonl")):
        assert (run / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def test_one_that_was_moved_goes_on(
    config: Path, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere" / "run"
    assert main(flags(config, tiny_model_dir, tmp_path / "run")) == 0
    moved.parent.mkdir()
    (tmp_path / "run").rename(moved)
    second = moved / "2-second"
    weights = (second / "final" / "model.safetensors").read_bytes()
    for done in ("summary.json", "report.html"):
        (second / done).unlink()
    shutil.rmtree(second / "final")

    other = shutil.copytree(tiny_model_dir, tmp_path / "other")
    assert main(flags(config, other, moved)) == 1
    assert (
        "1-first holds a run with other settings (model_name_or_path was " in capfd.readouterr().err
    )

    assert main(flags(config, tiny_model_dir, moved)) == 0
    assert f"resuming from {second / 'checkpoint-1'}" in capfd.readouterr().err
    assert (second / "final" / "model.safetensors").read_bytes() == weights
    assert yaml.safe_load((second / "config.yaml").read_text())["model_name_or_path"] == str(
        moved / "1-first" / "final"
    )


def completions(path: Path) -> list[str]:
    return [
        json.loads(line)["completion"]
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]


def test_with_lora_each_stage_starts_from_the_adapter_before(
    config: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    lora = {
        "use_peft": "true",
        "lora_target_modules": "all-linear",
        "learning_rate": 0.05,
        "bf16": "false",
    }
    assert main(flags(config, tiny_model_dir, run, **lora)) == 0
    first, second = run / "1-first", run / "2-second"
    base, trained = (
        completions(first / "samples" / "base-0.jsonl"),
        completions(first / "samples" / "srl-1.jsonl"),
    )
    assert base != trained == completions(second / "samples" / "base-0.jsonl")
    assert not (second / "final" / "model.safetensors").exists(), (
        "an adapter is saved, not the model"
    )
    assert json.loads((second / "final" / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(first / "final")
    weights = [
        load_model_and_tokenizer(str(folder), dtype="float32")[0].state_dict()
        for folder in (tiny_model_dir, first / "final", second / "final")
    ]
    names = [name for name in weights[0] if name.endswith("q_proj.weight")]
    assert all(set(state) == set(weights[0]) for state in weights), (
        "merged: no layer is the adapter's"
    )
    for before, after in pairwise(weights):
        assert names and all(not (before[name] == after[name]).all() for name in names)


def test_a_later_stage_that_was_begun_with_other_settings_is_told_before_anything_is_trained(
    config: Path, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(flags(config, tiny_model_dir, run)) == 0
    shutil.rmtree(run / "1-first")
    (run / "2-second" / "report.html").unlink()
    second = tmp_path / "second.yaml"
    second.write_text(second.read_text().replace("steps", "solutions"))
    assert main(flags(config, tiny_model_dir, run)) == 1
    error = capfd.readouterr().err
    assert (
        "2-second holds a run with other settings (sft_on was " in error
        and f"Or delete {run / '2-second'}" in error
    )
    assert not (run / "1-first").exists()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("srl_math_7b", "it must be a list of configs"),
        ([], "it must be a list of configs"),
        (["srl_math_8b"], "There is no config 'srl_math_8b'"),
        (
            ["srl_then_rlvr_math_7b"],
            "srl_then_rlvr_math_7b does not fit here, since it sets stages",
        ),
    ],
)
def test_stages_that_cannot_be_used(
    stages: object, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"stages": stages}))
    assert main(["--config", str(config), "--output_dir", str(tmp_path / "run")]) == 1
    assert message in capfd.readouterr().err


def test_a_checkpoint_to_start_from_has_no_place_in_a_curriculum(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "--config",
                "srl_then_rlvr_math_7b",
                "--bf16",
                "false",
                "--resume_from_checkpoint",
                "runs/mine",
                "--output_dir",
                str(tmp_path / "run"),
            ]
        )
        == 1
    )
    assert "resume_from_checkpoint does not go with a curriculum" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["srl_then_rlvr_math_7b", "sft_then_rlvr_math_7b"])
def test_named_curricula_hold_named_configs(name: str) -> None:
    assert [
        read_config(stage).get("method", "srl") for stage in read_config(name)["stages"]
    ] == name.split("_")[:3:2]


@pytest.mark.parametrize(
    ("command", "config"),
    [
        (evaluate_main, ["agent", "--config", "agent_quickstart"]),
        (evaluate_main, ["math", "--config", "evaluate_agent"]),
        (main, ["--config", "evaluate_math"]),
    ],
)
def test_a_command_offers_only_configs_that_it_takes(
    command: Callable[[list[str]], int], config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(config)
    error = capsys.readouterr().err
    assert f"{config[-1]} does not fit here" in error
    with suppress(SystemExit):
        command([*config[:-2], "--help"])
    offered = re.search(r"Named config \(([^)]*)\)", capsys.readouterr().out)
    assert offered and config[-1] not in re.split(r",\s+", offered[1])

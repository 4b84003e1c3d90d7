"""Stages one after another: from the best checkpoint before, in folders of their own, gone on with where they were left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from test_train import arguments

from srl_agent.configuration import read_config
from srl_agent.train import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """SRL, then SFT on steps (whose answers a random model can give too)."""
    for name, settings in {"first": {"method": "srl"}, "second": {"method": "sft", "sft_on": "steps"}}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    curriculum = tmp_path / "both.yaml"
    curriculum.write_text(yaml.safe_dump({"stages": [str(tmp_path / "first.yaml"), str(tmp_path / "second.yaml")], "max_steps": 1}))
    return curriculum


def flags(config: Path, model: Path, run: Path, **over: object) -> list[str]:
    settings = arguments(model, run, config=config, prompts_per_step=4, max_completion_length=150, use_cpu="true", disable_tqdm="true", **over)
    place = settings.index("--max_steps")  # the curriculum says how many
    return settings[:place] + settings[place + 2 :]


def test_stages_follow_each_other_and_finished_ones_are_passed_over(
    config: Path, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(flags(config, tiny_model_dir, run)) == 0
    first, second = run / "1-first", run / "2-second"
    assert yaml.safe_load((second / "config.yaml").read_text())["model_name_or_path"] == str(first / "final")
    assert (second / "final" / "model.safetensors").is_file()
    assert main(flags(config, tiny_model_dir, run)) == 1
    assert "holds a finished curriculum" in capfd.readouterr().err

    weights = (second / "final" / "model.safetensors").read_bytes()
    shutil.rmtree(second)
    before = (first / "metrics.jsonl").read_bytes()
    assert main(flags(config, tiny_model_dir, run)) == 0
    assert f"finished before: {first}" in capfd.readouterr().out
    assert (first / "metrics.jsonl").read_bytes() == before and (second / "final" / "model.safetensors").read_bytes() == weights

    shutil.rmtree(second)
    assert main(flags(config, tiny_model_dir, run, seed=7)) == 1
    assert "1-first holds a run with other settings (seed)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("srl_math_7b", "it must be a list of configs"),
        ([], "it must be a list of configs"),
        (["srl_math_8b"], "There is no config 'srl_math_8b'"),
        (["srl_then_rlvr_math_7b"], "unknown setting 'stages'"),
    ],
)
def test_stages_that_cannot_be_used(stages: object, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"stages": stages}))
    assert main(["--config", str(config), "--output_dir", str(tmp_path / "run")]) == 1
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(("flag", "value"), [("use_peft", "true"), ("resume_from_checkpoint", "runs/mine")])
def test_settings_that_have_no_place_in_a_curriculum(flag: str, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "srl_then_rlvr_math_7b", "--bf16", "false", f"--{flag}", value, "--output_dir", str(tmp_path / "run")]) == 1
    assert f"{flag} has no place in a curriculum" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["srl_then_rlvr_math_7b", "sft_then_rlvr_math_7b"])
def test_named_curricula_hold_named_configs(name: str) -> None:
    assert [read_config(stage).get("method", "srl") for stage in read_config(name)["stages"]] == name.split("_")[:3:2]

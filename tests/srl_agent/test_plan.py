"""``srl_agent.plan``: what a run needs, and what is wrong with this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import Qwen2Config

from srl_agent.plan import main
from srl_agent.train import main as train
from srl_agent.training.forecast import Work, forecast, how_far_off, recorded_speed

QUICK_START = "benchmarks/results/quickstart_2cores"
FLAGS = [
    "--measure",
    "0",
    "--source",
    "builtin",
    "--count",
    "40",
    "--held_out",
    "4",
    "--bf16",
    "false",
]

NO_HUB = ["--source", "builtin", "--count", "800"]


@pytest.fixture
def flags(tiny_model_dir: Path, tmp_path: Path) -> list[str]:
    """The quick start on a tiny model and little data."""
    runs = ["--output_dir", str(tmp_path / "run")]
    return ["quickstart", *FLAGS, *runs, "--model_name_or_path", str(tiny_model_dir)]


def lines(text: str) -> dict[str, tuple[str, str]]:
    """About what, and what was found."""
    found = re.findall(r"^(ok|warning|fails) +(\w+) +(.*)$", text, re.MULTILINE)
    return {about: (state, said) for state, about, said in found}


def test_a_run_that_works_has_a_line_for_everything(
    flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(flags) == 0
    found = lines(capsys.readouterr().out)
    assert list(found) == [
        *("python", "packages", "device", "model", "template", "data", "lengths", "memory"),
        "disk",
    ]
    assert {state for state, _ in found.values()} == {"ok"}
    assert "a system message is taken; opens no think block" in found["template"][1]
    assert re.search(r"median \d+, longest \d+ tokens; answers up to 80", found["lengths"][1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "about", "said"),
    [
        (["--max_completion_length", "2040"], "lengths", "but the model has 2048|2048 positions"),
        (["--source", "nothing.jsonl"], "data", "nothing.jsonl"),
        (["--model_name_or_path", "./nowhere"], "model", "no folder './nowhere'"),
        (["--max_prompt_length", "10"], "lengths", "raise them"),
        (["--rollout_rows", "900000000", "--prompts_per_step", "100000000"], "memory", "lower --"),
    ],
)
def test_what_would_fail_says_so(
    flags: list[str],
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    about: str,
    said: str,
) -> None:
    status = main([*flags, *wrong])
    state, text = lines(capsys.readouterr().out)[about]
    assert re.search(said, text)
    assert (state, status) in (("fails", 1), ("warning", 0))
    assert (status == 0) == ("2040" in wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--gpu nonsense", "gpu is 'nonsense': use one of a10g"),
        ("--gpu inf", "gpu is 'inf'"),
        ("--gpus 1000000 --gpu h100", "gpus is 1000000: it must be from 1 to 16,384"),
        ("--gpus=abc", "argument --gpus: invalid int value: 'abc'"),
        ("--price inf", "price is inf"),
        ("--run nowhere", "run is 'nowhere': there is no such folder"),
        ("--like nowhere", "like is 'nowhere'"),
        ("--forecast nowhere/f.json", "its folder does not exist"),
    ],
)
def test_a_wrong_flag_is_refused_before_training_is_imported(wrong: str, said: str) -> None:
    code = (
        "import sys; from srl_agent.plan import main; status = main();"
        "sys.exit(9 if {'torch', 'transformers', 'trl'} & set(sys.modules) else status)"
    )
    command = [sys.executable, "-c", code, "quickstart", *wrong.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and said in done.stderr and not done.stdout


def test_more_gpus_than_rows_are_said_to_be_the_trouble(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--gpus", "1000", "--gpu", "h100"]) == 1
    state, text = lines(capsys.readouterr().out)["memory"]
    assert state == "fails" and re.search(r"the \d+ rows of a step must divide evenly", text)
    assert "lower per_device" not in text


def recorded_seconds() -> float:
    summary = Path(__file__).parents[2] / QUICK_START / "summary.json"
    return float(json.loads(summary.read_text())["seconds"]["total"])


def took() -> str:
    return f"took {recorded_seconds() / 60:.1f} minutes"


def test_a_forecast_is_measured_saved_and_held_against_the_run(
    flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "forecast.json"
    small = ["--max_completion_length", "16", "--prompts_per_step", "2", "--eval_instances", "4"]
    again = ["--measure", "2", "--price", "2", "--forecast", str(saved)]
    assert main([*flags, *small, *again]) == 0
    text = capsys.readouterr().out
    assert re.search(r"time .* an optimizer step; measured here in 1 steps of 16 rows", text)
    assert re.search(r"tokens +[\d.]+k sampled, [\d.]+k trained on", text)
    assert re.search(r"money +\d+\.\d\d \(", text)
    assert not (tmp_path / "run").exists()
    run = str(Path(__file__).parents[2] / QUICK_START)
    assert main(["--run", run, "--forecast", str(saved)]) == 0
    assert re.search(rf"{took()}: off by -\d+%", capsys.readouterr().out)


def test_a_recorded_run_gives_back_its_own_time() -> None:
    folder = Path(__file__).parents[2] / QUICK_START
    work = Work(50, 32, 140.0, 30.0, True, 3 * 48 + 3 * 96, 96, 3e9)
    whole = forecast(work, recorded_speed(folder, work))
    assert whole.seconds == pytest.approx(recorded_seconds(), rel=0.1)
    assert whole.low < whole.seconds < whole.high
    assert took() in how_far_off(whole, folder)


def test_a_gpus_figures_give_a_wide_range(
    capsys: pytest.CaptureFixture[str], tiny_model_dir: Path
) -> None:
    model = ["--model_name_or_path", str(tiny_model_dir), "--max_completion_length", "64"]
    assert main(["srl_math_7b", *NO_HUB, *model, "--gpus", "4", "--gpu", "h100"]) == 0
    assert "estimated from the GPU's figures, not measured" in capsys.readouterr().out


def test_a_dry_run_trains_one_micro_batch_and_leaves_nothing(
    flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = [flag for flag in flags[1:] if flag not in ("--measure", "0")]
    assert train(["--dry_run", *run]) == 0
    found = lines(capsys.readouterr().out)
    assert found["training"][1].startswith("1 steps of 16 rows") and not (tmp_path / "run").exists()
    assert train(["--dry_run", *run, "--model_name_or_path", "./nowhere"]) == 1
    found = lines(capsys.readouterr().out)
    assert found["model"][0] == "fails" and "training" not in found


def test_a_model_without_weights_or_template_fails(
    flags: list[str], capsys: pytest.CaptureFixture[str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "model.safetensors").unlink()
    assert main([*flags, "--model_name_or_path", str(folder)]) == 1
    assert "has no weights" in lines(capsys.readouterr().out)["model"][1]
    (folder / "chat_template.jinja").unlink()
    assert main([*flags, "--model_name_or_path", str(folder)]) == 1
    assert "no chat template" in lines(capsys.readouterr().out)["model"][1]


def test_set_ups_of_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srl_math_7b", *NO_HUB, "--gpus", "8", "--gpu", "h100"]) == 0
    text = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in (re.split(r"  +", line) for line in text.splitlines())}
    assert rows["DDP, our sampler"][-2:] == ["no", "none"]
    assert rows["FSDP2, our sampler"][-3:] == ["71.7", "yes", "16"]
    assert rows["FSDP2, a vLLM server on 2 of them"][-2] == "rows do not divide"
    assert "configs/accelerate/fsdp2.yaml --num_processes 8" in text
    assert lines(text)["model"][0] == "warning"


def test_what_fits_nowhere_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srl_math_7b", *NO_HUB, "--gpu", "24"]) == 1
    assert "fits in no shipped set-up" in capsys.readouterr().out
    assert main(["srl_math_7b", *NO_HUB, "--gpu", "a-gpu"]) == 1
    assert "use one of a10g" in capsys.readouterr().err


def test_a_lora_config_is_planned_without_vllm_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srl_math_7b_lora", *NO_HUB, "--gpu", "h100"]) == 0
    text = capsys.readouterr().out
    assert "fits as: LoRA, our sampler; LoRA, vLLM beside it" in text and "DDP" not in text
    assert "LoRA, vLLM beside it: as it is" in text
    assert "LoRA, our sampler: --use_vllm false\n" in text
    assert main(["srl_math_7b_lora", *NO_HUB, "--gpu", "h100", "--use_vllm", "false"]) == 0
    assert lines(text)["packages"][0] in ("ok", "warning")


def test_every_stage_of_a_curriculum_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srl_then_rlvr_math_7b", *NO_HUB, "--gpus", "8", "--gpu", "h200"]) == 0
    text = capsys.readouterr().out
    assert "stage srl_math_7b" in text and "stage rlvr_math_7b" in text


def test_a_model_of_another_size_is_read_from_its_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model_dir: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model_dir / name, tmp_path)
    Qwen2Config(num_key_value_heads=2, num_hidden_layers=48).save_pretrained(tmp_path)
    flags = ["--model_name_or_path", str(tmp_path), "--gpus", "2", "--gpu", "a100"]
    assert main(["srl_math_7b", *NO_HUB, *flags]) == 0
    text = capsys.readouterr().out
    assert re.search("fits as: .*LoRA, vLLM beside it", text) and "FSDP2, our sampler" in text


def test_the_quick_starts_settings_never_apply_silently(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [flag for flag in flags[1:] if flag not in ("--measure", "0")]
    train(["--dry_run", *own, "--max_completion_length", "16"])
    said = capsys.readouterr().err
    assert "warning: without --config, these apply" in said and "quick start source" not in said
    assert "format_warmup_steps 0 (" in said and "max_completion_length" not in said
    train(["--dry_run", *own, "--config", "quickstart"])
    assert "without --config" not in capsys.readouterr().err

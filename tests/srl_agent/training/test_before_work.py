"""What cannot work is refused in one line, before any model answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_train import arguments
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CTRLConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    MptConfig,
    OPTConfig,
    PreTrainedConfig,
)
from trl import ModelConfig

from srl_agent.train import main
from srl_agent.training.checks import check_adapter
from srl_agent.training.prompt_length import positions_of
from srl_envs.errors import ConfigError

SMALL = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def refused(flags: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with, before any model answered."""
    assert main(flags) == 1
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in error and "held-out" not in error.replace(line, "")
    return line


def gpt2(tiny_model_dir: Path, folder: Path, positions: int) -> Path:
    """A tiny model with learned positions and the tiny model's tokenizer."""
    config = GPT2Config(n_positions=positions, n_embd=32, n_layer=1, n_head=2, **SMALL)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (GPT2Config(n_positions=64, n_embd=32, n_layer=1, n_head=2, **SMALL), (64, True)),
        (
            OPTConfig(
                max_position_embeddings=64,
                hidden_size=32,
                ffn_dim=32,
                word_embed_proj_dim=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                **SMALL,
            ),
            (64, True),
        ),
        (
            GPTJConfig(n_positions=64, n_embd=32, n_layer=1, n_head=2, rotary_dim=8, **SMALL),
            (64, True),
        ),
        (CTRLConfig(n_positions=64, n_embd=32, dff=32, n_layer=1, n_head=2, **SMALL), (64, True)),
        (
            LlamaConfig(
                max_position_embeddings=64,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                **SMALL,
            ),
            (64, False),
        ),
        (MptConfig(d_model=32, n_heads=2, n_layers=1, vocab_size=400), (None, False)),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_the_positions_of_a_model(config: PreTrainedConfig, found: tuple[int | None, bool]) -> None:
    assert positions_of(AutoModelForCausalLM.from_config(config)) == found


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"method": "rlvr"},
        {"method": "sft", "prompts_per_step": 8, "max_completion_length": 200},
        {"max_prompt_length": 250},
    ],
    ids=str,
)
def test_learned_positions_that_do_not_suffice(
    over: dict[str, object],
    tiny_model_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = gpt2(tiny_model_dir, tmp_path / "model", 120)
    line = refused(arguments(model, tmp_path / "run", **over), capfd)
    assert "the model has 120 positions: lower --max_completion_length" in line


def test_learned_positions_that_suffice(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = gpt2(tiny_model_dir, tmp_path / "model", 2048)
    assert main(arguments(model, tmp_path / "run", max_steps=1, disable_tqdm="true")) == 0


@pytest.mark.parametrize("method", ["srl", "rlvr", "sft"])
def test_a_prompt_length_that_nothing_fits(
    method: str, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = arguments(
        tiny_model_dir, tmp_path / "run", method=method, max_prompt_length=30, prompts_per_step=4
    )
    assert "training examples fit into max_prompt_length = 30" in refused(flags, capfd)


def test_answers_that_are_all_too_long_to_learn(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = arguments(
        tiny_model_dir, tmp_path / "run", method="sft", max_completion_length=2, prompts_per_step=4
    )
    assert "0 of 150 training examples fit" in refused(flags, capfd)


@pytest.mark.parametrize("method", ["srl", "rlvr"])
def test_fewer_examples_than_a_batch(
    method: str, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = arguments(
        tiny_model_dir, tmp_path / "run", method=method, limit=1, targets="all", prompts_per_step=8
    )
    assert "fewer than the 8 prompts of a batch" in refused(flags, capfd)


def test_supervised_learning_of_fewer_examples_than_a_batch(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    over = {"method": "sft", "limit": 1, "prompts_per_step": 8, "max_completion_length": 400}
    run = tmp_path / "run"
    assert main(arguments(tiny_model_dir, run, **over, max_steps=2, disable_tqdm="true")) == 0
    assert (run / "summary.json").is_file()


@pytest.mark.parametrize("name", ["save_only_model", "ignore_data_skip"])
def test_what_would_resume_to_another_model(
    name: str, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(arguments(tiny_model_dir, tmp_path / "run", **{name: "true"}), capfd)
    assert f"{name} is True: it must be false" in line


@pytest.mark.parametrize("targets", [["nonsense"], ["q_proj", "k_proj"], ["all-linear"], None])
def test_modules_that_an_adapter_changes(targets: list[str] | None, tiny_model: Any) -> None:
    config = ModelConfig(use_peft=True, lora_target_modules=targets)
    if targets != ["nonsense"]:
        check_adapter(config, tiny_model)
        return
    with pytest.raises(ConfigError, match=r"lora_target_modules is .* such as .*k_proj.*q_proj"):
        check_adapter(config, tiny_model)


def test_an_output_folder_that_cannot_be_made(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    line = refused(arguments(tiny_model_dir, tmp_path / "file" / "run"), capfd)
    assert str(tmp_path / "file") in line


def test_a_launcher_gets_the_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """torchrun prints it last, after its own traceback."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    line = refused(["--loss_type", "none"], capfd)
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=str(file))
    shown = ChildFailedError("srl_agent.train", {0: failure}).format_msg()
    assert shown.splitlines()[-2] == f"  traceback : {line}"

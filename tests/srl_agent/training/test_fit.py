"""What cannot fit is refused before a model is loaded; the set-ups and their page are true."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import Qwen2Config
from trl import ModelConfig, get_peft_config

from srl_agent.command_line import parse, read_config
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.fit import check_fits, check_memory, load_of
from srl_agent.training.memory import GIB, RESERVE, Load, Shape, plan
from srl_envs.errors import ConfigError

ROOT = Path(__file__).parents[3]
SET_UPS = ROOT / "srl_agent" / "configs" / "accelerate"
SEVEN = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152_064,
    tie_word_embeddings=False,
)
ROOM = 79 * GIB
FLAGS = ["--bf16", "false", "--use_vllm", "false", "--vllm_enable_sleep_mode", "false"]


def planned(config: str, folder: Path, **changes: Any) -> tuple[Shape, Load]:
    """A named config as its run plans it on GPUs in bf16, with changes to the load."""
    flags = ["--config", config, "--output_dir", str(folder), *FLAGS]
    _, (_, args, model) = parse([DataConfig, SRLConfig, ModelConfig], "quickstart", flags)
    load = load_of(args, model, ROOM)
    settings = {name: getattr(load, name) for name in Load.__dataclass_fields__}
    return Shape.of(SEVEN, get_peft_config(model)), Load(**{**settings, "bf16": True, **changes})


@pytest.mark.parametrize("config", ["srl_math_7b", "srl_swe_7b", "rlvr_math_7b", "sft_math_7b"])
def test_full_fine_tuning_of_7b_is_refused_on_one_gpu(config: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_fits(*planned(config, tmp_path), ROOM)
    text = str(error.value)
    assert "cannot fit on a GPU of 79 GiB" in text and "optimizer 56.7" in text
    assert "--use_peft true" in text
    found = re.search(r"--config_file (\S+) --num_processes (\d+)", text)
    assert found is not None and (ROOT / found[1]).is_file()
    check_fits(
        *planned(config, tmp_path, sharding=Path(found[1]).stem, processes=int(found[2])), ROOM
    )


def test_only_set_ups_that_fit_are_named(tmp_path: Path) -> None:
    small = pytest.raises(ConfigError, match="What fits: use a smaller model, or GPUs with more")
    with small:
        check_fits(*planned("srl_math_7b", tmp_path), 23 * GIB)
    run = planned("srl_math_7b", tmp_path, rollout_rows=512)
    with pytest.raises(ConfigError, match=r"use fsdp2 on 4 GPUs.*mode server") as error:
        check_fits(*run, ROOM)
    found = re.search(r"--num_processes (\d+)", str(error.value))
    assert found is not None
    served = replace(run[1], sharding="fsdp2", processes=int(found[1]), sampling="server")
    assert plan(run[0], served).peak + RESERVE <= ROOM


def test_a_run_is_refused_from_the_config_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SEVEN.save_pretrained(tmp_path / "model")  # a configuration is all that is read
    flags = ["--config", "srl_math_7b", "--model_name_or_path", str(tmp_path / "model"), *FLAGS]
    _, (_, args, model) = parse([DataConfig, SRLConfig, ModelConfig], "quickstart", flags)
    check_memory(args, model)  # a CPU: nothing is refused
    monkeypatch.setattr(SRLConfig, "device", torch.device("cuda", 0))
    card = SimpleNamespace(total_memory=ROOM)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    with pytest.raises(ConfigError, match=r"cannot fit on a GPU of 79 GiB.*fsdp2.yaml"):
        check_memory(args, model)


def test_long_rows_that_may_not_fit_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    check_fits(*planned("srl_math_7b", tmp_path, sharding="fsdp2", processes=8), ROOM)
    assert not caplog.records
    check_fits(
        *planned("srl_math_7b", tmp_path, sharding="fsdp2", processes=8, rollout_rows=256), ROOM
    )
    assert "lower rollout_rows" in caplog.text
    caplog.clear()
    check_fits(*planned("srl_math_7b_lora", tmp_path, rows=64), ROOM)
    assert "lower per_device_train_batch_size" in caplog.text


def test_vllm_in_the_process_counts_unless_it_sleeps(tmp_path: Path) -> None:
    vllm = {"sampling": "vllm", "vllm": 60 * GIB}
    with pytest.raises(ConfigError, match="vLLM 60"):
        check_fits(*planned("srl_math_7b_lora", tmp_path, **vllm, processes=1), 70 * GIB)
    check_fits(*planned("srl_math_7b_lora", tmp_path, **vllm, vllm_sleeps=True), 79 * GIB)


PAGE = {
    "LoRA, vLLM beside it": ("_lora", {"sampling": "vllm", "vllm": 2 * ROOM // 5}),
    "FSDP2, a vLLM server on 2 GPUs": ("", {"sharding": "fsdp2", "sampling": "server"}),
    "FSDP2, vLLM beside it": (
        "",
        {"sharding": "fsdp2", "sampling": "vllm", "vllm": ROOM * 3 // 10},
    ),
    "FSDP2, our sampler": ("", {"sharding": "fsdp2"}),
    "ZeRO-3, our sampler": ("", {"sharding": "zero3"}),
    "ZeRO-2, our sampler": ("", {"sharding": "zero2"}),
    "DDP, our sampler": ("", {"sharding": "ddp"}),
}


def test_the_page_has_the_memory_of_each_set_up(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found = {row[0]: row[1:] for row in rows[1:]}
    assert set(found) == set(PAGE)
    for name, (ending, changes) in PAGE.items():
        processes = int(found[name][1])
        for config, said in zip(("srl_math_7b", "srl_swe_7b"), found[name][2:], strict=True):
            what = planned(
                config + ending, tmp_path, **changes, processes=processes, vllm_sleeps=True
            )
            assert round(plan(*what).peak / GIB) == int(said), (name, config)


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_set_ups_are_read_by_accelerate(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(SET_UPS / f"{name}.yaml"))
    assert config.mixed_precision == "bf16"
    assert yaml.safe_load((SET_UPS / f"{name}.yaml").read_text())["distributed_type"] in str(
        config.distributed_type
    )


def test_what_is_shipped_is_what_several_processes_are_tested_with() -> None:
    tested = sorted((Path(__file__).parent / "distributed").glob("*.yaml"))
    assert tested
    for path in tested:
        shipped = yaml.safe_load((SET_UPS / path.name).read_text())
        assert yaml.safe_load(path.read_text()) == shipped | {"mixed_precision": "no"}


@pytest.mark.parametrize("config", ["srl_math_7b", "srl_swe_7b"])
def test_the_lora_configs_differ_where_they_say(config: str) -> None:
    full, adapter = read_config(config), read_config(f"{config}_lora")
    changed = {name for name, value in full.items() if adapter.get(name) != value}
    assert changed <= {"learning_rate", "rollout_rows"}
    assert all(name.startswith(("lora_", "use_", "vllm_")) for name in set(adapter) - set(full))
    lengths = adapter["max_prompt_length"] + adapter["max_completion_length"]
    assert adapter["vllm_max_model_length"] == lengths


@pytest.mark.parametrize(
    ("flags", "longest", "prompt"),
    [([], None, 1024), ([], 190, 190), ([], 9000, 9000), (["--max_prompt_length", "80"], 190, 80)],
)
def test_a_plan_takes_the_longest_prompt_that_there_is(
    flags: list[str], longest: int | None, prompt: int, tmp_path: Path
) -> None:
    given = ["--config", "quickstart", "--output_dir", str(tmp_path), *FLAGS[:2], *flags]
    _, (_, args, model) = parse([DataConfig, SRLConfig, ModelConfig], "quickstart", given)
    assert load_of(args, model, ROOM, prompt=longest).prompt == prompt

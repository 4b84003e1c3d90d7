"""Without ``--config``: the quick start alone, or what fits a user's model and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import Qwen2Config
from trl import ModelConfig

from srl_agent.command_line import parse_stages
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.defaults import fitted
from srl_envs.errors import ConfigError

TYPES = [DataConfig, SRLConfig, ModelConfig]


def settings(arguments: list[str]) -> tuple[SRLConfig, str]:
    found, said = fitted([*arguments, "--use_cpu", "true"], TYPES)
    _, [(_, (_, args, _))] = parse_stages(TYPES, "quickstart", found)
    return args, said


def solutions(path: Path, words: int) -> list[str]:
    steps = [{"action": " ".join(["so"] * words)}, {"action": "\\boxed{1}"}]
    rows = [{"id": str(n), "prompt": f"{n}?", "answer": "1", "steps": steps} for n in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--source", str(path)]


@pytest.mark.parametrize("flags", [[], ["--max_steps", "3"], ["--config", "quickstart"]])
def test_the_quick_start_stays_what_it_is(flags: list[str], tiny_model_dir: Path) -> None:
    if "--config" in flags:
        flags = [*flags, "--model_name_or_path", str(tiny_model_dir)]
    assert fitted(flags, TYPES) == (flags, "")


def test_a_model_of_ones_own_is_not_warmed_up(tiny_model_dir: Path) -> None:
    own = ["--model_name_or_path", str(tiny_model_dir), "--count", "170"]
    args, said = settings(own)
    assert (args.format_warmup_steps, args.learning_rate) == (0, 3e-5)
    assert args.max_completion_length and args.max_completion_length > 80
    for name in ("format_warmup_steps 0 (", "learning_rate 3e-05 (", "max_completion_length "):
        assert name in said
    assert "from the quick start source builtin" in said and "eval_steps 25" in said
    args, said = settings([*own, "--format_warmup_steps", "2", "--max_completion_length=9"])
    assert (args.format_warmup_steps, args.max_completion_length) == (2, 9)
    assert "format_warmup_steps" not in said and "max_completion_length" not in said
    assert settings([*own, "--use_peft", "true"])[0].learning_rate == 3e-4


def test_the_rate_falls_from_the_quick_starts_to_the_papers(tmp_path: Path) -> None:
    for layers, rate in ((2, 1e-5), (28, 5e-7)):
        Qwen2Config(
            hidden_size=3584 if layers == 28 else 896,
            intermediate_size=18944 if layers == 28 else 4864,
            num_hidden_layers=layers,
            num_attention_heads=28 if layers == 28 else 14,
            num_key_value_heads=4 if layers == 28 else 2,
        ).save_pretrained(tmp_path)
        args, _ = settings(["--model_name_or_path", str(tmp_path)])
        assert args.learning_rate == pytest.approx(rate, rel=0.3)


def test_answers_have_room_for_the_data_and_fit_the_context(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    own = ["--model_name_or_path", str(tiny_model_dir)]
    short, long = (settings([*own, *solutions(tmp_path / "a.jsonl", n)])[0] for n in (5, 200))
    assert short.max_completion_length and long.max_completion_length
    assert long.max_completion_length >= short.max_completion_length + 300
    whole = settings([*own, *solutions(tmp_path / "a.jsonl", 5), "--method", "rlvr"])[0]
    assert whole.max_completion_length and whole.max_completion_length >= 1024
    copy = tmp_path / "model"
    copy.mkdir()
    for path in tiny_model_dir.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config["max_position_embeddings"] = 256
    (copy / "config.json").write_text(json.dumps(config))
    narrow, said = settings(
        ["--model_name_or_path", str(copy), *solutions(tmp_path / "a.jsonl", 5)]
    )
    assert narrow.max_completion_length and narrow.max_completion_length < 256
    assert "the model has 256 positions" in said


def test_what_cannot_be_read_is_left_to_the_run(tmp_path: Path) -> None:
    args, said = settings(["--model_name_or_path", str(tmp_path / "nowhere")])
    assert args.format_warmup_steps == 0 or "format_warmup_steps 12" in said
    with pytest.raises(ConfigError, match="did you mean learning_rate"):
        fitted(["--model_name_or_path", "x", "--learnin_rate", "1"], TYPES)

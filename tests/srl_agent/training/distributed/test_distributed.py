"""Several processes: DDP, FSDP2 and ZeRO give the same training, and models that load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from launching import job, launch, rows
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.slow

LORA = {"use_peft": "true", "lora_target_modules": "all-linear", "bf16": "true"}
SFT = {"method": "sft", "sft_on": "steps", "prompts_per_step": 4, "max_completion_length": 64}
WARM = {"format_warmup_steps": 1, "warmup_instances": 4}


def jobs(folder: Path, model: Path) -> list[dict[str, Any]]:
    return [
        job(folder / "srl", model, **WARM),
        job(folder / "resumed", model, killed=folder / "srl", **WARM),
        job(folder / "lora", model, **LORA),
        job(folder / "sft", model, **SFT),
    ]


@pytest.fixture(scope="module")
def ddp(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    launch(folder, "ddp.yaml", 2, *jobs(folder, tiny_model_dir))
    return folder


def assert_same_training(run: Path, ddp: Path, rtol: float = 1e-4) -> None:
    for kind in ("warmup", "train"):
        for row, expected in zip(rows(run, kind), rows(ddp / run.name, kind), strict=True):
            assert row["loss"] == pytest.approx(expected["loss"], rel=rtol, abs=1e-6)
            assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=rtol)
    answers = answers_of(run)
    assert answers and answers == answers_of(ddp / run.name)


def answers_of(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (run / "samples").iterdir()}


def assert_final_loads(run: Path, ddp: Path, atol: float = 2e-4) -> None:
    """With whole weights, equal to those of DDP."""
    model = AutoModelForCausalLM.from_pretrained(run / "final")
    expected = AutoModelForCausalLM.from_pretrained(ddp / run.name / "final")
    assert type(model) is type(expected)
    for (name, one), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=atol, msg=name)


def test_ddp_resumes_with_unequal_and_empty_shares(ddp: Path) -> None:
    assert rows(ddp / "resumed", "train")[1]["loss"] == rows(ddp / "srl", "train")[1]["loss"]
    assert [row["eval_answers"] for row in rows(ddp / "srl", "eval")] == [3, 3, 3]
    assert all(len(text.splitlines()) == 1 for text in answers_of(ddp / "srl").values())


def test_fsdp2_trains_as_ddp_does(ddp: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    log = launch(tmp_path, "fsdp2.yaml", 2, *jobs(tmp_path, tiny_model_dir))
    assert "this project's sampler: from a whole copy of the weights" in log
    assert (tmp_path / "srl" / "checkpoint-2" / "pytorch_model_fsdp_0").is_dir(), "it was sharded"
    for name in ("srl", "resumed", "sft"):
        assert_same_training(tmp_path / name, ddp)
        assert_final_loads(tmp_path / name, ddp)
    # Gradients are summed in bf16, where Adam may take a step of 1e-3 the other way.
    assert_same_training(tmp_path / "lora", ddp, rtol=0.05)
    assert_final_loads(tmp_path / "lora", ddp, atol=4e-3)

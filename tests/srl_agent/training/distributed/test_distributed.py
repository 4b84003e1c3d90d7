"""Several processes: DDP, FSDP2 and ZeRO give the same training, and models that load."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import HERE, environment, free_port, job, launch, rows
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


def test_three_processes_share_what_cannot_be_divided(tiny_model_dir: Path, tmp_path: Path) -> None:
    uneven = {"eval_instances": 4, "test_instances": 2, "prompts_per_step": 3, "max_steps": 1}
    launch(tmp_path, "ddp.yaml", 3, job(tmp_path / "run", tiny_model_dir, **uneven))
    assert [row["eval_answers"] for row in rows(tmp_path / "run", "eval")] == [4, 4]
    for text in answers_of(tmp_path / "run").values():
        assert len({json.loads(line)["instance_id"] for line in text.splitlines()}) == 2


def test_machines_that_do_not_share_the_folder_are_refused(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    for status, log in on_two_machines(tmp_path, tiny_model_dir, "run"):
        assert status != 0
        assert "run is not shared by all machines of this run: 1 of 2 processes, on" in log
        assert "base:" not in log, "it is refused before any work"
    shared = tmp_path / "shared"
    for status, log in on_two_machines(tmp_path, tiny_model_dir, str(shared), max_steps=1):
        assert status == 0, log[-3000:]
    AutoModelForCausalLM.from_pretrained(shared / "final")
    assert not list(shared.glob(".shared-*"))


def on_two_machines(
    folder: Path, model: Path, output_dir: str, **over: Any
) -> list[tuple[int, str]]:
    """Status and log of a process on each of two "machines" with working folders of their own."""
    port = str(free_port())
    machines = []
    for rank in ("0", "1"):
        here = folder / f"machine-{rank}"
        here.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
            *("--num_machines", "2", "--num_processes", "2", "--machine_rank", rank),
            *("--main_process_ip", "127.0.0.1", "--main_process_port", port),
            *("--rdzv_backend", "static", "-m", "srl_agent.train"),
            *job(Path(output_dir), model, **over)["flags"],
        ]
        machines.append(
            subprocess.Popen(
                command,
                cwd=here,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    logs = [machine.communicate(timeout=300)[0] for machine in machines]
    return [(machine.returncode, log) for machine, log in zip(machines, logs, strict=True)]


needs_deepspeed = pytest.mark.skipif(
    not find_spec("deepspeed"), reason="needs the package deepspeed (extra deepspeed)"
)


@needs_deepspeed
def test_zero3_trains_as_ddp_does(ddp: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    log = launch(tmp_path, "zero3.yaml", 2, *jobs(tmp_path, tiny_model_dir), DS_ACCELERATOR="cpu")
    assert "this project's sampler: from a whole copy of the weights" in log
    assert "its own logits are used" not in log
    assert list((tmp_path / "srl" / "checkpoint-2").glob("global_step2/*rank_1*optim_states.pt"))
    for name in ("srl", "resumed", "sft"):
        assert_same_training(tmp_path / name, ddp)
        assert_final_loads(tmp_path / name, ddp)
    assert_same_training(tmp_path / "lora", ddp, rtol=0.05)
    assert_final_loads(tmp_path / "lora", ddp, atol=4e-3)


@needs_deepspeed
def test_zero2_of_a_deepspeed_file_trains_as_ddp_does(
    ddp: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    zero2 = {"deepspeed": HERE / "zero2.json"}
    srl = job(tmp_path / "srl", tiny_model_dir, **WARM, **zero2)
    sft = job(tmp_path / "sft", tiny_model_dir, **SFT, **zero2)
    log = launch(tmp_path, "ddp.yaml", 2, srl, sft, DS_ACCELERATOR="cpu")
    assert "this project's sampler: each process has the whole weights" in log
    for name in ("srl", "sft"):
        assert (tmp_path / name / "checkpoint-2" / "global_step2").is_dir(), "DeepSpeed saved it"
        assert_same_training(tmp_path / name, ddp)
        assert_final_loads(tmp_path / name, ddp)

"""Several processes: DDP, FSDP2 and ZeRO give the same training, and models that load."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import HERE, environment, free_port, job, launch, rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from srl_envs.data.jsonl import save_trajectories
from srl_envs.prompts.problem import evaluation_messages
from srl_envs.trajectory import ExpertStep, Trajectory

pytestmark = pytest.mark.slow

LORA = {"use_peft": "true", "lora_target_modules": "all-linear", "bf16": "true"}
SFT = {"method": "sft", "sft_on": "steps", "prompts_per_step": 4, "max_completion_length": 64}
WARM = {"format_warmup_steps": 1, "warmup_instances": 4}


@pytest.fixture(scope="module")
def guessing(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of RLVR whose groups have spread: the model boxes one of three answers."""
    folder = tmp_path_factory.mktemp("guessing")
    problems = [
        Trajectory(str(number), f"Is {number} red?", (ExpertStep("No."),), answer="123"[number % 3])
        for number in range(170)
    ]
    save_trajectories(problems, folder / "problems.jsonl")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir, padding_side="left")
    optimizer, draw = torch.optim.AdamW(model.parameters(), lr=5e-3), random.Random(0)
    for _ in range(60):
        chats = [
            [
                *evaluation_messages(one.prompt),
                {"role": "assistant", "content": f"\\boxed{{{draw.choice('123')}}}"},
            ]
            for one in draw.sample(problems, 8)
        ]
        texts = tokenizer.apply_chat_template(chats, tokenize=False)
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        labels = batch.input_ids.clone()
        labels[:, :-10] = -100
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.eos_token_id = [0]
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    data = {"source": "jsonl", "dataset_path": folder / "problems.jsonl"}
    return {"method": "rlvr", "model_name_or_path": folder / "model", **data}


def jobs(folder: Path, model: Path, guessing: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [
        job(folder / "srl", model, **WARM, **more),
        job(folder / "resumed", model, killed=folder / "srl", **WARM, **more),
        job(folder / "lora", model, **LORA, **more),
        job(folder / "sft", model, **SFT, **more),
        job(folder / "rlvr", model, **guessing, **more),
    ]


@pytest.fixture(scope="module")
def ddp(
    tiny_model_dir: Path, guessing: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    launch(folder, "ddp.yaml", 2, *jobs(folder, tiny_model_dir, guessing))
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


def assert_as_ddp(folder: Path, ddp: Path) -> None:
    for run in ("srl", "resumed", "lora", "sft", "rlvr"):
        # LoRA's gradients are summed in bf16, where Adam may take a step of 1e-3 the other way.
        rtol, atol = (0.05, 4e-3) if run == "lora" else (1e-4, 2e-4)
        assert_same_training(folder / run, ddp, rtol)
        assert_final_loads(folder / run, ddp, atol)


def test_ddp_resumes_with_unequal_and_empty_shares(ddp: Path) -> None:
    assert rows(ddp / "resumed", "train")[1]["loss"] == rows(ddp / "srl", "train")[1]["loss"]
    assert [row["eval_answers"] for row in rows(ddp / "srl", "eval")] == [3, 3, 3]
    assert all(len(text.splitlines()) == 1 for text in answers_of(ddp / "srl").values())


def test_rlvr_learns_from_right_and_wrong_answers(ddp: Path) -> None:
    for row in rows(ddp / "rlvr", "train"):
        assert 0 < row["reward"] < 1 and row["grad_norm"] > 0.01


def test_fsdp2_trains_as_ddp_does(
    ddp: Path, tiny_model_dir: Path, guessing: dict[str, Any], tmp_path: Path
) -> None:
    log = launch(tmp_path, "fsdp2.yaml", 2, *jobs(tmp_path, tiny_model_dir, guessing))
    assert "this project's sampler: from a whole copy of the weights" in log
    assert (tmp_path / "srl" / "checkpoint-2" / "pytorch_model_fsdp_0").is_dir(), "it was sharded"
    assert_as_ddp(tmp_path, ddp)


def test_three_processes_share_what_cannot_be_divided(tiny_model_dir: Path, tmp_path: Path) -> None:
    uneven = {"eval_instances": 4, "test_instances": 2, "prompts_per_step": 3, "max_steps": 1}
    launch(tmp_path, "ddp.yaml", 3, job(tmp_path / "run", tiny_model_dir, **uneven))
    assert [row["eval_answers"] for row in rows(tmp_path / "run", "eval")] == [4, 4]
    for text in answers_of(tmp_path / "run").values():
        assert len({json.loads(line)["instance_id"] for line in text.splitlines()}) == 2


def test_two_machines_train_in_a_shared_folder_and_are_refused_without_one(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    plan = tmp_path / "jobs.json"
    own = job(Path("run"), tiny_model_dir)
    plan.write_text(json.dumps([job(shared, tiny_model_dir, max_steps=1), own]))
    for status, log in on_two_machines(tmp_path, plan):
        assert status != 0
        *_, last, _ = log.splitlines()
        assert last.startswith("  traceback : error: run is not shared by all machines of"), log
        assert "this run: 1 of 2 processes, on" in last
        assert log.count("base:") <= 1, "it is refused before any work"
    AutoModelForCausalLM.from_pretrained(shared / "final")
    assert not list(shared.glob(".shared-*"))


def on_two_machines(folder: Path, plan: Path) -> list[tuple[int, str]]:
    """Status and log of a process on each of two "machines" with working folders of their own."""
    port = str(free_port())
    machines = []
    for rank in ("0", "1"):
        here = folder / f"machine-{rank}"
        here.mkdir()
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
            *("--num_machines", "2", "--num_processes", "2", "--machine_rank", rank),
            *("--main_process_ip", "127.0.0.1", "--main_process_port", port),
            *("--rdzv_backend", "static", str(HERE / "worker.py"), str(plan)),
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
    logs = [machine.communicate()[0] for machine in machines]
    return [(machine.returncode, log) for machine, log in zip(machines, logs, strict=True)]


needs_deepspeed = pytest.mark.skipif(
    not find_spec("deepspeed"), reason="needs the package deepspeed (extra deepspeed)"
)


@needs_deepspeed
def test_zero3_trains_as_ddp_does(
    ddp: Path, tiny_model_dir: Path, guessing: dict[str, Any], tmp_path: Path
) -> None:
    planned = jobs(tmp_path, tiny_model_dir, guessing)
    log = launch(tmp_path, "zero3.yaml", 2, *planned, DS_ACCELERATOR="cpu")
    assert "this project's sampler: from a whole copy of the weights" in log
    assert "its own logits are used" not in log
    assert list((tmp_path / "srl" / "checkpoint-2").glob("global_step2/*rank_1*optim_states.pt"))
    assert_as_ddp(tmp_path, ddp)


@needs_deepspeed
def test_zero2_of_a_deepspeed_file_trains_as_ddp_does(
    ddp: Path, tiny_model_dir: Path, guessing: dict[str, Any], tmp_path: Path
) -> None:
    planned = jobs(tmp_path, tiny_model_dir, guessing, deepspeed=HERE / "zero2.json")
    log = launch(tmp_path, "ddp.yaml", 2, *planned, DS_ACCELERATOR="cpu")
    assert "this project's sampler: each process has the whole weights" in log
    assert list((tmp_path / "srl" / "checkpoint-2").glob("global_step2/*rank_1*optim_states.pt"))
    assert_as_ddp(tmp_path, ddp)

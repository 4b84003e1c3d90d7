"""The bfloat16 copy of a policy that is sampled from: as ``from_pretrained`` would load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from srl_agent.rollouts.rollout_model import RolloutModel

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "gemma3_text": {},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8},
}


@pytest.fixture(params=KINDS)
def policy(request: pytest.FixtureRequest) -> Any:
    config = AutoConfig.for_model(request.param, **SIZES, **KINDS[request.param])
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def assert_loaded_alike(copy: Any, policy: Any, folder: Path) -> None:
    policy.save_pretrained(folder)
    loaded = tensors(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16))
    mine = tensors(copy)
    assert mine.keys() == loaded.keys()
    for name, tensor in loaded.items():
        assert mine[name].dtype == tensor.dtype, name
        assert torch.equal(mine[name], tensor), name


def test_the_copy_is_as_from_pretrained_loads_it_and_follows_the_policy(
    policy: Any, tmp_path: Path
) -> None:
    rollout_model = RolloutModel(policy, True, "cpu")
    copy = rollout_model.at(0, policy)
    assert copy is not policy and not any(p.requires_grad for p in copy.parameters())
    assert_loaded_alike(copy, policy, tmp_path / "first")
    kept = {name: tensor.dtype for name, tensor in copy.named_buffers() if "inv_freq" in name}
    assert kept and set(kept.values()) == {torch.float32}
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.5)
    assert rollout_model.at(1, policy) is copy
    assert_loaded_alike(copy, policy, tmp_path / "second")
    with torch.no_grad():
        next(policy.parameters()).add_(0.5)
    rollout_model.outdate()
    rollout_model.at(1, policy)
    assert_loaded_alike(copy, policy, tmp_path / "third")


def test_a_released_copy_takes_no_memory_until_it_is_needed(policy: Any, tmp_path: Path) -> None:
    rollout_model = RolloutModel(policy, True, "cpu")
    copy = rollout_model.at(0, policy)
    rollout_model.release()
    assert sum(tensor.numel() for tensor in copy.parameters()) == 0
    assert rollout_model.at(0, policy) is copy
    assert_loaded_alike(copy, policy, tmp_path / "again")


def test_the_policy_itself_is_sampled_from_where_it_has_the_precision(tiny_model: Any) -> None:
    assert RolloutModel(tiny_model, False, "cpu").at(0, tiny_model) is tiny_model
    half = tiny_model.to(torch.bfloat16)
    assert RolloutModel(half, True, "cpu").at(0, half) is half


MEASURE = """
import threading, time, torch
from transformers import LlamaConfig, LlamaForCausalLM
from srl_agent.rollouts.rollout_model import RolloutModel
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
policy = LlamaForCausalLM(LlamaConfig(vocab_size=8000, hidden_size=1024, intermediate_size=2816,
    num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8))
weights = sum(4 * p.numel() for p in policy.parameters())
before, highest, done = resident(), [0], threading.Event()
def watch():
    while not done.is_set():
        highest[0] = max(highest[0], resident())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
copy = RolloutModel(policy, True, "cpu").at(0, policy)
done.set()
thread.join()
print((max(highest[0], resident()) - before) / weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_making_the_copy_takes_hardly_more_memory_than_the_copy() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0.4 < float(done.stdout) < 0.7, "of the policy's fp32 weights; the copy is 0.5"

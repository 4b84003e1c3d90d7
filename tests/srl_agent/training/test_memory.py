"""The memory formula beside counted bytes: real steps of small models, and of the 7B shape.

Bytes are counted operation by operation; the 7B model is real but for its numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from srl_agent.inference.sampling import SamplingSettings, sample
from srl_agent.training.memory import GIB, Load, Shape, plan
from srl_agent.training.trl.shared_prompt import completion_log_probs

sys.path.append(str(Path(__file__).parents[3]))
from benchmarks.peak_bytes import PeakBytes

pytestmark = pytest.mark.usefixtures("one_core")

WITHIN = 0.15


def config(**changes: int) -> Qwen2Config:
    sizes = {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    }
    return Qwen2Config(**sizes | changes, tie_word_embeddings=False)


SMALL = config()
LONG = config(hidden_size=64, intermediate_size=300, vocab_size=200)
SEVEN = config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152_064,
)
LORA = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")


def made(shape: Qwen2Config, load: Load, adapter: Any = None) -> Any:
    """A model as a run trains it, with gradients as from an earlier micro-batch."""
    torch.set_default_dtype(torch.bfloat16 if adapter and load.bf16 else torch.float32)
    try:
        model: Any = Qwen2ForCausalLM(shape)
    finally:
        torch.set_default_dtype(torch.float32)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    if adapter is not None:
        model = get_peft_model(model, adapter)
        model.enable_input_require_grads()
    if load.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def trained(model: Any, load: Load, *held: Any) -> int:
    """The peak of a micro-batch's forward and backward, with the state that is held."""
    length = load.prompt + load.completion
    ids = torch.ones(load.rows, length, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    labels = ids.clone()
    labels[:, : load.prompt] = -100
    with PeakBytes() as counted:
        counted.see(list(model.parameters()), list(model.buffers()), *held)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=load.bf16):
            output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        output.log_probs.sum().backward()
    return counted.peak


def training_peak(shape: Shape, load: Load) -> int:
    found = plan(shape, load)
    return max(found.total("forward"), found.total("backward"))


def stepped(model: Any) -> list[Any]:
    """Gradients and the optimizer's state after a first step."""
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trainable:
        weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW(trainable)
    optimizer.step()
    return [
        [weight.grad for weight in trainable],
        [list(s.values()) for s in optimizer.state.values()],
    ]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("sizes", "adapter", "rows", "prompt", "completion"),
    [
        (SMALL, None, 2, 96, 32),
        (SMALL, LORA, 2, 96, 32),
        (LONG, None, 2, 256, 256),
        (LONG, LORA, 1, 900, 60),
    ],
)
def test_a_training_step_takes_what_the_plan_says(
    sizes: Qwen2Config,
    adapter: Any,
    rows: int,
    prompt: int,
    completion: int,
    bf16: bool,
    checkpointing: bool,
) -> None:
    load = Load(
        rows=rows,
        prompt=prompt,
        completion=completion,
        bf16=bf16,
        checkpointing=checkpointing,
        sampling="server",
        triton=False,
    )
    model = made(sizes, load, adapter)
    found = trained(model, load, stepped(model))
    assert training_peak(Shape.of(sizes, adapter), load) == pytest.approx(found, rel=WITHIN)


@pytest.mark.parametrize("bf16", [False, True])
def test_rows_that_share_their_prompts_take_what_the_plan_says(bf16: bool) -> None:
    sizes = config(vocab_size=8000)
    load = Load(
        rows=8, group=4, prompt=150, completion=60, bf16=bf16, sampling="server", triton=False
    )
    model = made(sizes, load)
    held = stepped(model)
    ids = torch.ones(load.rows, load.prompt + load.completion, dtype=torch.long)
    ids[load.group :, 0] = 2  # another prompt
    with PeakBytes() as counted:
        counted.see(list(model.parameters()), list(model.buffers()), held)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            found, _ = completion_log_probs(model, ids, torch.ones_like(ids), load.completion)
        found.sum().backward()
    assert training_peak(Shape.of(sizes), load) == pytest.approx(counted.peak, rel=WITHIN)


@pytest.mark.slow
def test_a_step_of_the_7b_model_takes_what_the_plan_says() -> None:
    load = Load(
        rows=8,
        prompt=952,
        completion=2048,
        checkpointing=True,
        sampling="server",
        triton=False,
    )
    with FakeTensorMode(allow_non_fake_inputs=True):  # all of it but the numbers
        model = made(SEVEN, load)
        found = trained(model, load, stepped(model))
    shape = Shape.of(SEVEN)
    assert shape.parameters == 7_615_616_512
    assert training_peak(shape, load) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("rows", "group", "prompt", "completion", "vocabulary"),
    [(32, 4, 40, 40, 400), (8, 1, 300, 3, 400), (64, 4, 5, 10, 16_000)],
)
def test_our_sampler_takes_what_the_plan_says(
    bf16: bool, rows: int, group: int, prompt: int, completion: int, vocabulary: int
) -> None:
    sizes = config(vocab_size=vocabulary)
    model: Any = Qwen2ForCausalLM(sizes).to(torch.bfloat16 if bf16 else torch.float32)
    ends: dict[str, Any] = {"eos_token_ids": [-1], "pad_token_id": 0}
    sample(model, [[5, 6, 7]], 2, SamplingSettings(2), **ends)  # how it may be sampled is tried
    with PeakBytes() as counted, torch.no_grad():
        counted.see(list(model.parameters()), list(model.buffers()))
        before = counted.now
        settings = SamplingSettings(completion, max_rows=rows)
        sample(model, [[5] * prompt] * (rows // group), group, settings, **ends)
    load = Load(prompt=prompt, completion=completion, bf16=bf16, rollout_rows=rows, group=group)
    parts = plan(Shape.of(sizes), load).phases["sampling"]
    planned = sum(parts.values()) - parts["weights"] - parts["optimizer"] - parts["rollout copy"]
    assert planned == pytest.approx(counted.peak - before, rel=WITHIN)


@pytest.fixture
def eight_processes() -> Iterator[Any]:
    """A group of eight processes of which only this one is there: what it receives is not sent."""
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    yield init_device_mesh("cpu", (8,))
    destroy_process_group()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_fsdp2_takes_what_the_plan_says(
    eight_processes: Any, bf16: bool, checkpointing: bool
) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    sizes = config(vocab_size=2000)
    load = Load(
        sharding="fsdp2",
        processes=8,
        rows=2,
        prompt=192,
        completion=64,
        bf16=bf16,
        checkpointing=checkpointing,
        sampling="server",
        triton=False,
    )
    model = made(sizes, load)
    low = torch.bfloat16 if bf16 else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=low, output_dtype=low)
    for layer in model.model.layers:
        fully_shard(layer, mesh=eight_processes, mp_policy=policy)
    fully_shard(model, mesh=eight_processes, mp_policy=policy)
    held = stepped(model)
    parts = plan(Shape.of(sizes), load).phases["sampling"]
    state = sum(held_bytes(value) for value in [*model.parameters(), *tree_leaves(held[1])])
    assert parts["weights"] + parts["optimizer"] == pytest.approx(state, rel=0.01)
    found = trained(model, load, held)
    assert training_peak(Shape.of(sizes), load) == pytest.approx(found, rel=WITHIN)


def held_bytes(tensor: Any) -> int:
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return int(local.numel() * local.element_size())


@pytest.mark.parametrize("trains", ["all", "adapter"])
def test_the_state_is_counted_exactly(trains: str) -> None:
    adapter = LORA if trains == "adapter" else None
    model = made(SMALL, Load(), adapter)
    gradients, optimizer = stepped(model)
    parts = plan(Shape.of(SMALL, adapter), Load()).phases["backward"]
    assert parts["weights"] == sum(map(held_bytes, model.parameters()))
    assert parts["gradients"] == sum(map(held_bytes, gradients))
    # AdamW also counts its steps, in one number a tensor.
    assert parts["optimizer"] == sum(map(held_bytes, tree_leaves(optimizer))) - 4 * len(gradients)


def test_full_fine_tuning_of_7b_fits_no_80_gb_card_but_shared_by_eight() -> None:
    shape, work = Shape.of(SEVEN), {"rows": 8, "prompt": 1000, "completion": 2048}
    work["checkpointing"] = True
    alone = plan(shape, Load(processes=8, **work))
    shared = plan(shape, Load("fsdp2", processes=8, sampling="server", **work))
    adapter = plan(Shape.of(SEVEN, LORA), Load(**work))
    assert alone.peak > 150 * GIB
    assert shared.peak < 60 * GIB
    assert adapter.peak < 80 * GIB
    assert "GiB in" in alone.explain() and "weights 28.4" in alone.explain()

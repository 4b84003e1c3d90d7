"""Who writes completions, with which weights, and how many at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType

from srl_agent.training.config import SRLConfig
from srl_agent.training.trl.grpo import SRLTrainer
from srl_agent.training.trl.samplers import SampledBy, sampled_by
from srl_agent.training.trl.sharding import check_sharding
from srl_envs.data.procedural import generate
from srl_envs.errors import ConfigError
from srl_envs.instances import StepInstances


def settings(**over: Any) -> SimpleNamespace:
    given = {"use_vllm": False, "vllm_mode": "server", "fsdp": None, "fsdp_config": None}
    given |= {"use_transformers_continuous_batching": False, "ds3_gather_for_generation": True}
    return SimpleNamespace(**given | over)


@pytest.mark.parametrize(
    ("over", "zero_stage", "sharded", "who", "why"),
    [
        ({}, 0, False, SampledBy.OWN, "each process has the whole weights"),
        ({}, 2, False, SampledBy.OWN, "each process has the whole weights"),
        ({}, 0, True, SampledBy.OWN, "whole copy"),
        ({}, 3, True, SampledBy.OWN, "whole copy"),
        ({"use_vllm": True}, 3, True, SampledBy.VLLM, "server"),
        ({"ds3_gather_for_generation": False}, 3, True, SampledBy.TRL, "stay divided"),
        ({"ds3_gather_for_generation": False}, 2, False, SampledBy.OWN, "whole weights"),
        ({"use_transformers_continuous_batching": True}, 0, False, SampledBy.TRL, "continuous"),
    ],
)
def test_one_rule_says_who_samples_and_why(
    over: dict[str, Any], zero_stage: int, sharded: bool, who: SampledBy, why: str
) -> None:
    found, reason = sampled_by(settings(**over), zero_stage, sharded)
    assert found is who and why in reason


def test_fsdp_that_would_not_divide_anything_or_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpus = SimpleNamespace(distributed_type=DistributedType.MULTI_CPU)
    gpus = SimpleNamespace(distributed_type=DistributedType.MULTI_GPU)
    check_sharding(cpus, settings())
    check_sharding(gpus, settings(fsdp=True, fsdp_config={}))
    with pytest.raises(ConfigError, match="there is no GPU: accelerate would train whole copies"):
        check_sharding(cpus, settings(fsdp=True, fsdp_config={}))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP version is 1: only FSDP2 is supported"):
        check_sharding(gpus, settings())  # accelerate's own default
    monkeypatch.setenv("FSDP_VERSION", "2")
    check_sharding(gpus, settings())
    with pytest.raises(ConfigError, match="there is no GPU"):
        check_sharding(cpus, settings())


def test_trls_sampler_writes_no_more_rows_at_once_than_ours(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    args = SRLConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        require_think=False,
        num_generations=4,
        prompts_per_step=2,
        per_device_train_batch_size=4,
        max_completion_length=4,
        rollout_rows=5,
        report_to="none",
    )
    instances = StepInstances(generate(10), "all")
    run = SRLTrainer(tiny_model, args, instances, instances[:2], tiny_tokenizer)
    prompts = [run.chat(one.messages, run.scorer.format).ids for one in instances[:2]]
    run._complete(prompts, 1, (0,))  # the first time ways of writing are tried
    rows: list[int] = []
    tiny_model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    for run.sampled_by, rows_at_once in ((SampledBy.OWN, 4), (SampledBy.TRL, 5)):
        rows.clear()
        completions, _ = run._complete(prompts, 4, (0,))
        assert len(completions) == 8 and all(1 <= len(ids) <= 4 for ids in completions)
        assert max(rows) == rows_at_once

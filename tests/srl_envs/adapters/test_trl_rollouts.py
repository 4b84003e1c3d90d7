"""TRL's own trainer, with a tiny real model, plays episodes through ``rollout_func``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srl_envs.adapters.trl_rollouts import episode_reward, episode_rollouts
from srl_envs.export import main as export


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("trl") / "out"
    asked = ["--to", "trl", "--episodes", "true", "--held_out", "0", "--max_steps", "2"]
    assert export([*asked, "--count", "2", "builtin", str(out)]) == 0
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def test_a_step_of_grpo_on_episodes(
    rows: list[dict[str, Any]], tiny_model_dir: Path, tmp_path: Path, one_core: None
) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    seen: list[dict[str, Any]] = []
    rollouts = episode_rollouts(rows)

    def recorded(prompts: Any, trainer: Any) -> dict[str, Any]:
        seen.append(rollouts(prompts, trainer))
        return seen[-1]

    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=150,
        max_steps=1,
        bf16=False,
        use_cpu=True,
        report_to=[],
    )
    trainer = GRPOTrainer(
        str(tiny_model_dir),
        reward_funcs=episode_reward,
        args=args,
        train_dataset=Dataset.from_list(rows),
        rollout_func=recorded,
    )
    trainer.train()
    (played,) = seen
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    assert played["reward"] == [0.0, 0.0]
    for ids, mask in zip(played["completion_ids"], played["env_mask"], strict=True):
        assert len(ids) == len(mask) <= 150
        shown = tokenizer.decode([i for i, own in zip(ids, mask, strict=True) if not own])
        assert not shown or ("<|end|><|user|>" in shown and shown.endswith("<|end|><|assistant|>"))
        assert "truncated" not in shown or len(ids) == 150
    assert [one["reward"] for one in trainer.state.log_history if "reward" in one] == [0.0]

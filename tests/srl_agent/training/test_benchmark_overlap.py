"""A run says how many of its questions are in a benchmark, and leaves them out if asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.data import load_data
from srl_envs.errors import ConfigError

AIME = "Find the sum of all integer bases $b>9$ for which $17_{b}$ is a divisor of $97_{b}$."


def test_a_run_says_how_many_questions_are_in_a_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    questions = [f"How many is {i} and {i}?" for i in range(20)] + [AIME, f"Now: {AIME}"]
    path.write_text(
        json.dumps([{"problem": q, "solution": "1. Add.\n2. Say it."} for q in questions])
    )
    args = SRLConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True)
    options = {"source": "numbered", "dataset_path": str(path), "held_out": 4, "split_seed": 2}
    said = load_data(DataConfig(**options), args).summary
    assert "questions that are in a benchmark: 1 aime25, 1 aime25, in part" in said
    dropped = load_data(DataConfig(**options, drop_benchmark_overlap=True), args).summary
    assert "2 the question is in a benchmark" in dropped and "aime25" not in dropped
    with pytest.raises(ConfigError, match=r"revision is 'v1', but .* is a local copy"):
        load_data(DataConfig(**options, dataset_revision="v1"), args)
    with pytest.raises(ConfigError, match=r"config is 'main', but .* is a local copy"):
        load_data(DataConfig(**options, dataset_config="main"), args)

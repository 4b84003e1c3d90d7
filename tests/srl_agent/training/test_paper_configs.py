"""The configs of the paper have the values of its Tables 5 to 7, and say where each is from."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
import yaml

CONFIGS = resources.files("srl_agent") / "configs"
GRPO: dict[str, Any] = {
    "num_generations": 8,
    "temperature": 1.0,
    "learning_rate": 5e-7,
    "max_grad_norm": 1.0,
    "bf16": True,
    "lr_scheduler_type": "constant",
    "beta": 0.0,
    "loss_type": "grpo",
}
TABLES = {
    "srl": GRPO | {"prompts_per_step": 512},
    "rlvr": GRPO | {"prompts_per_step": 128},
    "sft": {
        **{"prompts_per_step": 64, "learning_rate": 5e-6, "lr_scheduler_type": "cosine"},
        **{"warmup_steps": 0.3, "num_train_epochs": 3, "bf16": True},
    },
}
NAMES = sorted(
    path.name
    for path in CONFIGS.iterdir()
    if "_7b" in path.name and not path.name.startswith("agent_") and "then" not in path.name
)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_the_tables_and_cites_it_or_says_why_not(name: str) -> None:
    text = (CONFIGS / name).read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    lines = text.splitlines()
    adapter = bool(settings.get("use_peft"))
    for key, value in TABLES[settings.get("method", "srl")].items():
        (number,) = (n for n, line in enumerate(lines) if line.startswith(f"{key}:"))
        comment = lines[number].partition("#")[2]
        if adapter and key == "learning_rate":
            assert settings[key] == pytest.approx(10 * value) and "not the paper's" in comment
            continue
        assert settings[key] == value, key
        assert any(word in comment for word in ("Table", "Eq. 1", "not given")), lines[number]
    epochs = settings["num_train_epochs"]
    assert epochs == {"sft": 3}.get(settings.get("method", ""), 1 if "_swe_" in name else 30)

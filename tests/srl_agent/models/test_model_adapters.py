"""Adapters are models: merged when they are loaded, one on top of another too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from srl_agent.models.loading import load_model_and_tokenizer
from srl_envs.errors import DataError


def with_random_adapter(base: Path, folder: Path) -> Any:
    """The model in a folder with an adapter that does something; the adapter alone is saved."""
    model, _ = load_model_and_tokenizer(str(base), dtype="float32")
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    adapted.save_pretrained(folder)
    return adapted.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=torch.arange(5, 45)[None]).logits
    return result


def test_an_adapter_on_top_of_an_adapter_is_loaded_as_it_was_trained(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    trained_first = with_random_adapter(tiny_model_dir, first)
    trained_second = with_random_adapter(first, second)
    assert json.loads((second / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(first)
    expected = {
        folder: logits(model)
        for folder, model in {first: trained_first, second: trained_second}.items()
    }
    assert not torch.allclose(expected[first], expected[second], atol=1e-2)
    for folder in (first, second):
        model, tokenizer = load_model_and_tokenizer(str(folder), dtype="float32")
        torch.testing.assert_close(logits(model.eval()), expected[folder], atol=1e-4, rtol=1e-4)
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert type(model).__name__ == "LlamaForCausalLM" and tokenizer.chat_template, (
            "the base model's tokenizer, where the adapter has none"
        )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("no base", "does not name the model"),
        ("base gone", "There is no folder"),
        ("no weights", "cannot be merged"),
        ("weights cut", "cannot be merged"),
        ("config cut", "does not name the model"),
        ("own base", "names the adapter itself"),
        ("unknown kind", "no peft_type that the installed peft knows"),
        ("of another model", "does not fit its base model: it has no weights for"),
        ("half", "does not fit its base model: it has no weights for"),
        ("fewer targets", "does not fit its base model: .* has no place in it"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_told(
    harm: str, message: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    with_random_adapter(tiny_model_dir, folder)
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if harm in ("no base", "base gone"):
        name = None if harm == "no base" else str(tmp_path / "gone")
        config.write_text(
            json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": name})
        )
    elif harm in ("own base", "unknown kind", "fewer targets"):
        change = {
            "own base": {"base_model_name_or_path": str(folder)},
            "unknown kind": {"peft_type": "NEW"},
            "fewer targets": {"target_modules": ["q_proj"]},
        }[harm]
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
    elif harm in ("of another model", "half"):
        tensors = load_file(weights)
        if harm == "half":
            tensors = {name: value for name, value in tensors.items() if "layers.1" not in name}
        else:
            tensors = {name.replace("model.layers", "h"): value for name, value in tensors.items()}
        save_file(tensors, weights)
    elif harm == "no weights":
        weights.unlink()
    elif harm == "weights cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        config.write_text(config.read_text()[:40])
    with pytest.raises(DataError, match=message) as error:
        load_model_and_tokenizer(str(folder), dtype="float32")
    assert "\n" not in str(error.value)


def test_an_adapter_that_changes_prompts_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    model, _ = load_model_and_tokenizer(str(tiny_model_dir), dtype="float32")
    settings = PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="PROMPT_TUNING, which changes prompts, not weights"):
        load_model_and_tokenizer(str(tmp_path), dtype="float32")


def test_adapters_in_a_circle_are_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    for own, other in (("a", "b"), ("b", "a")):
        with_random_adapter(tiny_model_dir, tmp_path / own)
        config = tmp_path / own / "adapter_config.json"
        named = json.loads(config.read_text()) | {"base_model_name_or_path": str(tmp_path / other)}
        config.write_text(json.dumps(named))
    with pytest.raises(DataError, match="names the adapter itself as its base model, or one"):
        load_model_and_tokenizer(str(tmp_path / "a"), dtype="float32")

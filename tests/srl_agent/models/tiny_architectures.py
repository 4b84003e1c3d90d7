"""A tiny model of each architecture that transformers offers for causal language modelling."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 96

_PARAMETERS = 8_000_000
"""A config that stays larger than this has sizes that are not shrunk here."""

_SIZES = {
    1: "n_shared_experts n_group topk_group mamba_n_groups",
    2: """num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers
        num_encoder_layers num_decoder_layers num_key_value_heads linear_num_key_heads
        num_experts_per_tok mamba_expand""",
    4: """num_attention_heads n_head n_heads num_heads decoder_attention_heads
        encoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads
        mamba_n_heads linear_num_value_heads num_experts num_local_experts n_routed_experts
        moe_num_experts time_step_rank mamba_dt_rank rotary_dim""",
    # Windows and chunks are shorter than the texts that are tried, so that they matter.
    8: """sliding_window sliding_window_size attention_window attention_chunk_size chunk_size
        mamba_chunk_size head_dim d_kv qk_rope_head_dim qk_nope_head_dim v_head_dim
        linear_head_dim dim_head linear_key_head_dim linear_value_head_dim index_head_dim
        state_size mamba_d_state hidden_size_per_layer_input patch_size num_mel_bins
        pronunciation_embed_dim shape_embed_dim""",
    16: """moe_intermediate_size shared_expert_intermediate_size moe_ffn_hidden_size
        expert_ffn_hidden_size q_lora_rank kv_lora_rank mamba_d_head image_size
        pronunciation_vocab_size shape_vocab_size""",
    32: "hidden_size n_embd d_model embedding_size word_embed_proj_dim lru_width embed_dim",
    48: """intermediate_size n_inner d_ff decoder_ffn_dim encoder_ffn_dim ffn_dim dim_ff
        ffn_hidden_size""",
    128: "max_position_embeddings n_positions n_ctx",
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
}
_SMALL: dict[str, Any] = {
    **{name: size for size, names in _SIZES.items() for name in names.split()},
    "pad_token_id": 0,
    "bos_token_id": 1,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
    "dropout": 0.0,
}

_MIXED = ["linear_attention", "full_attention"]
_CAUSAL = {"is_decoder": True}

_OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_types": _MIXED},
    "bamba": {"attn_layer_indices": [1]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 16, "moe_num_experts": 4},
    },
    "cohere_compass_text": {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
    "ernie4_5_moe": {"moe_k": 2},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "kimi_linear": {"layer_types": _MIXED},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1},
    "qwen3_5_moe_text": {"layer_types": _MIXED},
    "qwen3_5_text": {"layer_types": _MIXED},
    "qwen3_next": {"layer_types": _MIXED},
    "qwen4_exp_text": {"layer_types": ["linear_attention", "indexed_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        **_CAUSAL,
        "axial_pos_embds": False,
        "attention_head_size": 8,
        "feed_forward_size": 48,
    },
    "xlm": {"causal": True, "emb_dim": 32},
    "xmod": {**_CAUSAL, "default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
_READ_BOTH_WAYS = """bert bert-generation big_bird camembert data2vec-text electra ernie
    megatron-bert rembert roberta roberta-prelayernorm roc_bert roformer xlm-roberta
    xlm-roberta-xl"""
_OWN |= dict.fromkeys(_READ_BOTH_WAYS.split(), _CAUSAL)

_NOT_OURS = {
    "falcon": ["head_dim"],
    "gemma4_text": ["head_dim"],
    "prophetnet": ["num_hidden_layers"],
    "xlnet": ["max_position_embeddings"],
    "xlstm": ["v_head_dim"],
}
"""Names that a config has, but does not let one set."""


class CannotBuildError(Exception):
    """There is no tiny model of this architecture, with the reason."""


def architectures() -> list[str]:
    """One model type of each class of the mapping."""
    return list(
        {name: key for key, name in reversed(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items())}.values()
    )[::-1]


@functools.cache
def tiny_config(model_type: str) -> Any:
    """The architecture's default config with small sizes, those of its parts too."""
    config_class = CONFIG_MAPPING[model_type]
    default = config_class()
    settings: dict[str, Any] = {}
    for name, value in _SMALL.items():
        if name not in _NOT_OURS.get(model_type, ()) and name in dir(default):
            settings[name] = value
    if "kv_lora_rank" in settings:
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    for name in getattr(config_class, "sub_configs", None) or {}:
        part = getattr(default, name, None)
        if isinstance(part, PreTrainedConfig) and part.model_type in CONFIG_MAPPING:
            settings[name] = tiny_config(part.model_type).to_dict()
    return config_class(**{**settings, **_OWN.get(model_type, {})})


@functools.cache
def _tiny_weights(model_type: str) -> Any:
    try:
        config = tiny_config(model_type)
        with torch.device("meta"):
            parameters = sum(
                p.numel() for p in AutoModelForCausalLM.from_config(config).parameters()
            )
        if parameters > _PARAMETERS:
            return f"{parameters} parameters: its own sizes are not shrunk here"
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # fresh weights are so small that hardly anything changes the logits
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p.dtype))
            logits = model(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False).logits
        if logits.shape[:2] != (1, 3):
            return f"logits of shape {tuple(logits.shape)} for a text of three tokens"
    except Exception as error:  # whatever the library says of its own config
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return model


def tiny_architecture(model_type: str) -> Any:
    """A tiny model with lively random weights, in evaluation mode.

    Raises:
        CannotBuildError: With the reason.
    """
    model = _tiny_weights(model_type)
    if isinstance(model, str):
        raise CannotBuildError(f"{model_type}: {model}")
    return model

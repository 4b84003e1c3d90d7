"""How much memory of a GPU a run needs: the formula.

Weights, gradients and optimizer are counted from the model's parameters, exactly. What a
step adds (cache, activations, logits) follows from what a decoder's layer keeps for the
backward pass. A step has three phases, and the largest decides:

- **sampling**: the state, the copy that is sampled from, the cache of the completions
  that are written side by side, and their logits;
- **forward**: the state, what all layers keep, and the bf16 copies of the weights that
  autocast makes;
- **backward**: the state, the gradients, what all layers keep, and one tile of logits.

Lengths are the longest that a row may have. Tested against counted bytes of real steps
(``tests/srl_agent/training/test_memory.py``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

GIB = 2**30
RESERVE = 2 * GIB
"""Of a GPU, for CUDA's context, NCCL's buffers and what fragmentation wastes."""

Sharding = Literal["ddp", "zero2", "zero3", "fsdp2"]
Sampling = Literal["own", "vllm", "server"]

_TILE_TOKENS, _TILE_VOCABULARY = 4096, 32_768
"""TRL's LM head computes logits in tiles of so many tokens and entries of the vocabulary."""
_PREFILL_TOKENS = 8192  # srl_agent.inference.batches reads so many tokens of prompts at once
_BLOCK_TOKENS = 64  # and its cache grows by so many
_BUCKET = 500_000_000  # elements that DeepSpeed reduces at once, at least
_LIVE = 1_000_000_000  # parameters that ZeRO-3 keeps gathered at once, at most


@dataclass(frozen=True, slots=True)
class Shape:
    """What a decoder's memory depends on.

    Attributes:
        parameters: Of the whole model, an adapter's included.
        trainable: Of them, those that are trained.
        block: Parameters of the largest layer.
        outside: Parameters outside the layers: embeddings and LM head.
        layers: How many.
        hidden: Width of the hidden states.
        attention: Heads times their size.
        cache: Heads of keys (or values) times their size.
        intermediate: Width of the MLP, of all experts that a token goes through.
        vocabulary: Entries of the LM head.
        adapted: Widths of the inputs of a layer's modules that have an adapter, summed;
            None without adapters.
        dropout: Whether the adapters drop inputs.
    """

    parameters: int
    trainable: int
    block: int
    outside: int
    layers: int
    hidden: int
    attention: int
    cache: int
    intermediate: int
    vocabulary: int
    adapted: int | None = None
    dropout: bool = False

    @classmethod
    def of(cls, config: Any, adapter: Any = None) -> Shape:
        """The shape of a model that is not loaded.

        Args:
            config: Of transformers.
            adapter: PEFT's configuration of an adapter; None trains all weights.
        """
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        blocks = _blocks(model)
        block = max(map(_count, blocks))
        outside = _count(model) - sum(map(_count, blocks))
        adapted, trainable = None, _count(model)
        if adapter is not None:
            from peft import get_peft_model

            with warnings.catch_warnings():  # PEFT asks for a setting by its old name
                warnings.simplefilter("ignore", FutureWarning)
                model = get_peft_model(model, replace(adapter))
            layers = [module for module in model.modules() if hasattr(module, "lora_A")]
            adapted = sum(layer.in_features for layer in layers) // len(blocks)
            trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        text = config.get_text_config()
        heads = getattr(text, "num_attention_heads", None) or 1  # a state-space model has none
        size = getattr(text, "head_dim", None) or text.hidden_size // heads
        experts = getattr(text, "num_experts_per_tok", None) or 1
        width = getattr(text, "moe_intermediate_size", None) or getattr(
            text, "intermediate_size", 4 * text.hidden_size
        )
        return cls(
            parameters=_count(model),
            trainable=trainable,
            block=block,
            outside=outside,
            layers=len(blocks),
            hidden=text.hidden_size,
            attention=heads * size,
            cache=(getattr(text, "num_key_value_heads", None) or heads) * size,
            intermediate=width * experts,
            vocabulary=text.vocab_size,
            adapted=adapted,
            dropout=bool(getattr(adapter, "lora_dropout", 0)),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What is done with the model on one GPU.

    Attributes:
        sharding: ddp: each process has all; zero2, zero3, fsdp2: they share.
        processes: That train.
        rows: Of a micro-batch.
        prompt: Most tokens of a prompt.
        completion: Most tokens of a completion.
        group: Rows that share one computation of their prompt; 1 if none do.
        bf16: Whether training runs in bf16.
        bf16_weights: Whether weights that are trained are kept in bf16 too.
        checkpointing: Whether activations are computed again in the backward pass.
        sampling: own: our sampler, on the weights that are trained; vllm: in the same
            process; server: elsewhere.
        rollout_rows: Completions that our sampler writes side by side.
        reference: Whether a reference model is held (``beta``).
        vllm: Bytes that vLLM takes in the same process.
        vllm_sleeps: Whether it gives them back while the model trains.
        triton: Whether TRL's LM head has its kernel; without, it makes further copies of
            a tile, and computes it for prompts too.
    """

    sharding: Sharding = "ddp"
    processes: int = 1
    rows: int = 8
    prompt: int = 0
    completion: int = 0
    group: int = 1
    bf16: bool = True
    bf16_weights: bool = False
    checkpointing: bool = False
    sampling: Sampling = "own"
    rollout_rows: int = 128
    reference: bool = False
    vllm: int = 0
    vllm_sleeps: bool = False
    triton: bool = True


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on one GPU, by phase and part; see the module's text."""

    phases: dict[str, dict[str, int]]

    @property
    def phase(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=self.total)

    @property
    def peak(self) -> int:
        """Bytes of the phase that needs most."""
        return self.total(self.phase)

    def total(self, phase: str) -> int:
        """Bytes of a phase."""
        return sum(self.phases[phase].values())

    def explain(self) -> str:
        """The largest phase in words, its parts from the largest down."""
        parts = sorted(self.phases[self.phase].items(), key=lambda part: -part[1])
        named = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts if size >= GIB / 20)
        return f"{self.peak / GIB:.1f} GiB in {self.phase}: {named}"


def plan(shape: Shape, load: Load) -> MemoryPlan:
    """The memory of a training step on each GPU."""
    state = _state(shape, load)
    gradients = {"gradients": _gradients(shape, load)}
    kept = _kept(shape, load)
    awake = {"vLLM": load.vllm} if load.sampling == "vllm" else {}
    asleep = {} if load.vllm_sleeps else awake
    casts = 2 * (shape.parameters - shape.outside) if _casts(shape, load) else 0
    forward_casts = {"bf16 copies of weights": casts}
    backward_casts = {"bf16 copies of weights": 0 if load.checkpointing else casts}
    return MemoryPlan(
        {
            "sampling": {**state, **awake, **_sampling(shape, load)},
            "forward": {**state, **asleep, **gradients, **kept, **forward_casts},
            "backward": {
                **state,
                **asleep,
                **gradients,
                **kept,
                **backward_casts,
                **_backward(shape, load),
            },
        }
    )


# ---------------------------------------------------------------- state


def _state(shape: Shape, load: Load) -> dict[str, int]:
    """What a GPU holds all the time."""
    frozen, shares = shape.parameters - shape.trainable, load.processes
    low = 2 if load.bf16 else 4  # bytes of a number that needs no fp32
    deepspeed = load.sharding in ("zero2", "zero3")  # it keeps fp32 in its optimizer
    own = 2 if (load.bf16 and deepspeed) or load.bf16_weights else 4
    weights = own * shape.trainable + low * frozen
    optimizer = (12 if deepspeed else 2 * own) * shape.trainable
    if load.sharding != "ddp":
        optimizer //= shares
    gathered = 0
    if load.sharding == "fsdp2":
        weights //= shares
        gathered = low * (2 * shape.block + shape.outside)
    if load.sharding == "zero3":
        weights //= shares
        gathered = low * min(_LIVE, shape.parameters)
    parts = {"weights": weights, "optimizer": optimizer}
    parts |= {"reference model": weights} if load.reference else {}
    return parts | ({"gathered weights": gathered} if gathered else {})


def _gradients(shape: Shape, load: Load) -> int:
    low = 2 if load.bf16 else 4
    if load.sharding == "ddp":
        copies = 2 if load.processes > 1 else 1  # DDP's buckets
        return copies * (2 if load.bf16_weights else 4) * shape.trainable
    if load.sharding == "fsdp2":
        return 4 * shape.trainable // load.processes + low * (2 * shape.block + shape.outside)
    return low * shape.trainable // load.processes + low * min(_BUCKET, shape.trainable)


# ---------------------------------------------------------------- a step


def _sampling(shape: Shape, load: Load) -> dict[str, int]:
    """What our sampler needs: a copy of the weights, and a cache.

    While it reads prompts, or at the last token.
    """
    if load.sampling != "own" or not load.completion:
        return {}
    low, rows = 2 if load.bf16 else 4, load.rollout_rows
    # A sharded model is gathered whole; one in fp32 is converted.
    copied = load.sharding in ("zero3", "fsdp2") or _casts(shape, load)
    copy = {"rollout copy": low * shape.parameters if copied else 0}
    token = 2 * low * shape.layers * shape.cache  # its keys and values
    prompts = max(1, rows // load.group)
    at_once = min(prompts, max(1, _PREFILL_TOKENS // max(1, load.prompt)))
    reading = at_once * load.prompt * low * (4 * shape.hidden + 3 * shape.intermediate)
    length = (load.prompt + load.completion) // _BLOCK_TOKENS * _BLOCK_TOKENS + _BLOCK_TOKENS
    # As the model gives them, in fp32, their softmax, and its sums.
    logits = rows * shape.vocabulary * (14 if load.bf16 else 12)
    growing = token * rows * length // shape.layers  # a layer's cache is copied when it grows
    if token * prompts * load.prompt + reading > token * rows * length + max(logits, growing):
        return {**copy, "cache": token * prompts * load.prompt, "reading prompts": reading}
    largest = {"logits": logits} if logits > growing else {"cache that grows": growing}
    return {**copy, "cache": token * rows * length, **largest}


def _casts(shape: Shape, load: Load) -> bool:
    """Whether autocast converts fp32 weights to bf16."""
    plain = shape.adapted is None and not load.bf16_weights
    return load.bf16 and plain and load.sharding == "ddp"


def _tokens(load: Load) -> int:
    """Of a micro-batch, as the layers compute them."""
    return load.rows * load.completion + -(-load.rows // load.group) * load.prompt


def _layer(shape: Shape, load: Load) -> int:
    """Bytes that one layer keeps of a micro-batch."""
    tokens, length = _tokens(load), load.prompt + load.completion
    low = 2 if load.bf16 else 4
    if shape.adapted is not None:
        # Frozen modules keep no input; an adapter keeps its own copy.
        inputs = shape.adapted * (low + (1 if shape.dropout else 0))
        width = 8 * shape.hidden + 4 * low * shape.attention + 3 * low * shape.intermediate + inputs
    elif _casts(shape, load):
        width = 26 * shape.hidden + 8 * shape.attention + 8 * shape.intermediate
    elif load.bf16:
        width = 16 * shape.hidden + 8 * shape.attention + 8 * shape.intermediate
    else:
        width = 24 * shape.hidden + 16 * shape.attention + 16 * shape.intermediate
    kept = tokens * width
    if load.group > 1:  # keys and values of a shared prompt, once for each row
        kept += 2 * low * load.rows * load.prompt * shape.attention
    queries = length if load.group == 1 else load.completion
    return kept + low * load.rows * queries * length  # the mask


def _kept(shape: Shape, load: Load) -> dict[str, int]:
    """What all layers keep for the backward pass."""
    tokens = _tokens(load)
    residual = 4 if _casts(shape, load) or not load.bf16 else 2
    each = residual * shape.hidden * tokens if load.checkpointing else _layer(shape, load)
    return {"activations": shape.layers * each + 12 * shape.hidden * tokens}


def _backward(shape: Shape, load: Load) -> dict[str, int]:
    """What the backward pass needs beyond that: at the LM head, or in a layer."""
    low = 2 if load.bf16 else 4
    whole = not load.triton and load.group == 1  # the head then sees the prompts too
    scored = load.rows * (load.completion + (load.prompt if whole else 0))
    tile = min(scored, _TILE_TOKENS) * _TILE_VOCABULARY * low
    if not load.triton:
        tile += min(scored, _TILE_TOKENS) * min(shape.vocabulary, _TILE_VOCABULARY) * 28
    head = tile + scored * shape.hidden * (4 + low)
    if shape.adapted is None:
        head += 4 * shape.vocabulary * shape.hidden if scored else 0
    layer = _layer(shape, load) if load.checkpointing else 0
    layer += _tokens(load) * (8 * shape.hidden + 2 * low * shape.intermediate)
    if layer > head:
        return {"one layer again" if load.checkpointing else "gradients of activations": layer}
    return {"LM head": head}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _blocks(model: Any) -> list[torch.nn.Module]:
    """The layers: the longest list of modules."""
    lists = [list(each) for each in model.modules() if isinstance(each, torch.nn.ModuleList)]
    return max(lists, key=len)

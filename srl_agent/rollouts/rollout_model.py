"""The policy as sampling needs it: whole on each process, and in the right precision."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import get_peft_model

from srl_agent.models.sharded import as_whole_models, is_sharded, whole_weights


class RolloutModel:
    """The policy itself, or a copy that follows its weights.

    Two kinds of policy are copied. Under bf16 training the policy keeps fp32 weights, which
    autocast would convert again at every token: the copy is in bfloat16. Under FSDP2 and
    ZeRO-3 a process has only a part of the weights, and would exchange all of them at every
    token: the copy is whole.

    The copy is made when something is first sampled, so that a run whose completions come
    from elsewhere has none.

    Args:
        policy: The model that is trained, before anything wraps, patches or divides it.
        bf16: Whether training runs in bf16, without an adapter.
        device: Where completions are written.
    """

    def __init__(self, policy: Any, bf16: bool, device: Any) -> None:
        self._class, self._bf16, self._device = type(policy), bf16, torch.device(device)
        self._base = _shapes(policy)
        self._shapes: dict[str, torch.Size] = {}
        self._copy: Any = None
        self._synchronized_at: int | None = None

    def at(self, step: int, policy: Any) -> Any:
        """The model to sample with at this optimizer step, holding the policy's present weights.

        Where weights are divided among processes, every process must call this.
        """
        if not self._needs_copy(policy):
            return policy.to(self._device)
        if self._copy is None:
            self._copy = self._without_weights(policy)
        if self._synchronized_at != step:
            tensors = self._tensors()
            for name, shape in self._shapes.items():
                if tensors[name].shape != shape:
                    tensors[name].data = tensors[name].new_empty(shape, device=self._device)
            for name, tensor in whole_weights(policy):
                tensors[name].data.copy_(tensor)
        self._synchronized_at = step
        return self._copy

    def outdate(self) -> None:
        """Say that the policy's weights were replaced without an optimizer step."""
        self._synchronized_at = None

    def release(self) -> None:
        """Free the copy's memory until something is sampled again."""
        if self._copy is not None:
            for tensor in self._tensors().values():
                tensor.data = tensor.new_empty(0)
        self._synchronized_at = None

    def _needs_copy(self, policy: Any) -> bool:
        if is_sharded(policy):
            return True
        in_fp32 = next(policy.parameters()).dtype == torch.float32
        return self._bf16 and in_fp32 and not hasattr(policy, "peft_config")

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = self._copy.state_dict(keep_vars=True)
        return tensors

    def _without_weights(self, policy: Any) -> Any:
        """A copy as ``from_pretrained`` would load it, with an adapter if the policy has one.

        What must stay in fp32, such as rotary frequencies, does.
        """
        adapters = getattr(policy, "peft_config", None)
        dtype = torch.bfloat16 if self._bf16 else next(policy.parameters()).dtype
        one = torch.zeros(1, dtype=dtype)
        with as_whole_models():
            model: Any = self._class.from_pretrained(
                None,
                config=copy.deepcopy(policy.config),
                state_dict={name: one.expand(shape) for name, shape in self._base.items()},
                dtype=dtype,
            )
        if adapters:
            model.name_or_path = adapters["default"].base_model_name_or_path  # PEFT compares them
            model = get_peft_model(model, copy.deepcopy(adapters["default"]))
        self._shapes = _shapes(model)
        for tensor in model.state_dict(keep_vars=True).values():
            tensor.data = tensor.new_empty(0)
        return model.to(self._device).eval().requires_grad_(False)


def _shapes(model: Any) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}

"""Log-probabilities of completions, computed in a way that is right for the model at hand.

The fastest way shares a prompt among its completions (:mod:`shared_prompt`). The next is
TRL's LM head, which never holds the logits of a whole vocabulary, over rows that are
padded on the right only: a causal model cannot see what comes after a token, so that such
rows need no care about positions, states or masks. The plainest takes the model's own
logits of the same rows. Which are right is tried once a model on a few tokens, against
forwards of one unpadded text.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from srl_agent.inference.sampling_way import (
    is_rounding,
    keeps_only_keys_and_values,
    rescaled_beyond,
    trial_prompts,
)
from srl_agent.training.trl.shared_prompt import completion_log_probs, has_shared_prompts
from srl_envs.errors import ConfigError

_logger = logging.getLogger(__name__)

Result = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""Log-probabilities and entropies, both ``[rows, completion]``, and a mixture of experts'
auxiliary loss."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What is right for a model.

    Attributes:
        shares: A prompt may be computed once for all its completions.
        fuses: TRL's LM head gives the model's own log-probabilities.
        fuses_aux: It also gives the model's own auxiliary loss.
    """

    shares: bool
    fuses: bool
    fuses_aux: bool


class LogProbs:
    """Log-probabilities of completions under a policy or a reference.

    Args:
        shared_prompt: Whether prompts are computed once where the model allows it.
        aux_loss: Whether the loss has the auxiliary loss of a mixture of experts.
        temperature: Of the softmax.
    """

    def __init__(self, *, shared_prompt: bool, aux_loss: bool, temperature: float) -> None:
        self._shared_prompt, self._aux_loss = shared_prompt, aux_loss
        self._temperature = temperature
        self._known: weakref.WeakKeyDictionary[Any, Abilities] = weakref.WeakKeyDictionary()

    def abilities(self, model: Any) -> Abilities:
        """What is right for this model, without any wrapper; tried once, with whole weights.

        Raises:
            ConfigError: The model cannot compute the auxiliary loss that is asked for.
        """
        if model not in self._known:
            self._known[model] = _tried(model, self._temperature, self._aux_loss)
            if not self._known[model].fuses:
                _logger.warning(
                    f"TRL's LM head is not right for {type(model).__name__}: its own logits are"
                    " used, which take more memory."
                )
        return self._known[model]

    def __call__(
        self,
        model: Any,
        plain: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        completion_length: int,
        *,
        with_aux_loss: bool = False,
    ) -> Result:
        """Of every completion token; 0 where masked.

        Args:
            model: With TRL's LM head, possibly wrapped.
            plain: The same without a wrapper.
            input_ids: ``[rows, prompt + completion]``, prompts padded on the left,
                completions on the right.
            attention_mask: Same shape; 1 for real tokens.
            completion_length: How many of the columns are completion.
            with_aux_loss: Compute the auxiliary loss, of all real tokens.
        """
        able = self.abilities(plain)
        rows = (input_ids, attention_mask, completion_length)
        shares = (
            self._shared_prompt
            and able.shares
            and not with_aux_loss
            and input_ids.shape[1] <= rescaled_beyond(plain)
            and has_shared_prompts(input_ids, completion_length)
        )
        if shares:
            return (*completion_log_probs(model, *rows), None)
        if able.fuses and (able.fuses_aux or not with_aux_loss):
            return _fused(model, *rows, with_aux_loss)
        return _own(model, *rows, with_aux_loss, self._temperature)


def _padded_right(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, completion_length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows with their padding behind the text, and where to find each completion token.

    Returns:
        Token ids and mask, ``[rows, longest]``; and for each column of the completion the
        index of what predicts it, ``[rows, completion_length]``.
    """
    order = (1 - attention_mask).argsort(dim=1, stable=True)
    longest = max(2, int(attention_mask.sum(1).max()))
    places = order.argsort(dim=1)[:, -completion_length:]
    return (
        input_ids.gather(1, order)[:, :longest],
        attention_mask.gather(1, order)[:, :longest],
        (places - 1).clamp(0, longest - 2),
    )


def _fused(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    with_aux_loss: bool,
) -> Result:
    """With TRL's LM head."""
    ids, mask, predicted_by = _padded_right(input_ids, attention_mask, completion_length)
    written = attention_mask[:, -completion_length:]
    # Columns without a token may point to where another column has one.
    wanted = torch.zeros_like(mask[:, 1:]).scatter_reduce(1, predicted_by, written, "amax")
    labels = torch.cat(
        [ids.new_full((len(ids), 1), -100), ids[:, 1:].masked_fill(wanted == 0, -100)], dim=1
    )
    router = {"output_router_logits": True} if with_aux_loss else {}
    outputs = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **router)
    logps = outputs.log_probs.gather(1, predicted_by) * written
    entropies = outputs.entropy
    if entropies is not None:
        entropies = entropies.gather(1, predicted_by) * written
    return logps, entropies, outputs.aux_loss if with_aux_loss else None


def _own(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    with_aux_loss: bool,
    temperature: float,
) -> Result:
    """With the model's own logits, and its own auxiliary loss."""
    ids, mask, predicted_by = _padded_right(input_ids, attention_mask, completion_length)
    written = attention_mask[:, -completion_length:]
    router = {"output_router_logits": True} if with_aux_loss else {}
    outputs = model(input_ids=ids, attention_mask=mask, use_cache=False, **router)
    index = predicted_by[..., None].expand(-1, -1, outputs.logits.shape[-1])
    distribution = (outputs.logits.float().gather(1, index) / temperature).log_softmax(-1)
    tokens = input_ids[:, -completion_length:, None]
    entropies = -(distribution.exp() * distribution).sum(-1)
    aux_loss = None
    if with_aux_loss:
        # None: an architecture, or this config of it, that trains its experts without one.
        aux_loss = outputs.logits.new_zeros(()) if outputs.aux_loss is None else outputs.aux_loss
    return distribution.gather(2, tokens)[..., 0] * written, entropies * written, aux_loss


def _trial_rows(model: Any) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Two prompts of unequal lengths, two completions of unequal lengths to each."""
    long, short = trial_prompts(model)
    texts = [(long[:-3], long[-3:]), (long[:-3], long[:1]), (short[:-3], short[-3:])]
    texts.append((short[:-3], short[1:3]))
    width = len(long) - 3
    ids, mask = [], []
    for prompt, answer in texts:
        left, right = width - len(prompt), 3 - len(answer)
        ids.append([0] * left + prompt + answer + [0] * right)
        mask.append([0] * left + [1] * (len(prompt) + len(answer)) + [0] * right)
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device), 3


@torch.no_grad()
def _tried(model: Any, temperature: float, aux_loss: bool) -> Abilities:
    was_training = model.training
    model.eval()
    try:
        rows = _trial_rows(model)
        expected = _of_single_texts(model, *rows, temperature)

        def holds(way: Callable[[], Result]) -> bool:
            found = _result_or_none(model, way)
            return found is not None and is_rounding(found[0] - expected, expected, model)

        fuses = holds(lambda: _fused(model, *rows, False))
        shares = (
            fuses
            and keeps_only_keys_and_values(model)
            and holds(lambda: (*completion_log_probs(model, *rows), None))
        )
        return Abilities(shares, fuses, not aux_loss or _fuses_aux(model, rows, fuses, temperature))
    finally:
        model.train(was_training)


def _of_single_texts(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    temperature: float,
) -> torch.Tensor:
    """Log-probabilities by one plain forward a row, without padding."""
    expected = torch.zeros(len(input_ids), completion_length, device=input_ids.device)
    for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
        text = ids[mask == 1][None]
        length = int(mask[-completion_length:].sum())
        logits = model(input_ids=text, use_cache=False).logits[0, -length - 1 : -1].float()
        distribution = (logits / temperature).log_softmax(-1)
        expected[row, :length] = distribution.gather(1, text[0, -length:, None])[:, 0]
    return expected


def _fuses_aux(
    model: Any, rows: tuple[torch.Tensor, torch.Tensor, int], fuses: bool, temperature: float
) -> bool:
    """Whether TRL's auxiliary loss is the model's own.

    Raises:
        ConfigError: The model's own cannot be computed.
    """
    own = _result_or_none(model, lambda: _own(model, *rows, True, temperature))
    if own is None or own[2] is None:
        raise ConfigError(
            f"{type(model).__name__} names a router_aux_loss_coef, but cannot compute that loss:"
            " set --router_aux_loss_coef 0 to train without it."
        )
    fused = _result_or_none(model, lambda: _fused(model, *rows, True)) if fuses else None
    return (
        fused is not None
        and fused[2] is not None
        and torch.allclose(fused[2].float(), own[2].float(), rtol=0.05, atol=1e-3)
    )


def _result_or_none(model: Any, way: Callable[[], Result]) -> Result | None:
    try:
        return way()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model says of a cache or an argument it does not take
        _logger.debug(f"{type(model).__name__}: {error}")
        return None

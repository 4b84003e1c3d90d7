"""Log-probabilities of a group's completions with the prompt computed once, gradients included.

The G rows of a GRPO group start with the same prompt. The stock forward computes it G
times; here its keys and values are computed once, with gradients, and every row's
completion attends to them. The sums are the same, so loss and gradients are equal up to
rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from srl_agent.inference.batches import positions


def completion_log_probs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, completion_length: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probability and entropy of every completion token.

    Args:
        model: A causal language model with TRL's fused LM head
            (``fused_lm_head=True``), possibly wrapped.
        input_ids: ``[rows, prompt + completion]``, prompts padded on the left,
            completions on the right.
        attention_mask: Same shape; 1 for real tokens.
        completion_length: How many of the columns are completion; the prompt has at
            least two.

    Returns:
        Log-probabilities and entropies, both ``[rows, completion_length]``; 0 where
        masked.
    """
    prompt_length = input_ids.shape[1] - completion_length
    prompts, owner = torch.unique(input_ids[:, :prompt_length], dim=0, return_inverse=True)
    first_row = torch.stack([(owner == i).nonzero()[0, 0] for i in range(len(prompts))])
    prefix_mask = attention_mask[first_row, : prompt_length - 1]
    cache = DynamicCache()
    model(
        input_ids=prompts[:, :-1],
        attention_mask=prefix_mask,
        position_ids=positions(prefix_mask),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(owner)
    # The last prompt token goes with the completion: its hidden state predicts the first completion
    # token.
    rest = input_ids[:, prompt_length - 1 :]
    labels = rest.masked_fill(attention_mask[:, prompt_length - 1 :] == 0, -100)
    labels[:, 0] = -100
    outputs = model(
        input_ids=rest,
        attention_mask=attention_mask,
        position_ids=positions(attention_mask)[:, prompt_length - 1 :],
        past_key_values=cache,
        labels=labels,
        fused_lm_head=True,
    )
    entropy = outputs.entropy  # None: the model's head was not asked for it
    return (
        outputs.log_probs[:, -completion_length:],
        None if entropy is None else entropy[:, -completion_length:],
    )


def has_shared_prompts(input_ids: torch.Tensor, completion_length: int) -> bool:
    """Whether any two rows start with the same prompt of at least two tokens."""
    prompts = input_ids[:, : input_ids.shape[1] - completion_length]
    return prompts.shape[1] > 1 and len(torch.unique(prompts, dim=0)) < len(prompts)

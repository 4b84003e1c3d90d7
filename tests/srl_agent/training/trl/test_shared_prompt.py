from __future__ import annotations

import torch
from trl.trainer.utils import add_fused_lm_head

from srl_agent.training.trl.log_probs import _fused
from srl_agent.training.trl.shared_prompt import completion_log_probs, has_shared_prompts


def rows() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Two prompts of different length, three answers of different length to each."""
    prompts = [[0, 0, 61, 62, 63], [70, 71, 72, 73, 74]]
    answers = [[81, 82, 83, 84], [85, 86, 0, 0], [87, 0, 0, 0]]
    ids = torch.tensor([prompt + answer for prompt in prompts for answer in answers])
    mask = torch.tensor(
        [
            [int(token != 0) for token in prompt] + [int(token != 0) for token in answer]
            for prompt in prompts
            for answer in answers
        ]
    )
    return ids, mask, 4


def test_log_probabilities_entropies_and_gradients_are_those_of_the_plain_forward(
    tiny_model,
) -> None:
    ids, mask, length = rows()
    add_fused_lm_head(tiny_model, outputs=("log_probs", "entropy"))
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-length] = -100
    plain = tiny_model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    weights = (
        torch.randn(len(ids), length, generator=torch.Generator().manual_seed(0))
        * mask[:, -length:]
    )
    (plain.log_probs[:, -length:] * weights).sum().backward()
    expected = [parameter.grad.clone() for parameter in tiny_model.parameters()]
    tiny_model.zero_grad()

    logps, entropies = completion_log_probs(tiny_model, ids, mask, length)
    (logps * weights).sum().backward()
    real = mask[:, -length:].bool()
    torch.testing.assert_close(
        logps[real], plain.log_probs[:, -length:][real], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        entropies[real], plain.entropy[:, -length:][real], rtol=1e-4, atol=1e-5
    )
    for parameter, gradient in zip(tiny_model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_the_last_token_of_the_longest_row_counts_also_where_its_answer_is_short(
    tiny_model,
) -> None:
    prompts, answers = [[61], [70, 71, 72, 73, 74]], [[81, 82, 83, 84], [85]]
    ids, mask = torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, 9, dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        text = prompt + answer
        columns = slice(5 - len(prompt), 5 + len(answer))
        ids[row, columns], mask[row, columns] = torch.tensor(text), 1
    add_fused_lm_head(tiny_model, outputs=("log_probs",))
    found, _, _ = _fused(tiny_model, ids, mask, 4, False)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        logits = tiny_model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 :]
        expected = logits.log_softmax(-1)[range(len(answer)), answer]
        torch.testing.assert_close(found[row, : len(answer)], expected, rtol=1e-4, atol=1e-5)


def test_when_prompts_are_shared() -> None:
    ids, _, length = rows()
    assert has_shared_prompts(ids, length)
    assert not has_shared_prompts(ids[[0, 3]], length)
    assert not has_shared_prompts(ids[:, 4:], length), "a prompt of one token has nothing to share"

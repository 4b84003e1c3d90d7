from __future__ import annotations

import torch

from srl_agent.inference.batches import left_pad
from srl_agent.inference.sampling import SamplingSettings, sample

PROMPTS = [[61, 62, 63, 64, 65], [70, 71], [80, 81, 82]]
EOS = [0, *range(20, 60)]


def draw(model, num_samples: int = 1, seed: int = 0, **settings):
    options = SamplingSettings(**{"max_new_tokens": 12, **settings})
    return sample(
        model,
        PROMPTS,
        num_samples,
        options,
        eos_token_ids=EOS,
        pad_token_id=0,
        generator=torch.Generator().manual_seed(seed),
    )


def test_greedy_completions_are_those_of_generate(tiny_model) -> None:
    ids, mask = left_pad(PROMPTS, 0, tiny_model.device)
    output = tiny_model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    expected = []
    for row in output[:, ids.shape[1] :].tolist():
        end = next((i for i, token in enumerate(row) if token in EOS), len(row) - 1)
        expected.append(row[: end + 1])
    assert draw(tiny_model, temperature=0) == expected


def test_same_seed_same_completions_in_prompt_order(tiny_model) -> None:
    first = draw(tiny_model, num_samples=4)
    assert first == draw(tiny_model, num_samples=4) != draw(tiny_model, num_samples=4, seed=1)
    assert len(first) == 12
    for completion in first:
        assert 1 <= len(completion) <= 12
        assert not set(completion[:-1]) & set(EOS), "nothing is written after an end token"
        assert len(completion) == 12 or completion[-1] in EOS


def test_rows_side_by_side_do_not_change_greedy_answers(tiny_model) -> None:
    assert draw(tiny_model, temperature=0, max_rows=1) == draw(
        tiny_model, temperature=0, max_rows=64
    )


def test_samples_follow_the_model_distribution(tiny_model) -> None:
    prompt = PROMPTS[0]
    options = SamplingSettings(max_new_tokens=1, max_rows=4096)
    drawn = sample(
        tiny_model,
        [prompt],
        4096,
        options,
        eos_token_ids=EOS,
        pad_token_id=0,
        generator=torch.Generator().manual_seed(0),
    )
    counts = torch.bincount(torch.tensor([tokens[0] for tokens in drawn]), minlength=400) / 4096
    with torch.no_grad():
        expected = tiny_model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    # the total variation of 4096 draws from 400 nearly even outcomes is about 0.12
    assert (counts - expected).abs().sum() / 2 < 0.16


def test_top_k_one_is_greedy(tiny_model) -> None:
    assert draw(tiny_model, top_k=1) == draw(tiny_model, temperature=0)


def test_mode_and_parameters_stay_as_they_are(tiny_model) -> None:
    tiny_model.train()
    before = [parameter.clone() for parameter in tiny_model.parameters()]
    draw(tiny_model)
    assert tiny_model.training
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_model.parameters(), strict=True))


def test_min_p_of_one_leaves_the_most_probable_token(tiny_model) -> None:
    assert draw(tiny_model, min_p=1.0) == draw(tiny_model, temperature=0) != draw(tiny_model)


def test_prompts_that_are_read_in_parts_give_the_same_completions(tiny_model, monkeypatch) -> None:
    whole = draw(tiny_model, num_samples=3)
    monkeypatch.setattr(
        "srl_agent.inference.batches._PREFILL_TOKENS", 10
    )  # two of the three prompts
    assert draw(tiny_model, num_samples=3) == whole

"""The base model: pretrained here, in two phases, and refused unless it is what the study needs.

The first phase teaches the world with all of its working. The last one makes the working
rare, so that the base still *can* solve the problems, and almost never does.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from srl_agent.inference.chat import ChatEncoder
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError

from .plan import BaseSettings, Phase, Tiny
from .scores import Model, pass_at_k, whole
from .world import example, make_tokenizer, problems

_POOL = 16
"""So many batches are drawn at once and sorted by length, which saves padding."""


def make_base(tiny: Tiny, seed: int, folder: Path) -> str:
    """Pretrain a base, or find the one that is there.

    Args:
        tiny: The settings.
        seed: Of weights and examples.
        folder: Gets a folder for each phase, and ``base.json`` once the base is accepted.

    Returns:
        The model's folder.

    Raises:
        ConfigError: The base is not what the study needs.
    """
    settings, record = tiny.base, folder / "base.json"
    before = folder / f"phase-{len(settings.phases) - 1}"
    last = folder / f"phase-{len(settings.phases)}"
    if record.is_file():
        return str(last)
    started, start = time.monotonic(), None
    for number, phase in enumerate(settings.phases, start=1):
        place = folder / f"phase-{number}"
        if not place.is_dir():
            _pretrain(settings, phase, (seed, number), start, place)
        start = place
    checked = problems("check", settings.check, tiny.length)
    solved = _share(whole(str(before), checked, tiny)) if before.is_dir() else 1.0
    passed = _share(pass_at_k(str(last), checked, tiny, k=8))
    parameters = Model(str(last)).parameters
    figures = {
        "seed": seed,
        "parameters": parameters,
        "solved_before_last_phase": solved,
        "pass_at_8": passed,
    }
    _check(settings, solved, passed, folder)
    seconds = round(time.monotonic() - started, 1)
    replace_file(record, json.dumps({**figures, "seconds": seconds}, indent=1).encode())
    return str(last)


def _check(settings: BaseSettings, solved: float, passed: float, folder: Path) -> None:
    if solved < settings.solved_at_least:
        raise ConfigError(
            f"{folder}: the base solves {solved:.0%} of the problems before its last phase, and"
            f" {settings.solved_at_least:.0%} are needed: the working was not learned. Give the"
            " first phase more steps, in another --output_dir."
        )
    if passed >= settings.pass_at_8_below:
        raise ConfigError(
            f"{folder}: the base solves {passed:.0%} of the problems in 8 samples, and it must be"
            f" below {settings.pass_at_8_below:.0%}: the working is not rare. Lower"
            " share_of_working in the last phase, in another --output_dir."
        )


def _share(verdicts: list[dict[str, Any]]) -> float:
    return sum(row["correct"] for row in verdicts) / len(verdicts)


def _new_model(settings: BaseSettings, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _pretrain(
    settings: BaseSettings, phase: Phase, seed: tuple[int, int], start: Path | None, place: Path
) -> None:
    """One phase, from the model of the one before or from new weights."""
    torch.manual_seed(1000 * seed[0] + seed[1])
    rng = random.Random(f"pretraining/{seed[0]}/{seed[1]}")
    if start is None:
        tokenizer = make_tokenizer()
        model = _new_model(settings, tokenizer)
    else:
        model, tokenizer = load_model_and_tokenizer(str(start), dtype="float32")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    batches, began = _batches(settings, phase, rng, tokenizer), time.monotonic()
    for step in range(phase.steps):
        rate = min(1, (step + 1) / 100) * min(1, (1 - step / phase.steps) / 0.4)
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * max(0.02, rate)
        ids, labels = next(batches)
        mask = (ids != tokenizer.pad_token_id).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == phase.steps - 1:
            seconds = time.monotonic() - began
            print(
                f"base {seed[0]}, phase {seed[1]}: step {step} of {phase.steps},"
                f" loss {loss.item():.4f}, {seconds:.0f} s",
                flush=True,
            )
    _keep(model, tokenizer, place)


def _keep(model: Any, tokenizer: Any, place: Path) -> None:
    """Save the model, whole or not at all."""
    part = place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.rename(place)


def _batches(
    settings: BaseSettings, phase: Phase, rng: random.Random, tokenizer: Any
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and labels, padded on the right; only answers are learned."""
    chat = ChatEncoder(tokenizer)
    while True:
        drawn = []
        for _ in range(settings.batch * _POOL):
            one = example(rng, settings.lengths, phase.share_of_working)
            answer = tokenizer(one.answer, add_special_tokens=False)["input_ids"]
            drawn.append((chat(one.messages).ids, [*answer, tokenizer.eos_token_id]))
        drawn.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        pool = [drawn[at : at + settings.batch] for at in range(0, len(drawn), settings.batch)]
        rng.shuffle(pool)
        for rows in pool:
            longest = max(len(prompt) + len(answer) for prompt, answer in rows)
            ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
            labels = torch.full_like(ids, -100)
            for number, (prompt, answer) in enumerate(rows):
                end = len(prompt) + len(answer)
                ids[number, :end] = torch.tensor(prompt + answer)
                labels[number, len(prompt) : end] = torch.tensor(answer)
            yield ids, labels

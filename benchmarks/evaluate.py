"""Tokens per second of evaluation with transformers, beside a loop of ``model.generate``.

    python benchmarks/evaluate.py        (two minutes on 2 CPU cores)

Length-sorted batches and the loop answer the same prompts in one run. A GPU is used if there
is one.
"""

from __future__ import annotations

import srl_agent  # noqa: F401  before torch: it says how OpenMP's threads wait

# isort: split
import argparse
import platform
import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from srl_agent.inference.generator import GenerationSettings, Request
from srl_agent.inference.transformers_generator import TransformersGenerator
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.runs.freed_memory import keep_freed_memory
from srl_envs import load_trajectories
from srl_envs.prompts.step import Message

SYSTEM = "Solve the problem step by step and write the final answer last."


def one_by_one(
    model: Any, tokenizer: Any, requests: Sequence[Request], max_new_tokens: int
) -> list[tuple[str, int]]:
    """Greedy answers and their tokens as a plain loop writes them."""
    answers = []
    for request in requests:
        inputs = tokenizer.apply_chat_template(
            list(request.messages),
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        written = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)[
            0, inputs["input_ids"].shape[1] :
        ]
        answers.append((tokenizer.decode(written, skip_special_tokens=True), len(written)))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default="quickstart",
        help="Hub name or folder. Default: the built-in SmolLM2-135M-Instruct.",
    )
    parser.add_argument(
        "--prompts", type=int, default=48, help="Word problems of the built-in source. Default: 48."
    )
    parser.add_argument(
        "--batch_rows",
        type=int,
        default=16,
        help="Answers that our backend writes side by side. Default: 16, so three batches.",
    )
    parser.add_argument("--max_new_tokens", type=int, default=48, help="Default: 48.")
    options = parser.parse_args()
    keep_freed_memory()

    on_gpu = torch.cuda.is_available()
    dtype = "bfloat16" if on_gpu else "float32"
    problems = load_trajectories("builtin", limit=options.prompts)
    requests = [
        Request(
            (Message(role="system", content=SYSTEM), Message(role="user", content=problem.prompt))
        )
        for problem in problems
    ]
    settings = GenerationSettings(max_new_tokens=options.max_new_tokens)

    model, tokenizer = load_model_and_tokenizer(options.model, dtype=dtype)
    if on_gpu:
        model = model.to("cuda")
    one_by_one(model, tokenizer, requests[:1], 4)
    start = time.perf_counter()
    plain = one_by_one(model, tokenizer, requests, options.max_new_tokens)
    plain_seconds = time.perf_counter() - start
    del model

    generator = TransformersGenerator(options.model, dtype=dtype, batch_rows=options.batch_rows)
    list(generator.generate(requests[:1], GenerationSettings(max_new_tokens=4)))
    start = time.perf_counter()
    completions = dict(generator.generate(requests, settings))
    our_seconds = time.perf_counter() - start
    generator.close()

    same = sum(completions[index].text == text for index, (text, _) in enumerate(plain))
    plain_speed = sum(tokens for _, tokens in plain) / plain_seconds
    our_speed = sum(completion.tokens for completion in completions.values()) / our_seconds
    place = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} CPU threads"
    print(
        f"{options.model}, {dtype}, {place}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
    asked = (
        f"{len(requests)} prompts in batches of {options.batch_rows}, greedy, "
        f"at most {options.max_new_tokens} new tokens"
    )
    print(f"{asked}; {same} of {len(requests)} answers the same")
    print(f"model.generate, one by one      {plain_speed:8.1f} tokens/s   {plain_seconds:6.1f} s")
    print(
        f"transformers backend, batched   {our_speed:8.1f} tokens/s   "
        f"{our_seconds:6.1f} s   {our_speed / plain_speed:.1f} times as fast"
    )


if __name__ == "__main__":
    main()

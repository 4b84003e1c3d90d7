"""Runs ``srl_agent.train`` and compares, for every answer, vLLM's probabilities with the policy's.

Run as a program, which ``test_vllm_training.py`` does:

    traced_training.py TRACE sync|stale ARGUMENT...

TRACE gets one line of JSON per call for answers, of each process in a file of its own.
``stale`` sends no weights after the first time: what a run without synchronizing looks like.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import trl.generation.vllm_generation as generation
from store_transfer import StoreClient
from vllm import LLM
from vllm.model_executor.layers import utils

from srl_agent.train import main
from srl_agent.training.trl.grpo import SRLTrainer

BEST = 1
"""The step whose checkpoint counts as the best, so that it is not the last."""


def keep_weights(layer: Any, remove_weight: bool) -> None:
    """vLLM's engine on a CPU repacks weights and drops them; no new ones could be loaded."""
    layer.cpu_linear = torch.nn.functional.linear


@torch.no_grad()
def differences(model: Any, prompt: list[int], completion: list[int], logps: list[Any]) -> Any:
    """The policy's log-probability of each token, less vLLM's."""
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    mine = logits.float().log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]
    return mine - torch.tensor(logps)


def trace_answers(trace: Path) -> None:
    complete, load_best = SRLTrainer._complete, SRLTrainer.load_best

    def traced(trainer: SRLTrainer, prompts: Any, count: int, seed: Any) -> Any:
        completions, logps = complete(trainer, prompts, count, seed)
        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        model.eval()  # an adapter has dropout in training
        asked = [prompt for prompt in prompts for _ in range(count)]
        rows = zip(asked, completions, logps or [], strict=True)
        gaps = [differences(model, *row) for row in rows]
        model.train(training)
        found = torch.cat([*gaps, torch.zeros(0)])
        line = {
            "step": trainer.state.global_step,
            "loaded": getattr(trainer, "loaded_step", None),
            "training": training,
            "prompts": len(prompts),
            "answers": len(completions),
            "tokens": len(found),
            "lowest": float(found.min().exp()) if len(found) else 1.0,
            "highest": float(found.max().exp()) if len(found) else 1.0,
        }
        rank = trainer.accelerator.process_index
        with trace.with_suffix(f".{rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return completions, logps

    def forced(trainer: SRLTrainer) -> Any:
        trainer.state.log_history.append({"step": BEST, "eval_reward": 99.0})
        step, complaints = load_best(trainer)
        trainer.loaded_step = step  # type: ignore[attr-defined]
        return step, complaints

    SRLTrainer._complete, SRLTrainer.load_best = traced, forced  # type: ignore[method-assign]


def send_weights_once() -> None:
    send = generation.VLLMGeneration.sync_weights
    sent = []

    def once(self: Any) -> None:
        if not sent:
            sent.append(send(self))

    generation.VLLMGeneration.sync_weights = once


if __name__ == "__main__":
    trace, mode, *arguments = sys.argv[1:]
    generation.VLLMClient = StoreClient
    # TRL leaves the precision to vLLM, which would halve that of a model in float32.
    generation.LLM = partial(LLM, dtype="float32", enforce_eager=True)
    utils.dispatch_cpu_unquantized_gemm = keep_weights
    trace_answers(Path(trace))
    if mode == "stale":
        send_weights_once()
    main(arguments)

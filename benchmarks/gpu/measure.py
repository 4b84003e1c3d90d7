"""What a stage of ``benchmarks/gpu/run.py`` measures in a process of its own.

python -m benchmarks.gpu.measure machine OUT.json
python -m benchmarks.gpu.measure trainer OUT.json --size 7b --lora
python -m benchmarks.gpu.measure sampler OUT.json --size 1.5b
"""

from __future__ import annotations

import srl_agent  # noqa: F401  before torch: it says how OpenMP's threads wait

# isort: split
import argparse
import importlib.util
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import disable_progress_bars

from benchmarks import trainer
from benchmarks.shapes import SHAPES, random_model, shape_config
from srl_agent.inference.chat import ChatEncoder
from srl_agent.inference.sampling import SamplingSettings, sample
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.training.memory import GIB, RESERVE, Load, Shape, plan
from srl_envs.response import ResponseFormat

NOMINAL = {"H100": 989e12, "H200": 989e12, "H800": 989e12, "A100": 312e12, "B200": 2250e12}
"""Dense bf16 operations a second by the data sheet; another device is measured against its own
matrix product.
"""
MICRO_BATCH = {"tiny": 8, "0.5b": 16, "1.5b": 8, "7b": 2}


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Names, versions and the speed of a matrix product."""
    place = {"gpu": None, "gpu_bytes": 0, "cores": torch.get_num_threads()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        place |= {"gpu": properties.name, "gpu_bytes": properties.total_memory}
    versions = {
        "python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in (torch, transformers, trl)},
    }
    return {**place, "versions": versions, "matmul": matmul_speed()}


def matmul_speed() -> float:
    """Operations a second of a square product, bf16 on a GPU."""
    on_gpu = trainer.DEVICE.type == "cuda"
    side = 8192 if on_gpu else 512
    a = torch.randn(
        side, side, device=trainer.DEVICE, dtype=torch.bfloat16 if on_gpu else torch.float32
    )
    seconds = [timed(lambda: a @ a) for _ in range(13)][3:]
    return 2 * side**3 / statistics.median(seconds)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that work takes, with the GPU's."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    if trainer.DEVICE.type == "cuda":
        torch.cuda.synchronize()


def most_operations() -> float:
    """Operations a second that the device could do at best."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((speed for part, speed in NOMINAL.items() if part in name), 0) or matmul_speed()


# ---------------------------------------------------------------- the trainers


def measure_trainer(options: argparse.Namespace) -> dict[str, Any]:
    """Our trainer beside TRL's, and the memory plan beside ours."""
    low = options.lora or options.size == "7b"  # all of 7B in fp32 fits no card
    given = ["--model", options.model, "--size", options.size, "--count_memory"]
    given += ["--dtype", "bfloat16" if low and trainer.DEVICE.type == "cuda" else "float32"]
    given += ["--lora"] if options.lora else []
    micro = MICRO_BATCH[options.size] * (4 if options.lora and options.size == "7b" else 1)
    work = {"prompts_per_step": 4, "num_generations": 8, "max_completion_length": 256, "steps": 3}
    if options.size == "tiny":
        work = {"prompts_per_step": 2, "num_generations": 4, "max_completion_length": 8, "steps": 1}
    work["per_device_train_batch_size"] = micro
    given += [part for name, value in work.items() for part in (f"--{name}", str(value))]
    settings = trainer.options_of(given)
    _, tokenizer = load_model_and_tokenizer(options.model, dtype=torch.float32)
    instances = trainer.plain_instances(settings)
    shape, load = planned(settings, tokenizer, instances)
    found = plan(shape, load)
    room = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    if room and found.peak + RESERVE > room:
        return {"does_not_fit": f"{found.explain()}; the GPU has {room / GIB:.1f} GiB"}
    base, tokenizer = trainer.load(settings)
    turns = {
        name: trainer.take_turn(name, base, tokenizer, instances, False, settings)
        for name in (trainer.STOCK, trainer.OURS)
    }
    return {
        "settings": vars(settings),
        "plan": {"peak": found.peak, "phase": found.phase, "parts": found.phases[found.phase]},
        "stock": figures(turns[trainer.STOCK], settings, shape),
        "ours": figures(turns[trainer.OURS], settings, shape),
    }


def planned(
    settings: argparse.Namespace, tokenizer: Any, instances: Sequence[Any]
) -> tuple[Shape, Load]:
    """The memory formula's view of our trainer's turn."""
    chat, on_gpu = ChatEncoder(tokenizer), trainer.DEVICE.type == "cuda"
    form = ResponseFormat(require_think=False)
    longest = max(len(chat(instance.messages, form).ids) for instance in instances)
    adapter = trainer.ADAPTER if settings.lora else None
    shape = Shape.of(shape_config(settings.size, tokenizer), adapter)
    rows = settings.per_device_train_batch_size
    return shape, Load(
        rows=rows,
        prompt=longest,
        completion=settings.max_completion_length,
        group=min(rows, settings.num_generations),
        bf16=on_gpu,
        bf16_weights=settings.dtype == "bfloat16" and not settings.lora,
        rollout_rows=min(128, settings.prompts_per_step * settings.num_generations),
        triton=on_gpu,
    )


def figures(turn: trainer.Turn, settings: argparse.Namespace, shape: Shape) -> dict[str, Any]:
    """What a turn of a trainer comes to.

    MFU counts the products with weights: two operations for each weight and token in a
    forward, four in a backward (two without the gradients of frozen weights), and two for
    each token that is sampled or read before.
    """
    weights = shape.parameters - shape.outside + shape.vocabulary * shape.hidden
    seconds, tokens = statistics.median(turn.seconds), statistics.fmean(turn.tokens)
    written = settings.prompts_per_step * settings.num_generations * settings.max_completion_length
    each = (4 if settings.lora else 6) + 2
    return {
        "seconds_a_step": seconds,
        "completion_tokens_a_second": written / seconds,
        "computed_tokens_a_step": tokens,
        "mfu": each * weights * tokens / seconds / most_operations(),
        "peak": turn.peak,
        "turn": asdict(turn),
    }


# ---------------------------------------------------------------- the samplers


def measure_sampler(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of our sampler, of ``generate``, and of vLLM where it is installed."""
    _, tokenizer = load_model_and_tokenizer(options.model, dtype=torch.float32)
    low = torch.bfloat16 if trainer.DEVICE.type == "cuda" else torch.float32
    model: Any = random_model(options.size, tokenizer, low, trainer.DEVICE)
    trainer.never_end(model, tokenizer)
    size, tiny = options.size, options.size == "tiny"
    prompts, group, length = (2, 4, 8) if tiny else (16, 8, 256)
    chat, form = ChatEncoder(tokenizer), ResponseFormat(require_think=False)
    options = trainer.options_of(["--prompts_per_step", str(prompts)])
    asked = trainer.plain_instances(options)[:prompts]
    ids = [chat(instance.messages, form).ids for instance in asked]
    settings = SamplingSettings(length, max_rows=prompts * group)
    ends = {"eos_token_ids": [-1], "pad_token_id": tokenizer.pad_token_id}

    def ours(length: int) -> None:
        sample(model, ids, group, replace(settings, max_new_tokens=length), **ends)

    def theirs(length: int) -> None:
        generate(model, tokenizer, ids, group, length)

    speeds = {}
    with torch.no_grad():
        for name, write in (("ours", ours), ("generate", theirs)):
            write(2)
            seconds = timed(lambda write=write: write(length))  # type: ignore[misc]
            speeds[name] = prompts * group * length / seconds
    work = {"prompts": prompts, "group": group, "completion": length}
    model = None
    torch.cuda.empty_cache()
    if importlib.util.find_spec("vllm") and torch.cuda.is_available():
        speeds["vllm"] = vllm_speed(size, tokenizer, ids, group, length)
    return {"work": work, "tokens_a_second": speeds}


def generate(
    model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], group: int, length: int
) -> None:
    """As TRL samples: each prompt once for each of its completions, padded on the left."""
    rows = [{"input_ids": list(prompt)} for prompt in ids for _ in range(group)]
    batch = tokenizer.pad(rows, padding_side="left", return_tensors="pt").to(trainer.DEVICE)
    model.generate(**batch, max_new_tokens=length, do_sample=True, top_k=0)


def vllm_speed(
    size: str, tokenizer: Any, ids: Sequence[Sequence[int]], group: int, length: int
) -> float:
    """VLLM with random weights of its own making."""
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        config = shape_config(size, tokenizer)
        config.architectures = ["Qwen2ForCausalLM"]
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        engine = LLM(folder, load_format="dummy", dtype="bfloat16", gpu_memory_utilization=0.8)
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in ids]
        asked = SamplingParams(n=group, max_tokens=length, ignore_eos=True, temperature=1.0)
        engine.generate(prompts, replace_length(asked, 2))
        seconds = timed(lambda: engine.generate(prompts, asked))
    return len(ids) * group * length / seconds


def replace_length(asked: Any, length: int) -> Any:
    shorter = asked.clone()
    shorter.max_tokens = length
    return shorter


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = {"machine": machine, "trainer": measure_trainer, "sampler": measure_sampler}
    parser.add_argument("what", choices=work)
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--size", choices=SHAPES, default="tiny")
    parser.add_argument("--lora", action="store_true", help="train an adapter")
    parser.add_argument("--model", default="quickstart", help="whose tokenizer is used")
    options = parser.parse_args()
    disable_progress_bars()
    transformers.logging.set_verbosity_error()
    options.output.write_text(json.dumps(work[options.what](options), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Time the step similarity beside the standard library's difflib and cydifflib, in one run.

    python benchmarks/reward.py

The standard library is timed on a part of each set (``--stdlib-pairs``, one pair of
16,000 characters) and scaled up; the table says so. Every timed value is compared with
ours.
"""

from __future__ import annotations

import argparse
import difflib
import random
import time
from collections.abc import Callable, Sequence

import cydifflib

from srl_envs.data.procedural import generate
from srl_envs.reward import sequence_similarities

Pair = tuple[str, str]
Score = Callable[[Sequence[Pair]], list[float]]


def stdlib(pairs: Sequence[Pair]) -> list[float]:
    return [
        difflib.SequenceMatcher(None, model, expert, autojunk=False).ratio()
        for model, expert in pairs
    ]


def cython(pairs: Sequence[Pair]) -> list[float]:
    return [
        cydifflib.SequenceMatcher(None, model, expert, autojunk=False).ratio()
        for model, expert in pairs
    ]


def text_pairs(count: int, length: int, randomness: random.Random) -> list[Pair]:
    """Pairs of an expert's solution and a model's.

    The model's has the same sentences, but a third are missing, swapped or have other numbers.
    """
    sentences = [step.action for trajectory in generate(400) for step in trajectory.steps]
    pairs = []
    for _ in range(count):
        expert = [randomness.choice(sentences) for _ in range(length // 15)]
        model = []
        for sentence in expert:
            kind = randomness.random()
            if kind < 0.1:
                continue
            if kind < 0.2:
                sentence = randomness.choice(sentences)
            elif kind < 0.35:
                sentence = "".join(
                    str(randomness.randrange(10)) if letter.isdigit() else letter
                    for letter in sentence
                )
            model.append(sentence)
        pairs.append(
            (
                "\n".join(model)[:length].ljust(length, "."),
                "\n".join(expert)[:length].ljust(length, "."),
            )
        )
    return pairs


def timed(score: Score, pairs: Sequence[Pair], repeats: int = 1) -> tuple[float, list[float]]:
    """Seconds of the fastest of some runs, and the values."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        values = score(pairs)
        best = min(best, time.perf_counter() - start)
    return best, values


def row(
    name: str, pairs: Sequence[Pair], stdlib_pairs: int, limit: str, cython_pairs: int | None = None
) -> None:
    ours, values = timed(sequence_similarities, pairs, repeats=3)
    part = pairs[:cython_pairs]
    other, other_values = timed(cython, part)
    if other_values != values[: len(part)]:
        raise SystemExit(f"{name}: cydifflib and ours differ")
    other *= len(pairs) / len(part)
    if stdlib_pairs:
        part = pairs[:stdlib_pairs]
        base, base_values = timed(stdlib, part)
        if base_values != values[: len(part)]:
            raise SystemExit(f"{name}: the standard library and ours differ")
        base *= len(pairs) / len(part)
        note = "" if len(part) == len(pairs) else f" (from {len(part)})"
        peers = f"{base:9.3f}{note:<11} {other:9.3f} {ours:9.4f} {base / ours:7.0f}x"
    else:
        peers = f"{'not timed':>9}{'':<11} {other:9.3f} {ours:9.4f} {'':>8}"
    print(
        f"{name:<34} {peers} {other / ours:6.1f}x {ours / len(pairs) * 1000:9.2f}  {limit}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stdlib-pairs",
        type=int,
        default=64,
        help="of the 512 pairs, how many the standard library scores (default 64; "
        "512 takes a minute)",
    )
    arguments = parser.parse_args()
    randomness = random.Random(0)
    print(
        f"{'seconds for the whole set':<34} {'stdlib':>9}{'':<11} {'cydifflib':>9} "
        f"{'ours':>9} {'/stdlib':>8} {'/cy':>7} {'ms a pair':>9}  goal"
    )
    row(
        "512 pairs of 1,500 characters",
        text_pairs(512, 1_500, randomness),
        arguments.stdlib_pairs,
        ">= 250x stdlib",
    )
    row(
        "8 pairs of 16,000 characters",
        text_pairs(8, 16_000, randomness),
        1,
        "< 6 ms a pair",
        cython_pairs=2,
    )
    row("one letter, 16,000 characters", [("a" * 16_000, "a" * 15_999)], 0, "< 1,500 ms")
    row("two alternating, 16,000", [("ab" * 8_000, "ba" * 8_000)], 0, "< 1,500 ms")


if __name__ == "__main__":
    main()

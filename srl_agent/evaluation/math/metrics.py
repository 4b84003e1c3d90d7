"""What is computed from graded answers: pass@k, majority@k, and bootstrap intervals over problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

import numpy as np

from srl_envs.errors import ConfigError

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its bootstrap interval.

    Attributes:
        value: The mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
        count: Number of problems.
    """

    value: float
    low: float
    high: float
    count: int


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of one value per problem with a percentile bootstrap interval (Efron 1979): problems are drawn again with replacement.

    What is resampled is the problems, not the samples of a problem: the interval tells
    how the score would vary over benchmarks of this kind. Where every problem has the
    same value the interval is that point, although a score of 0 of 30 is no proof of a
    true 0.

    Args:
        values: One for each problem.
        seed: Decides the resamples.

    Raises:
        ConfigError: There is no value.
    """
    if not values:
        raise ConfigError("A bootstrap interval needs at least one problem.")
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(data))  # 32 MB of indices at a time
    means = [
        data[generator.integers(len(data), size=(min(chunk, RESAMPLES - start), len(data)))].mean(
            axis=1
        )
        for start in range(0, RESAMPLES, chunk)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Estimate(float(data.mean()), float(low), float(high), len(data))


def paired_bootstrap(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of ``after - before`` over the same problems, with its bootstrap interval.

    Raises:
        ConfigError: The lengths differ, or there is no pair.
    """
    if len(before) != len(after):
        raise ConfigError(
            f"Paired values must be of the same problems: {len(before)} before, {len(after)} after."
        )
    return bootstrap([new - old for old, new in zip(before, after, strict=True)], seed)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased estimate of the chance that at least one of ``k`` answers is right, from ``n`` answers of which ``correct`` are.

    ``1 - C(n - c, k) / C(n, k)``: Chen et al. 2021, "Evaluating Large Language Models
    Trained on Code" (arXiv 2107.03374), equation 1.

    Raises:
        ConfigError: ``k`` is not in 1..n, or ``correct`` not in 0..n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ConfigError(
            f"pass@{k} of {n} answers with {correct} right: k must be in 1..n, the right ones in 0..n."
        )
    return 1 - comb(n - correct, k) / comb(n, k)


def majority_at_k(
    answers: Sequence[str | None], correct: Sequence[bool], same: Callable[[str, str], bool]
) -> float:
    """Whether the most frequent answer is right: self-consistency (Wang et al. 2022, arXiv 2203.11171).

    Answers that are the same by ``same`` vote together; a sample without an answer does
    not vote. A tie counts as the share of right ones among the answers that lead, which
    is what drawing one of them would give on average.

    Args:
        answers: The final answers of one problem's samples; None where there is none.
        correct: Their verdicts.
        same: Whether two answers mean the same.

    Returns:
        1 or 0, or between in case of a tie; 0 if no sample has an answer.
    """
    classes: list[tuple[str, list[bool]]] = []
    for answer, verdict in zip(answers, correct, strict=True):
        if answer is None:
            continue
        found = next(
            (votes for leader, votes in classes if answer == leader or same(answer, leader)), None
        )
        if found is None:
            classes.append((answer, [verdict]))
        else:
            found.append(verdict)
    if not classes:
        return 0.0
    most = max(len(votes) for _, votes in classes)
    return fmean(float(votes[0]) for _, votes in classes if len(votes) == most)


def powers_of_two_up_to(n: int) -> list[int]:
    """1, 2, 4, ... and ``n`` itself: the k of pass@k that are reported."""
    return sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})

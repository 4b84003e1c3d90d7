"""95 % confidence intervals: the bootstrap for scores, Student's t for paired differences.

Scores of problems are shares, often 0 or 1, and skewed: the bootstrap fits them. The
stages of a training run are compared on few held-out instances, of which the bootstrap
makes too short intervals: Student's t keeps its promise there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np

from srl_envs.errors import ConfigError

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        value: The mean.
        low: Lower end; ``-inf`` if nothing is known of the spread.
        high: Upper end; ``inf`` if nothing is known of the spread.
        count: Number of values, or of pairs.
    """

    value: float
    low: float
    high: float
    count: int


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean of one value per problem with a percentile bootstrap interval (Efron 1979).

    Problems are resampled, with replacement; the samples of a problem are not. So the
    interval says how the score would vary over benchmarks of this kind. If every
    problem has the same value, the interval is that point, although a score of 0 of 30
    does not prove a true 0.

    Args:
        values: One for each problem.
        seed: Decides the resamples.

    Raises:
        ConfigError: There is no value.
    """
    if not values:
        raise ConfigError("A bootstrap interval needs at least one value.")
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
    return Interval(float(data.mean()), float(low), float(high), len(data))


def paired_bootstrap(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Interval:
    """The mean of ``after - before`` over the same problems, with its bootstrap interval.

    Raises:
        ConfigError: The lengths differ, or there is no pair.
    """
    return bootstrap(_differences(before, after), seed)


def paired_difference(
    before: Sequence[float], after: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """The mean of ``after - before`` with Student's t interval for paired samples.

    With the differences ``d_i = after_i - before_i``, their mean ``m`` and their sample
    standard deviation ``s`` (n - 1 in the denominator), the interval is ``m ± t * s /
    sqrt(n)``, where ``t`` is the quantile of order ``(1 + confidence) / 2`` of
    Student's distribution with n - 1 degrees of freedom. Pairing removes how hard the
    instances are, which is most of the spread.

    Args:
        before: One value for each instance.
        after: The values of the same instances, in the same order.
        confidence: Between 0 and 1, exclusive.

    Raises:
        ConfigError: The lengths differ, there is no pair, or ``confidence`` is out of
            range.
    """
    differences = _differences(before, after)
    if not 0 < confidence < 1:
        raise ConfigError(
            f"confidence is {confidence}: give a number between 0 and 1, such as 0.95."
        )
    count, mean = len(differences), fmean(differences)
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = (
        student_t_quantile((1 + confidence) / 2, count - 1) * stdev(differences) / math.sqrt(count)
    )
    return Interval(mean, mean - half, mean + half, count)


def student_t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution.

    Exact for 1 and 2 degrees of freedom, else the expansion about the normal quantile
    of Abramowitz and Stegun, formula 26.7.5: for probabilities from 0.005 to 0.995
    within 0.8 % at 3 degrees of freedom and within 0.01 % from 9 on.
    """
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        centred = 2 * probability - 1
        return centred * math.sqrt(2 / (1 - centred**2))
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * degrees**4)
    )


def _differences(before: Sequence[float], after: Sequence[float]) -> list[float]:
    if len(before) != len(after):
        raise ConfigError(
            "Paired values must be of the same instances: "
            f"{len(before)} before, {len(after)} after."
        )
    if not before:
        raise ConfigError("A paired difference needs at least one pair of values.")
    return [new - old for old, new in zip(before, after, strict=True)]

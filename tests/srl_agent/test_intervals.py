"""Intervals against published tables and against what they promise: their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from srl_agent.intervals import (
    Interval,
    bootstrap,
    paired_bootstrap,
    paired_difference,
    student_t_quantile,
)
from srl_envs.errors import ConfigError


@pytest.mark.parametrize(
    ("probability", "degrees", "table"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 3, 3.1824),
        (0.975, 4, 2.7764),
        (0.975, 9, 2.2622),
        (0.975, 63, 1.9983),
        (0.995, 3, 5.8409),
        (0.995, 9, 3.2498),
        (0.995, 29, 2.7564),
        (0.95, 5, 2.0150),
    ],
)
def test_quantiles_of_the_printed_table(probability: float, degrees: int, table: float) -> None:
    tolerance = 1e-4 if degrees <= 2 or degrees >= 9 else 8e-3
    assert student_t_quantile(probability, degrees) == pytest.approx(table, rel=tolerance)
    assert student_t_quantile(1 - probability, degrees) == pytest.approx(-table, rel=tolerance)


def test_a_worked_example() -> None:
    """Student's sleep data (1908): ten patients, mean difference 1.58, 95 % interval 0.70 to
    2.46.
    """
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    interval = paired_difference(first, second)
    assert interval.count == 10
    assert (round(interval.value, 2), round(interval.low, 2), round(interval.high, 2)) == (
        1.58,
        0.70,
        2.46,
    )


def test_order_of_the_arguments_sets_the_sign() -> None:
    there, back = (
        paired_difference([0.0, 0.5], [1.0, 0.75]),
        paired_difference([1.0, 0.75], [0.0, 0.5]),
    )
    assert there.value == 0.625 == -back.value
    assert (there.low, there.high) == (-back.high, -back.low)


def test_pairing_takes_out_how_hard_the_instances_are() -> None:
    before = [-1.0, 0.0, 0.5, 1.0]
    interval = paired_difference(before, [value + 0.1 for value in before])
    assert interval.high - interval.low < 1e-9


def test_coverage_is_what_is_promised() -> None:
    random = np.random.default_rng(0)
    before, noise = random.normal(size=(4000, 6)), random.normal(0.3, 1.0, size=(4000, 6))
    intervals = [
        paired_difference(list(b), list(b + d)) for b, d in zip(before, noise, strict=True)
    ]
    assert np.mean([i.low <= 0.3 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.01)


def test_one_pair_tells_nothing_about_the_spread() -> None:
    assert paired_difference([0.25], [0.75]) == Interval(0.5, -math.inf, math.inf, 1)


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="2 before, 1 after"):
        paired_difference([1, 2], [1])
    with pytest.raises(ConfigError, match="at least one pair"):
        paired_difference([], [])
    with pytest.raises(ConfigError, match="confidence is 95"):
        paired_difference([1, 2], [1, 2], confidence=95)


def test_the_interval_is_that_of_the_normal_approximation_on_many_problems() -> None:
    values = [1.0] * 300 + [0.0] * 700
    estimate = bootstrap(values, seed=1)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert estimate.value == 0.3 and estimate.count == 1000
    assert estimate.low == pytest.approx(0.3 - half, abs=0.003) and estimate.high == pytest.approx(
        0.3 + half, abs=0.003
    )
    assert bootstrap(values, seed=1) == estimate


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        estimate = bootstrap((generator.binomial(32, 0.4, size=60) / 32).tolist(), seed=trial)
        held += estimate.low <= 0.4 <= estimate.high
    assert 180 <= held <= 199


def test_pairing_takes_out_how_hard_the_problems_are() -> None:
    before = [0.0, 1.0] * 50
    after = [value + 0.1 for value in before]
    paired = paired_bootstrap(before, after)
    assert (
        paired.value == pytest.approx(0.1)
        and paired.high - paired.low < 1e-9 < bootstrap(after).high - bootstrap(after).low
    )
    with pytest.raises(ConfigError, match="1 before, 2 after"):
        paired_bootstrap([1.0], [1.0, 0.0])
    with pytest.raises(ConfigError, match="at least one pair"):
        paired_bootstrap([], [])
    with pytest.raises(ConfigError, match="at least one value"):
        bootstrap([])

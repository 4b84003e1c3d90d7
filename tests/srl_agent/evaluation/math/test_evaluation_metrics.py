"""pass@k, majority@k and bootstrap intervals against what they estimate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.math.metrics import (
    bootstrap,
    majority_at_k,
    paired_bootstrap,
    pass_at_k,
    powers_of_two_up_to,
)
from srl_envs.errors import ConfigError


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
)
def test_pass_at_k_is_the_mean_over_all_choices_of_k_answers(case: tuple[int, int, int]) -> None:
    n, correct, k = case
    verdicts = [True] * correct + [False] * (n - correct)
    choices = list(combinations(verdicts, k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize("n, correct, k", [(4, 1, 0), (4, 1, 5), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(n: int, correct: int, k: int) -> None:
    with pytest.raises(ConfigError, match="k must be"):
        pass_at_k(n, correct, k)


def test_majority_groups_answers_by_meaning_and_shares_ties() -> None:
    def same(one: str, other: str) -> bool:
        return float(one) == float(other)

    assert majority_at_k(["2", "2.0", "3"], [True, True, False], same) == 1
    assert majority_at_k(["3", "2", "3.0"], [False, True, False], same) == 0
    assert majority_at_k(["3", "2"], [False, True], same) == 0.5
    assert majority_at_k([None, None, "2"], [False, False, True], same) == 1, (
        "what gives no answer does not vote"
    )
    assert majority_at_k([None, None], [False, False], same) == 0


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
    with pytest.raises(ConfigError, match="at least one problem"):
        bootstrap([])


def test_which_k_are_reported() -> None:
    assert powers_of_two_up_to(1) == [1]
    assert powers_of_two_up_to(32) == [1, 2, 4, 8, 16, 32]
    assert powers_of_two_up_to(12) == [1, 2, 4, 8, 12]

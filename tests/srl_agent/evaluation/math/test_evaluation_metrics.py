"""pass@k and majority@k against what they estimate."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.math.metrics import (
    majority_at_k,
    pass_at_k,
    powers_of_two_up_to,
)
from srl_envs.answers.grading import Grader
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


def test_the_majority_does_not_depend_on_the_order_of_the_samples() -> None:
    """The answer "5" is the same as "5 cm" and as "5 kg", which are not the same as each other."""
    answers = ["5", "5 cm", "5 kg", "x = 6", "6", None]
    with Grader(processes=1) as grader:
        verdicts = grader.grade([(answer, "5 cm") for answer in answers])
        assert verdicts == [True, True, False, False, False, False]
        shares = {
            majority_at_k(
                [answer for answer, _ in order], [right for _, right in order], grader.same
            )
            for order in permutations(zip(answers, verdicts, strict=True))
        }
    assert shares == {2 / 3}


def test_which_k_are_reported() -> None:
    assert powers_of_two_up_to(1) == [1]
    assert powers_of_two_up_to(32) == [1, 2, 4, 8, 16, 32]
    assert powers_of_two_up_to(12) == [1, 2, 4, 8, 12]

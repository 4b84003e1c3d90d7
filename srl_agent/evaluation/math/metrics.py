"""What is computed from the graded answers to one problem: pass@k and majority@k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from statistics import fmean

from srl_envs.errors import ConfigError


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased estimate of the chance that at least one of ``k`` answers is right.

    Of ``n`` answers ``correct`` are right. ``1 - C(n - c, k) / C(n, k)``: Chen et al. 2021,
    "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), equation 1.

    Raises:
        ConfigError: ``k`` is not in 1..n, or ``correct`` not in 0..n.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ConfigError(
            f"pass@{k} of {n} answers with {correct} right: "
            "k must be in 1..n, the right ones in 0..n."
        )
    return 1 - comb(n - correct, k) / comb(n, k)


def majority_at_k(
    answers: Sequence[str | None], correct: Sequence[bool], same: Callable[[str, str], bool]
) -> float:
    """Whether the most frequent answer is right.

    This is self-consistency (Wang et al. 2022, arXiv 2203.11171). Answers that are the
    same by ``same`` vote together; a sample without an answer does not vote. A tie
    counts as the share of right ones among the answers that lead, which is what drawing
    one of them would give on average.

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

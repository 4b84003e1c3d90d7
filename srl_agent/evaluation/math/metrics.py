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
    same by ``same`` vote together, and so do those that a third one joins: "5 cm" and
    "5 kg" by "5". So the order of the samples does not matter. A sample without an answer
    does not vote. A tie counts as the share of right ones among the answers that lead,
    which is what drawing one of them would give on average.

    Args:
        answers: The final answers of one problem's samples; None where there is none.
        correct: Their verdicts.
        same: Whether two answers mean the same, in either order.

    Returns:
        1 or 0, or between in case of a tie or of answers that vote together although
        only some of them are right; 0 if no sample has an answer.
    """
    verdicts: dict[str, list[bool]] = {}
    for answer, verdict in zip(answers, correct, strict=True):
        if answer is not None:
            verdicts.setdefault(answer, []).append(verdict)
    classes: list[list[str]] = []
    for answer in verdicts:
        joined = [members for members in classes if any(same(answer, member) for member in members)]
        classes = [members for members in classes if members not in joined]
        classes.append([answer, *(member for members in joined for member in members)])
    if not classes:
        return 0.0
    votes = [[verdict for answer in members for verdict in verdicts[answer]] for members in classes]
    most = max(map(len, votes))
    return fmean(fmean(of_class) for of_class in votes if len(of_class) == most)


def powers_of_two_up_to(n: int) -> list[int]:
    """1, 2, 4, ... and ``n`` itself: the k of pass@k that are reported."""
    return sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})

"""verl 0.9: the function for ``reward.custom_reward_function``. verl itself is not imported.

Its agent loops are in ``srl_envs.adapters.verl_loops``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srl_envs.adapters.rows import StepRow


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any], **_: Any
) -> dict[str, float]:
    """The step reward of an answer: ``reward.custom_reward_function.name``.

    Args:
        data_source: Not used.
        solution_str: The answer, without special tokens.
        ground_truth: Not used: the row has it too, with how it is compared.
        extra_info: Has ``row``, and ``truncated`` where the agent loop ``srl_step`` wrote
            the answer.
        _: What else verl gives.

    Returns:
        ``score``, the reward; ``thousandths``, the same as a whole number of
        thousandths, for ``algorithm.filter_groups.metric``; ``malformed``, 1 or 0.
        verl leaves out groups whose standard deviation is exactly 0, and numpy's of
        equal fractions is often 1e-17; that of equal whole numbers is 0.
    """
    row = StepRow.read((extra_info or {}).get("row"), "extra_info['row']")
    reward = row.score(solution_str, truncated=bool(extra_info.get("truncated", False)))
    return scores(reward.value, reward.response.error is not None)


def scores(reward: float, malformed: bool = False) -> dict[str, float]:
    """What verl records of an answer: see :func:`compute_score`."""
    thousandths = float(round(1000 * reward))
    return {"score": reward, "thousandths": thousandths, "malformed": float(malformed)}

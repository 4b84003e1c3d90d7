"""Any policy that maps messages to text acts in an SRL environment; no model is needed.

Run: python examples/environment_with_your_policy.py
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import gymnasium as gym

import srl_envs  # noqa: F401 (registers the environments)

EPISODES = 5


def silent(observation: Any, info: dict[str, Any]) -> str:
    """Answers without a think block: malformed, so the reward is -1."""
    return "I do not know."


def expert(observation: Any, info: dict[str, Any]) -> str:
    """Copies the expert's step: the highest reward, 1. Replace it with your model."""
    return f"<think>I copy the expert.</think>\n{info['expert_action']}"


def rewards(policy: Any, seeds: Sequence[int]) -> list[float]:
    """The reward of each step that the policy took, one episode for each seed."""
    env = gym.make("SRL-Math-v0")
    collected = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        done = False
        while not done:
            answer = policy(observation, info)
            observation, reward, terminated, truncated, info = env.step(answer)
            collected.append(float(reward))
            done = terminated or truncated
    env.close()
    return collected


if __name__ == "__main__":
    for policy in (silent, expert):
        found = rewards(policy, range(EPISODES))
        print(f"{policy.__name__}: mean step reward {fmean(found):+.3f} over {len(found)} steps")

"""Environments, data and rewards for Supervised Reinforcement Learning, for any trainer; no torch.

Importing it registers ``SRL-Math-v0``, ``SRL-SWE-v0`` and ``SRL-Steps-v0`` with
gymnasium.
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

import gymnasium as _gymnasium

from srl_envs.commands import register_grammar
from srl_envs.data import load_trajectories, register_source
from srl_envs.domain import register_domain
from srl_envs.instances import StepInstance, StepInstances, TrajectorySet
from srl_envs.response import Response, ResponseFormat, SplitAnswer, parse_response
from srl_envs.reward import (
    RewardSettings,
    StepReward,
    sequence_similarities,
    sequence_similarity,
    step_reward,
    step_rewards,
)
from srl_envs.rewards import register_reward
from srl_envs.sandboxes import register_sandbox
from srl_envs.trajectory import ExpertStep, Trajectory

__all__ = [
    "ExpertStep",
    "Response",
    "ResponseFormat",
    "RewardSettings",
    "SplitAnswer",
    "StepInstance",
    "StepInstances",
    "StepReward",
    "Trajectory",
    "TrajectorySet",
    "__version__",
    "load_trajectories",
    "parse_response",
    "register_domain",
    "register_grammar",
    "register_reward",
    "register_sandbox",
    "register_source",
    "sequence_similarities",
    "sequence_similarity",
    "step_reward",
    "step_rewards",
]

try:
    __version__ = _version("srl-lm")
except _PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_gymnasium.register(
    "SRL-Math-v0",
    entry_point="srl_envs.math:MathEnv",
    vector_entry_point="srl_envs.vector:MathVectorEnv",
)
_gymnasium.register(
    "SRL-SWE-v0",
    entry_point="srl_envs.swe.env:SWEEnv",
    vector_entry_point="srl_envs.swe.env:SWEVectorEnv",
)
_gymnasium.register(
    "SRL-Steps-v0",
    entry_point="srl_envs.steps:StepsEnv",
    vector_entry_point="srl_envs.vector:StepsVectorEnv",
)

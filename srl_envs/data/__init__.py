"""Expert solutions from many sources, all as :class:`~srl_envs.trajectory.Trajectory`: ``load_trajectories`` is the one door."""

from srl_envs.data.jsonl import save_trajectories
from srl_envs.data.sources import SOURCES, load_trajectories

__all__ = ["SOURCES", "load_trajectories", "save_trajectories"]

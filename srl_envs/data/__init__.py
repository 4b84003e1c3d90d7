"""Expert solutions from many sources; ``load_trajectories`` reads them all."""

from srl_envs.data.jsonl import save_trajectories
from srl_envs.data.registry import SOURCES, Source, SourceRequest, register_source
from srl_envs.data.sources import load_trajectories

__all__ = [
    "SOURCES",
    "Source",
    "SourceRequest",
    "load_trajectories",
    "register_source",
    "save_trajectories",
]

"""The settings of the method ``agent``, a part of every run's settings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from srl_agent.rollouts.episode_groups import AdvantageSettings
from srl_agent.rollouts.episode_settings import EpisodeSettings
from srl_envs.errors import require


@dataclass
class AgentSettings(EpisodeSettings):
    """Episodes of the method ``agent``, and what is learned from them."""

    episode_context: int | None = field(
        default=None,
        metadata={
            "help": (
                "agent: most tokens of a prompt with its answer; an episode whose prompt fills"
                " them ends. None takes the positions that the model was made for."
            )
        },
    )
    turn_similarity_weight: float = field(
        default=0.0,
        metadata={
            "help": (
                "agent: weight of a turn's similarity to the expert's step, while all actions"
                " before were the expert's, beside the outcome. 0: the outcome alone decides,"
                " since a solution need not be the expert's."
            )
        },
    )
    malformed_turn_penalty: float = field(
        default=0.1,
        metadata={
            "help": (
                "agent: taken off the advantage of each malformed turn, which has done nothing"
                " for a solved episode. 0.1 is what public recipes for ALFWorld and WebShop take."
            )
        },
    )
    episode_log_mb: int = field(
        default=256,
        metadata={
            "help": (
                "agent: the run folder's episodes-*.jsonl take at most so many MB per process,"
                " at least 1; older episodes are dropped."
            )
        },
    )

    def check_episodes(self) -> None:
        """See :meth:`~srl_agent.rollouts.episode_settings.EpisodeBounds.check_episodes`."""
        super().check_episodes()
        require(self.episode_log_mb >= 1, "episode_log_mb", self.episode_log_mb, "at least 1")
        for name in ("turn_similarity_weight", "malformed_turn_penalty"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(
            self.episode_context is None or self.episode_context >= 2,
            "episode_context",
            self.episode_context,
            "at least 2, or None",
        )

    def advantage_settings(self, scale: bool) -> AdvantageSettings:
        """What makes the advantage of a turn."""
        return AdvantageSettings(scale, self.turn_similarity_weight, self.malformed_turn_penalty)


AGENT_SETTINGS = tuple(one.name for one in fields(AgentSettings))
"""Their names: no other method uses them."""

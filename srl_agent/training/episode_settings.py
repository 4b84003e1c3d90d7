"""The settings of the method ``agent``, a part of every run's settings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from srl_agent.rollouts.episode_groups import AdvantageSettings
from srl_agent.rollouts.episode_records import EpisodeLimits
from srl_envs.errors import require

HISTORIES = ("turns", "whole")


@dataclass
class EpisodeSettings:
    """Episodes of the method ``agent``: their bounds, and what is learned from them."""

    episode_turns: int = field(
        default=30,
        metadata={
            "help": (
                "agent: most answers of an episode, at least 1. An episode that hits this or"
                " another bound is verified as it stands. SWE-smith's experts take 27 on average."
            )
        },
    )
    episode_tokens: int = field(
        default=16_384,
        metadata={
            "help": (
                "agent: an episode ends with the answer that brings what the model wrote to so"
                " many tokens, at least 1."
            )
        },
    )
    episode_seconds: float = field(
        default=1800.0,
        metadata={
            "help": (
                "agent: an episode ends with the answer after so many seconds, so that slow"
                " commands do not hold up a batch for hours."
            )
        },
    )
    episode_context: int | None = field(
        default=None,
        metadata={
            "help": (
                "agent: most tokens of a prompt with its answer; an episode whose prompt fills"
                " them ends. None takes the positions that the model was made for."
            )
        },
    )
    episodes_at_once: int = field(
        default=32,
        metadata={
            "help": (
                "agent: episodes under way at once on each process, at least 1. Each has a"
                " sandbox, and a second one while it is verified."
            )
        },
    )
    episode_history: str = field(
        default="turns",
        metadata={
            "help": (
                "agent: what a turn's prompt shows. turns: what the environment shows, in software"
                " engineering the last history_turns turns; each turn is a row of its own. whole:"
                " the conversation so far; an episode is one row, each token computed once."
            ),
            "choices": list(HISTORIES),
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
    sandbox: str = field(
        default="docker",
        metadata={"help": "agent: which sandbox commands run in, by name."},
    )
    command_timeout: float = field(
        default=60.0, metadata={"help": "agent: seconds that a shell command may take."}
    )

    @property
    def episode_limits(self) -> EpisodeLimits:
        """The bounds of an episode."""
        return EpisodeLimits(
            self.episode_turns, self.episode_tokens, self.episode_seconds, self.episodes_at_once
        )

    def check_episodes(self) -> None:
        """Check the values.

        Raises:
            ConfigError: One is out of its range.
        """
        for name in ("episode_turns", "episode_tokens", "episodes_at_once", "episode_log_mb"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("episode_seconds", "command_timeout"):
            require(getattr(self, name) > 0, name, getattr(self, name), "greater than 0")
        for name in ("turn_similarity_weight", "malformed_turn_penalty"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(
            self.episode_history in HISTORIES,
            "episode_history",
            self.episode_history,
            " or ".join(HISTORIES),
        )
        require(
            self.episode_context is None or self.episode_context >= 2,
            "episode_context",
            self.episode_context,
            "at least 2, or None",
        )

    def advantage_settings(self, scale: bool) -> AdvantageSettings:
        """What makes the advantage of a turn."""
        return AdvantageSettings(scale, self.turn_similarity_weight, self.malformed_turn_penalty)


EPISODE_SETTINGS = tuple(one.name for one in fields(EpisodeSettings))
"""Their names: no other method uses them."""

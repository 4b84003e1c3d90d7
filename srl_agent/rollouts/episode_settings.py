"""The bounds of episodes and where they take place, as settings of a command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from srl_agent.rollouts.episode_records import EpisodeLimits
from srl_envs.errors import require

HISTORIES = ("turns", "whole")


@dataclass
class EpisodeBounds:
    """Bounds of an episode, and what its prompts show."""

    episode_turns: int = field(
        default=30,
        metadata={
            "help": (
                "Most answers of an episode, at least 1. An episode that hits this or another bound"
                " is verified as it stands. SWE-smith's experts take 27 on average."
            )
        },
    )
    episode_tokens: int = field(
        default=16_384,
        metadata={
            "help": (
                "An episode ends with the answer that brings what the model wrote to so many"
                " tokens, at least 1."
            )
        },
    )
    episode_seconds: float = field(
        default=1800.0,
        metadata={
            "help": (
                "An episode ends with the answer after so many seconds, so that slow commands do"
                " not hold up the others for hours."
            )
        },
    )
    episode_history: str = field(
        default="turns",
        metadata={
            "help": (
                "What a turn's prompt shows. turns: what the environment shows, in software"
                " engineering the last history_turns turns; whole: the conversation so far."
            ),
            "choices": list(HISTORIES),
        },
    )
    command_timeout: float = field(
        default=60.0, metadata={"help": "Seconds that a shell command may take."}
    )

    max_image_disk_gb: float = field(
        default=100.0,
        metadata={
            "help": (
                "GiB that images fetched by Docker may take together before unused ones are"
                " removed, above 0. Images that were there stay."
            )
        },
    )

    def limits(self, at_once: int) -> EpisodeLimits:
        """The bounds of episodes of which so many are under way at once."""
        return EpisodeLimits(self.episode_turns, self.episode_tokens, self.episode_seconds, at_once)

    def check_episodes(self) -> None:
        """Check the values.

        Raises:
            ConfigError: One is out of its range.
        """
        for name in ("episode_turns", "episode_tokens"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("episode_seconds", "command_timeout", "max_image_disk_gb"):
            require(getattr(self, name) > 0, name, getattr(self, name), "greater than 0")
        require(
            self.episode_history in HISTORIES,
            "episode_history",
            self.episode_history,
            " or ".join(HISTORIES),
        )


@dataclass
class EpisodeSettings(EpisodeBounds):
    """The same, with how many episodes are under way, and where."""

    episodes_at_once: int = field(
        default=32,
        metadata={
            "help": (
                "Episodes under way at once, at least 1. Each has a sandbox, and a second one while"
                " it is verified."
            )
        },
    )
    sandbox: str = field(
        default="docker", metadata={"help": "Which sandbox commands run in, by name."}
    )

    @property
    def episode_limits(self) -> EpisodeLimits:
        """The bounds of an episode."""
        return self.limits(self.episodes_at_once)

    def check_episodes(self) -> None:
        """See :meth:`EpisodeBounds.check_episodes`."""
        super().check_episodes()
        require(self.episodes_at_once >= 1, "episodes_at_once", self.episodes_at_once, "at least 1")

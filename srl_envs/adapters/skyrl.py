"""skyrl-gym 0.4: the environments of the rows that the export writes.

skyrl_gym.register(id="srl_step", entry_point="srl_envs.adapters.skyrl:StepEnv")
skyrl_gym.register(id="srl_episode", entry_point="srl_envs.adapters.skyrl:EpisodeEnv")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from srl_envs.adapters.episodes import Episode, EpisodeRow
from srl_envs.adapters.rows import StepRow


class StepEnv(BaseTextEnv):
    """One answer, and its step reward.

    SkyRL does not say whether an answer hit the token limit: set
    ``generator.apply_overlong_filtering``.

    Args:
        env_config: Not used.
        extras: The other columns of the row.
    """

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.row = StepRow.read(*_given(extras))

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Score the answer, which ends the episode."""
        reward = self.row.score(action)
        return BaseTextEnvStepOutput(
            observations=[],
            reward=reward.value,
            done=True,
            metadata={"malformed": reward.response.error},
        )


class EpisodeEnv(BaseTextEnv):
    """An episode of an environment of ours; ``done`` comes with its verdict.

    ``generator.max_turns`` of SkyRL must not be below the environment's ``max_steps``.

    Args:
        env_config: Not used.
        extras: The other columns of the row.
    """

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.row = EpisodeRow.read(*_given(extras))
        self._episode: Episode | None = None

    def init(self, prompt: Any) -> tuple[Any, dict[str, Any]]:
        """Start it; the prompt is the environment's first."""
        self.close()
        self._episode = Episode(self.row)
        return self._episode.messages, {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Act on an answer."""
        assert self._episode is not None, "init comes first"
        seen = self._episode.step(action)
        shown = [] if seen.done else [{"role": "user", "content": seen.observation}]
        return BaseTextEnvStepOutput(
            observations=shown, reward=seen.reward, done=seen.done, metadata={}
        )

    def close(self) -> None:
        """Give back the sandbox; a second call does nothing."""
        if self._episode is not None:
            self._episode.close()


def _given(extras: Mapping[str, Any] | None) -> tuple[object, str]:
    return ((extras or {}).get("extra_info") or {}).get("row"), "extra_info['row']"

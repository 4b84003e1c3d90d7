"""NeMo Gym 0.7: resources servers. Its rows are in :mod:`srl_envs.adapters.pivot`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    SimpleResourcesServer,
)
from nemo_gym.server_utils import SESSION_ID_KEY
from pydantic import ConfigDict
from resources_servers.gymnasium import GymnasiumServer

from srl_envs.adapters.episodes import Episode, EpisodeRow
from srl_envs.adapters.pivot import step_of
from srl_envs.errors import ConfigError
from srl_envs.response import SplitAnswer


class StepVerifyRequest(BaseVerifyRequest):
    """With the row's own keys."""

    model_config = ConfigDict(extra="allow")


class StepVerifyResponse(BaseVerifyResponse):
    """With the row's own keys."""

    model_config = ConfigDict(extra="allow")


class StepServer(SimpleResourcesServer):
    """Scores one answer to a pivot row with the step reward."""

    config: BaseResourcesServerConfig

    async def verify(self, body: StepVerifyRequest) -> StepVerifyResponse:
        """The step reward; the answer's thought may come apart from it."""
        row = step_of(body.model_dump(mode="json"), "the request")
        answer, truncated = answer_of(body.response)
        reward = await asyncio.to_thread(row.score, answer, truncated=truncated)
        return StepVerifyResponse(
            **body.model_dump(), reward=reward.value, malformed=reward.response.error or ""
        )


class EpisodeServer(GymnasiumServer):
    """Plays episodes of our environments, for ``gymnasium_agent``. Its rows have ``episode``.

    The agent's ``max_steps`` must not be below the environment's.
    """

    config: BaseResourcesServerConfig

    def setup_webserver(self) -> Any:
        """With ``/close``, which the agent calls when an episode was broken off."""
        app = super().setup_webserver()
        app.post("/close")(self._close_endpoint)
        return app

    async def _close_endpoint(self, request: Request) -> dict[str, Any]:
        await self.close_session(request.session.get(SESSION_ID_KEY))
        return {}

    async def reset(self, metadata: dict[str, Any], session_id: str | None = None) -> Any:
        """Start the episode; its first prompt is that of the row."""
        row = EpisodeRow.read(metadata.get("episode"), "episode")
        await self.close_session(session_id)
        self.session_state[session_id] = await asyncio.to_thread(Episode, row)
        return None, {"supports_explicit_close": True}

    async def step(
        self, action: Any, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str | None, float, bool, bool, dict[str, Any]]:
        """Act on an answer. A failure of the machinery fails the request: it has no reward."""
        episode: Episode | None = self.session_state.get(session_id)
        if episode is None:
            raise ConfigError("No episode is under way in this session: /reset comes first.")
        answer, truncated = answer_of(action)
        if truncated and not any(answer):  # the prompt fills the context: no answer can come
            before = episode.reward
            return None, await asyncio.to_thread(episode.finish) - before, True, False, {}
        seen = await asyncio.to_thread(episode.step, answer, truncated=truncated)
        shown = None if seen.done else seen.observation
        return shown, seen.reward, seen.done, False, {}

    async def close_session(self, session_id: str | None) -> None:
        """Give back the sandbox."""
        if (episode := self.session_state.pop(session_id, None)) is not None:
            await asyncio.to_thread(episode.close)


def answer_of(response: Any) -> tuple[SplitAnswer, bool]:
    """What the model wrote, and whether it hit the token limit."""
    thought, text = None, ""
    for item in response.output:
        if item.type == "reasoning":
            parts = item.content or item.summary or []
            thought = (thought or "") + "".join(part.text for part in parts)
        elif item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
    truncated = response.incomplete_details is not None
    return SplitAnswer(thought, text), truncated

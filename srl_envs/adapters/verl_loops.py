"""verl 0.9: agent loops, named in ``agent_loops.yaml``, which the export writes.

``srl_step`` asks for one answer and tells the reward whether it hit the token limit.
``srl_episode`` plays an episode of an environment, as one conversation.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
)
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from srl_envs.adapters.episodes import Episode, EpisodeRow, opened
from srl_envs.adapters.verl import scores


class StepLoop(SingleTurnAgentLoop):
    """One answer; ``extra_info["truncated"]`` of the reward function says that it was cut."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """See verl."""
        output = await super().run(sampling_params, **kwargs)
        output.extra_fields["truncated"] = _was_cut(
            output.response_ids, self.response_length, self.tokenizer
        )
        return output


class EpisodeLoop(AgentLoopBase):
    """The model's answers, and between them what the environment showed, under a mask of 0.

    The reward is the sum of the environment's. An episode that fills
    ``rollout.response_length`` is verified as it stands. A failure of the machinery is
    raised: verl then drops the group.
    """

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """See verl."""
        row = EpisodeRow.read(kwargs["extra_info"].get("row"), "extra_info['row']")
        async with opened(row) as episode:
            return await self._play(episode, sampling_params)

    async def _play(self, episode: Episode, sampling_params: dict[str, Any]) -> AgentLoopOutput:
        messages: list[dict[str, Any]] = [dict(one) for one in episode.messages]
        tokens = await self.ct_build_initial_tokens(messages)
        prompt, mask, logprobs = list(tokens), list[int](), list[float]()
        malformed, turns, length = 0, 0, self.rollout_config.response_length
        while True:
            written = await self.server_manager.generate(
                request_id=uuid4().hex,
                prompt_ids=tokens,
                sampling_params={**sampling_params, "max_tokens": length - len(mask)},
            )
            merged, mask, new = await self.ct_merge_assistant_token(
                tokens, written.token_ids, mask, logprobs or None, written.log_probs or None
            )
            tokens, logprobs, turns = merged.token_ids, new or [], turns + 1
            text = self.tokenizer.decode(written.token_ids, skip_special_tokens=True)
            cut = len(mask) >= length and _was_cut(written.token_ids, 0, self.tokenizer)
            seen = await asyncio.to_thread(episode.step, text, truncated=cut)
            malformed += seen.info["response"].error is not None
            if seen.done:
                break
            before = [*messages, {"role": "assistant", "content": text}]
            messages = [*before, {"role": "user", "content": seen.observation}]
            shown = await self.ct_merge_context_msg(
                before, messages, tokens, mask, logprobs or None
            )
            if len(shown[1]) >= length:
                break
            tokens, mask, logprobs = shown[0].token_ids, shown[1], shown[2] or []
        reward = await asyncio.to_thread(episode.finish)
        return AgentLoopOutput(
            prompt_ids=prompt,
            response_ids=tokens[len(tokens) - len(mask) :][:length],
            response_mask=mask[:length],
            response_logprobs=logprobs[:length] or None,
            reward_score=reward,
            num_turns=2 * turns,
            metrics=AgentLoopMetrics(),
            extra_fields={
                "turn_scores": [],
                "tool_rewards": [],
                "reward_extra_info": {**scores(reward), "malformed": malformed / turns},
            },
        )


def _was_cut(ids: list[int], limit: int, tokenizer: Any) -> bool:
    """Whether an answer of at least ``limit`` tokens did not end by itself."""
    return len(ids) >= limit and (not ids or ids[-1] != tokenizer.eos_token_id)

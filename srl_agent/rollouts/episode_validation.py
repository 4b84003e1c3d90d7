"""Episodes of held-out tasks: the same tasks and seeds each time, so stages can be paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from srl_agent.rollouts.agent_tasks import AgentInstance
from srl_agent.rollouts.episode_groups import episode_metrics
from srl_agent.rollouts.episode_records import Episode
from srl_agent.rollouts.episodes import Episodes
from srl_agent.runs.answers import Answer
from srl_envs.errors import InfrastructureError


def validate_episodes(
    instances: Sequence[AgentInstance],
    episodes: Episodes,
    *,
    num_samples: int,
    gather: Callable[[list[Any]], list[Any]] | None = None,
) -> tuple[dict[str, float], list[Answer]]:
    """Let a policy solve each task.

    Args:
        instances: This process's share.
        episodes: Rolls out, with seeds that are the same each time.
        num_samples: Episodes of each task.
        gather: Joins the processes' lists; None if there is one process.

    Returns:
        The metrics, over the episodes that have an outcome, and one record an episode;
        one that the machinery failed has no reward.

    Raises:
        InfrastructureError: Not one episode has an outcome.
    """
    ended = episodes.roll_out([instance.task for instance in instances], num_samples)
    asked = [instance for instance in instances for _ in range(num_samples)]
    answers = [_answer(*pair) for pair in zip(asked, ended, strict=True)]
    if gather is not None:
        ended, answers = gather(ended), gather(answers)
    rewards = [episode.reward for episode in ended if episode.reward is not None]
    if not rewards:
        raise InfrastructureError(
            f"None of {len(ended)} episodes has an outcome: "
            + next((episode.failure for episode in ended if episode.failure), "no verdict")
        )
    metrics = episode_metrics(ended) | {
        "reward": fmean(rewards),
        "mean_length": fmean(episode.tokens for episode in ended),
        "answers": float(len(answers)),
    }
    return metrics, answers


def _answer(instance: AgentInstance, episode: Episode) -> Answer:
    last = episode.turns[-1].response if episode.turns else None
    return Answer(
        instance_id=instance.id,
        prompt=instance.messages[-1]["content"],
        title="",
        expert=instance.expert_action,
        completion="\n\n".join(
            part for turn in episode.turns for part in (turn.written.text, turn.observation) if part
        ),
        thought=last.thought if last else "",
        action=last.action if last else "",
        error=last.error if last else None,
        reward=episode.reward,
        similarity=None,
        tokens=episode.tokens,
    )

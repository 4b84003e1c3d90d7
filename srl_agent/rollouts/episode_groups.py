"""Groups of episodes: the advantage of each turn, and what is logged of them.

The outcome is a matter of the whole episode, so its advantage in the group belongs to each
of its turns (as in arXiv 2508.03501, which trains software-engineering agents by it). Two
settings add what is known of a single turn:

- While all actions before were the expert's, the episodes of a group are in one and the
  same state, and the similarities of their next actions to the expert's can be compared:
  a second, smaller group of actions from one state, as in GiGPO (arXiv 2505.10978).
- A malformed turn can cost a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import get_args

from srl_agent.rollouts.dynamic_sampling import Asked, RolloutGroup
from srl_agent.rollouts.episode_records import End, Episode
from srl_envs.response import MALFORMATIONS, Response
from srl_envs.reward import MALFORMED_REWARD, StepReward


@dataclass(frozen=True, slots=True)
class AdvantageSettings:
    """What makes the advantage of a turn.

    Attributes:
        scale: Divide by the standard deviation of the group.
        similarity_weight: Of the turn's similarity to the expert's.
        malformed_penalty: Taken off a malformed turn's advantage.
    """

    scale: bool = True
    similarity_weight: float = 0.0
    malformed_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class EpisodeGroup(RolloutGroup):
    """The episodes of one task that have an outcome; at least one.

    Attributes:
        episodes: In the order of :attr:`rewards`. :attr:`completion_ids` are those of
            all turns of all episodes.
    """

    episodes: Sequence[Episode] = ()

    @classmethod
    def of(cls, episodes: Sequence[Episode], asked: Asked | None = None) -> EpisodeGroup:
        """The group of those episodes that are not masked.

        Args:
            episodes: Of one task.
            asked: As in :class:`RolloutGroup`, with the numbers of those episodes.
        """
        judged = [episode for episode in episodes if episode.reward is not None]
        turns = [turn for episode in judged for turn in episode.turns]
        rewards = [
            StepReward(
                float(episode.reward or 0.0),
                None,
                episode.turns[-1].response if episode.turns else Response("", "", "truncated"),
            )
            for episode in judged
        ]
        return cls(
            list(turns[0].written.prompt_ids) if turns else [],
            [list(turn.written.completion_ids) for turn in turns],
            rewards,
            asked=asked,
            episodes=judged,
        )

    def tokens_of(self, number: int) -> int:
        """How many tokens the model wrote in that episode."""
        return self.episodes[number].tokens

    def turn_advantages(self, settings: AdvantageSettings) -> list[list[float]]:
        """The advantage of each turn of each episode."""
        of_turns = [
            [advantage] * len(episode.turns)
            for advantage, episode in zip(
                self.advantages(settings.scale), self.episodes, strict=True
            )
        ]
        for number in range(max((len(one) for one in of_turns), default=0)):
            for place, value in self._compared(number, settings.scale).items():
                of_turns[place][number] += settings.similarity_weight * value
        for values, episode in zip(of_turns, self.episodes, strict=True):
            for number, turn in enumerate(episode.turns):
                if turn.response.error is not None:
                    values[number] -= settings.malformed_penalty
        return of_turns

    def _compared(self, number: int, scale: bool) -> dict[int, float]:
        """The similarity of turn ``number``, relative to those from the same, expert's state."""
        turns = {
            place: episode.turns[number]
            for place, episode in enumerate(self.episodes)
            if len(episode.turns) > number and episode.turns[number].from_expert_state
        }
        if all(turn.similarity is None for turn in turns.values()):
            return {}  # the expert has no such step
        values = {
            place: MALFORMED_REWARD if turn.similarity is None else turn.similarity
            for place, turn in turns.items()
        }
        mean, spread = fmean(values.values()), pstdev(values.values())
        if spread == 0:
            return {}
        return {
            place: (value - mean) / (spread if scale else 1.0) for place, value in values.items()
        }


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """What is logged of episodes, those without outcome included; there is at least one."""
    turns = [turn for episode in episodes for turn in episode.turns]
    errors = Counter(turn.response.error for turn in turns if turn.response.error)
    ends, count = Counter(episode.end for episode in episodes), len(episodes)
    return {
        "episodes/count": count,
        "episodes/turns": len(turns) / count,
        "episodes/tokens": sum(episode.tokens for episode in episodes) / count,
        "episodes/masked": sum(episode.reward is None for episode in episodes),
        "episodes/repeated": sum(bool(episode.failure) for episode in episodes),
        "episodes/seconds": fmean(episode.seconds for episode in episodes),
        "episodes/sandbox_seconds": fmean(episode.sandbox_seconds for episode in episodes),
        "episodes/verification_seconds": fmean(one.verification_seconds for one in episodes),
        **{f"episodes/end_{end}": ends[end] / count for end in get_args(End)},
        "format_rate": 1 - errors.total() / max(1, len(turns)),
        **{f"malformed/{name}": errors[name] / max(1, len(turns)) for name in MALFORMATIONS},
    }

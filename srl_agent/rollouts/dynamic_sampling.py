"""Dynamic sampling: fill a batch with groups whose rewards differ, and say what was thrown away.

A group is the G rollouts of one prompt. If all its rewards are equal, every advantage
is 0 and it teaches nothing; it is replaced by a fresh prompt until the batch of B
groups is full (arXiv 2510.25992, section 3.3): keep a group if the population standard
deviation of its rewards is greater than epsilon.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

from srl_envs.errors import SRLError
from srl_envs.reward import StepReward


class NothingToLearnError(SRLError, RuntimeError):
    """No group of a whole batch had any spread: the run would go on for ever without learning."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a group answers, and its texts, for the log of rollouts.

    Attributes:
        id: The instance's.
        title: Of the step; may be empty.
        prompt: The last message.
        expert: The expert's action, as it is compared.
        texts: The answers.
        actions: What of each answer is compared; empty where it is malformed.
        episodes: The number of each episode, in a group of episodes.
    """

    id: str
    title: str = ""
    prompt: str = ""
    expert: str = ""
    texts: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    episodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """The G completions of one prompt, scored.

    Attributes:
        prompt_ids: The prompt's tokens.
        completion_ids: The tokens of each completion, the end token included.
        rewards: The score of each completion.
        sampling_logps: The log-probability of each token as the sampler had it, None
            for a token that it could not score; None if it gives none.
        asked: What the log of rollouts has of it; None if it is not logged.
    """

    prompt_ids: list[int]
    completion_ids: list[list[int]]
    rewards: list[StepReward]
    sampling_logps: list[list[float | None]] | None = None
    asked: Asked | None = None

    def tokens_of(self, number: int) -> int:
        """How many tokens the model wrote in that rollout."""
        return len(self.completion_ids[number])

    @property
    def values(self) -> list[float]:
        """The rewards' values, each in [-1, 1]."""
        return [reward.value for reward in self.rewards]

    @property
    def spread(self) -> float:
        """The population standard deviation of the rewards."""
        return pstdev(self.values)

    def advantages(self, scale: bool = True) -> list[float]:
        """``(r - mean) / std`` of each reward in the group (arXiv 2510.25992, Eq. 1).

        All are 0 if the rewards are equal.

        Args:
            scale: Divide by the standard deviation.
        """
        mean, spread = fmean(self.values), self.spread
        if spread == 0:
            return [0.0] * len(self.rewards)
        return [(value - mean) / (spread if scale else 1.0) for value in self.values]


@dataclass(slots=True)
class FilledBatch:
    """What dynamic sampling made of one batch.

    Attributes:
        kept: The groups to train on, at most B.
        dropped: Groups without spread.
        surplus: Groups with spread beyond the B-th; not kept for later, since they
            would be off-policy by then.
        rounds: How often prompts were drawn.
        wanted: B.
    """

    wanted: int
    kept: list[RolloutGroup] = field(default_factory=list)
    dropped: list[RolloutGroup] = field(default_factory=list)
    surplus: list[RolloutGroup] = field(default_factory=list)
    rounds: int = 0

    @property
    def groups(self) -> list[RolloutGroup]:
        """All groups that were rolled out."""
        return [*self.kept, *self.dropped, *self.surplus]

    @property
    def is_full(self) -> bool:
        """Whether B groups were kept."""
        return len(self.kept) == self.wanted

    def malformations(self) -> Counter[str]:
        """How many of all answers were malformed, by reason."""
        return Counter(
            reward.response.error
            for group in self.groups
            for reward in group.rewards
            if reward.response.error
        )

    def metrics(self, malformations: Sequence[str]) -> dict[str, float]:
        """What a step logs of its batch; ``malformations`` names all that are counted."""
        everything = [reward for group in self.groups for reward in group.rewards]
        lengths = [len(ids) for group in self.groups for ids in group.completion_ids]
        similarities = [reward.similarity for reward in everything if reward.similarity is not None]
        malformed = self.malformations()
        values = {
            "reward": fmean(value for group in self.kept for value in group.values),
            "reward_all": fmean(reward.value for reward in everything),
            "reward_std": fmean(group.spread for group in self.kept),
            "format_rate": 1 - malformed.total() / len(everything),
            "groups_kept": len(self.kept),
            "groups_dropped": len(self.dropped),
            "groups_surplus": len(self.surplus),
            "rounds": self.rounds,
            "completions/mean_length": fmean(lengths),
            "completions/max_length": max(lengths),
            **{f"malformed/{name}": malformed[name] / len(everything) for name in malformations},
        }
        if similarities:
            values["similarity"] = fmean(similarities)
        return values

    def explain(self) -> str:
        """Why groups are missing, in one line of counts."""
        answers = sum(len(group.rewards) for group in self.groups)
        malformed = self.malformations()
        reasons = ", ".join(f"{count} {name}" for name, count in malformed.most_common())
        return (
            f"{len(self.kept)} of {self.wanted} groups kept after {self.rounds} rounds of"
            f" {len(self.groups)} groups: {len(self.dropped)} without spread; {malformed.total()}"
            f" of {answers} answers malformed" + (f" ({reasons})" if reasons else "")
        )


def fill_batch(
    roll_out: Callable[[int], Sequence[RolloutGroup]],
    wanted: int,
    *,
    min_std: float,
    max_rounds: int,
    enabled: bool = True,
) -> FilledBatch:
    """Roll out fresh prompts until ``wanted`` groups have spread, or the rounds are used up.

    In distributed training every process must call this with a ``roll_out`` that
    returns the same groups everywhere: then all processes take the same decisions and
    none waits for another.

    Args:
        roll_out: Draws that many prompts and rolls each out; may return more groups
            than asked for.
        wanted: B, the groups of a batch.
        min_std: Epsilon: a group is kept if its spread is greater.
        max_rounds: The most rounds; at least 1.
        enabled: False keeps every group (the ablation without dynamic sampling).

    Returns:
        The batch, full or as far as it could be filled.

    Raises:
        NothingToLearnError: Not one group could be kept.
    """
    batch = FilledBatch(wanted)
    while not batch.is_full and batch.rounds < max_rounds:
        missing = wanted - len(batch.kept)
        rolled = batch.groups
        keep_rate = len(batch.kept) / len(rolled) if rolled else 1.0
        # As many as should fill the gap at the rate seen so far, but never more than a whole batch
        # at once.
        ask = min(wanted, math.ceil(missing / keep_rate)) if keep_rate else wanted
        batch.rounds += 1
        for group in roll_out(ask):
            if enabled and group.spread <= min_std:
                batch.dropped.append(group)
            elif batch.is_full:
                batch.surplus.append(group)
            else:
                batch.kept.append(group)
    if not batch.kept:
        raise NothingToLearnError(_cure(batch))
    return batch


def _cure(batch: FilledBatch) -> str:
    answers = sum(len(group.rewards) for group in batch.groups)
    malformed = batch.malformations()
    values = {value for group in batch.groups for value in group.values}
    sentences = [f"Nothing can be learned: {batch.explain()}."]
    if malformed.total() >= 0.9 * answers:
        sentences.append(_format_cure(malformed, answers))
    elif values not in ({0.0}, {1.0}):
        sentences.append(
            "All rewards of a group are equal: raise --temperature or --num_generations, lower"
            " --min_reward_std, or use problems that the model solves sometimes, easier or harder."
        )
    if values == {0.0}:
        sentences.append(
            "Not one answer was right: use easier problems or a stronger model, or train with SRL"
            " first, which rewards single steps (--method srl, or a curriculum such as --config"
            " srl_then_rlvr_math_7b)."
        )
    if values == {1.0}:
        sentences.append("Every answer was right: use harder problems.")
    return " ".join(sentences)


def _format_cure(malformed: Counter[str], answers: int) -> str:
    if malformed["truncated"] > 0.5 * answers:
        return (
            "Most answers hit the token limit: raise --max_completion_length, or teach the format"
            " with --format_warmup_steps 20."
        )
    if malformed["no_answer"] > 0.5 * answers:
        return (
            "Most answers give no final answer in \\boxed{}: teach it with --format_warmup_steps"
            " 20, or use a model that follows the prompt."
        )
    return (
        "The model does not write <think>...</think> and a step on its own: teach it with"
        " --format_warmup_steps 20, or accept answers without the block with --require_think"
        " false."
    )

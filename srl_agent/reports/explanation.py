"""Why an answer has its reward: the parse, every matching block, 2M/T, and what would change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from srl_agent.reports.comparison import Match, match_of
from srl_envs.errors import require
from srl_envs.response import Response
from srl_envs.reward import RewardSettings, StepReward, response_rewards, step_reward

MALFORMATIONS_EXPLAINED = {
    "truncated": "It hit the token limit before its end token.",
    "no_think": "It has no think block.",
    "unclosed_think": "Its think block is opened and not closed.",
    "unopened_think": "Its think block is closed and not opened.",
    "several_think": "It has more than one think block.",
    "text_before_think": "There is text before its think block.",
    "empty_action": "Nothing follows its think block.",
    "no_answer": "It gives no final answer.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What an answer is compared with.

    Attributes:
        expert: The expert's action, as it is compared.
        scored: Takes the model's action and gives the part of it that is compared.
        title: Of the step; may be empty.
    """

    expert: str
    scored: Callable[[str], str] = str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What another setting would give.

    Attributes:
        setting: As it would be given: ``"autojunk true"``.
        reward: With it.
        difference: To the reward now.
        words: Why, in a sentence.
    """

    setting: str
    reward: float
    difference: float
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One answer explained.

    Attributes:
        name: Of the answer, such as its file.
        response: The answer, parsed.
        parse: What was read in it, in a sentence.
        action: What of it is compared; empty if malformed.
        expert: What it is compared with.
        match: Where the two match; None if malformed.
        reward: Its reward.
        arithmetic: How the reward comes about.
        changes: What other settings would give.
        advantage: In its group; None without a group.
    """

    name: str
    response: Response
    parse: str
    action: str
    expert: str
    match: Match | None
    reward: float
    arithmetic: str
    changes: Sequence[Change]
    advantage: float | None = None


def explain(
    name: str,
    text: str,
    target: Target,
    settings: RewardSettings = RewardSettings(),
    *,
    arguments: Target | None = None,
    truncated: bool = False,
) -> Explanation:
    """Explain the reward of one answer.

    Args:
        name: Of the answer.
        text: All that the model wrote.
        target: What it is compared with.
        settings: How it is scored.
        arguments: The same where only a command's tool and values are compared; None
            if the step is not a command.
        truncated: The answer hit the token limit.
    """
    reward = step_reward(text, target.expert, settings, truncated=truncated, scored=target.scored)
    response, expert = reward.response, target.expert.strip()
    if response.error is not None:
        why = MALFORMATIONS_EXPLAINED.get(response.error, "")
        parse = f"Malformed ({response.error}): {why}"
        arithmetic = f"A malformed answer has the reward {reward.value:g}."
        return Explanation(name, response, parse, "", expert, None, reward.value, arithmetic, [])
    action = target.scored(response.action)
    match = match_of(
        action, expert, autojunk=settings.autojunk, max_characters=settings.max_characters
    )
    changes = _changes(response, target, settings, reward, arguments)
    return Explanation(
        name=name,
        response=response,
        parse=_parse(response, action),
        action=action,
        expert=expert,
        match=match,
        reward=reward.value,
        arithmetic=worked_out(match, reward, settings.name),
        changes=changes,
    )


def in_group(
    explanations: Sequence[Explanation], others: Sequence[float] = (), scale: bool = True
) -> tuple[list[Explanation], str]:
    """The explanations as one group, with their advantages.

    Args:
        explanations: Of the group's answers.
        others: Rewards of further answers of the group.
        scale: Divide by the standard deviation.

    Returns:
        The explanations, and the group in a sentence.
    """
    for value in others:
        require(-1 <= value <= 1, "rewards", value, "from -1 to 1")
    rewards = [*(one.reward for one in explanations), *others]
    mean, spread = fmean(rewards), pstdev(rewards)
    if len(rewards) < 2:
        return list(explanations), "One answer is not a group, so it has no advantage."
    words = f"{len(rewards)} answers: mean reward {mean:.4f}, standard deviation {spread:.4f}."
    if spread == 0:
        words += " All rewards are equal, so every advantage is 0 and the group is replaced."
    by = spread if scale and spread else 1.0
    return [replace(one, advantage=(one.reward - mean) / by) for one in explanations], words


def worked_out(match: Match, reward: StepReward, name: str = "similarity") -> str:
    """How the reward of a well-formed answer comes about, with its numbers."""
    if name != "similarity":
        return f"The reward {name!r} gives {reward.value:.4f}."
    if not match.total:
        return "Both actions are empty: the reward is 1."
    # The blocks that are shown may be fewer: their search is bounded, the reward is exact.
    matched = round(reward.value * match.total / 2)
    line = f"2M / T = 2 \N{MULTIPLICATION SIGN} {matched:,} / {match.total:,} = {reward.value:.4f}"
    if matched != match.matched:
        line += f" (the blocks shown hold {match.matched:,}: their search is bounded)"
    return line


def _parse(response: Response, action: str) -> str:
    thought = f"a thought of {len(response.thought):,} characters" if response.thought else ""
    thought = thought or "an empty thought, or none"
    words = f"Well-formed: {thought}, then an action of {len(response.action):,} characters."
    if action != response.action:
        words += f" Of the action {len(action):,} characters are compared."
    return words


def _changes(
    response: Response,
    target: Target,
    settings: RewardSettings,
    now: StepReward,
    arguments: Target | None,
) -> list[Change]:
    def other(setting: str, words: str, changed: RewardSettings, to: Target) -> Change:
        action = to.scored(response.action)
        value = response_rewards([response], [action], [to.expert], changed)[0].value
        return Change(setting, value, value - now.value, words)

    if settings.name != "similarity":
        return []
    expert, limit = target.expert.strip(), settings.max_characters
    longest = max(len(expert), len(target.scored(response.action)))
    acts = len(expert) >= 200
    junk = (
        f"The expert's step has {len(expert):,} characters, {'at least' if acts else 'under'} 200:"
        f" autojunk {'ignores its frequent characters' if acts else 'does nothing'}."
    )
    flipped = not settings.autojunk
    found = [
        other(f"autojunk {str(flipped).lower()}", junk, replace(settings, autojunk=flipped), target)
    ]
    if longest > limit:
        words = f"The longer action has {longest:,} characters, and only {limit:,} can match."
        bound = replace(settings, max_characters=longest)
        found.append(other(f"max_reward_characters {longest}", words, bound, target))
    else:
        words = f"Both actions are within the bound of {limit:,} characters: it does nothing."
        found.append(other(f"max_reward_characters {limit}", words, settings, target))
    if arguments is not None:
        words = "Only the tool and its values are compared, without the grammar's scaffold."
        found.append(other("scored arguments", words, settings, arguments))
    return found

"""The step reward: how similar the model's step is to the expert's, -1 for a malformed answer.

``R = 2M / T`` with M the characters in matching blocks and T the characters in both
strings (arXiv 2510.25992, Eq. 2): exactly the ``ratio()`` of the standard library's
``difflib.SequenceMatcher``, which is not symmetric, so the order is fixed: (model,
expert).

The paper does not say which ``autojunk`` it used. Python's default (True) acts from 200
characters on and collapses scores of long steps, so False is the default here, and the
setting is recorded with every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cydifflib
import difflib_fast

from srl_envs.errors import ConfigError
from srl_envs.response import ModelAnswer, Response, ResponseFormat, parse_response
from srl_envs.rewards import REWARDS, Attempt, StateReward, check_reward, register_reward, rewarded
from srl_envs.trajectory import Trajectory

MALFORMED_REWARD = -1.0
"""The reward of an answer that does not follow the format."""

_AUTOJUNK_LENGTH = 200  # difflib's own: the expert's length from which autojunk acts


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """How an answer is scored; recorded with every run.

    Attributes:
        autojunk: difflib's heuristic that ignores frequent characters of expert steps
            of 200 characters and more.
        max_characters: Only this many first characters of either action can match;
            those beyond still count in T, so that a flood lowers its own reward and
            cannot stall a run. At least 1. The longest real action we met has 12,936
            characters.
        format: Which shape an answer must have.
        name: Which reward of :data:`srl_envs.rewards.REWARDS` scores a well-formed
            answer; ``autojunk`` and ``max_characters`` are for ``"similarity"``.
        sandbox: For ``"execution"``: where commands run, a name of
            :data:`srl_envs.sandboxes.SANDBOXES`.
        command_timeout: For ``"execution"``: seconds that a command may take.
    """

    autojunk: bool = False
    max_characters: int = 16_000
    format: ResponseFormat = field(default_factory=ResponseFormat)
    name: str = "similarity"
    sandbox: str = "docker"
    command_timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.max_characters < 1:
            raise ConfigError(f"max_characters is {self.max_characters}: it must be at least 1.")
        REWARDS.named(self.name)
        if self.autojunk and self.name != "similarity":
            raise ConfigError(f"autojunk has no effect on the reward {self.name!r}: leave it out.")
        if not self.command_timeout > 0:
            raise ConfigError(f"command_timeout is {self.command_timeout}: it must be above 0.")

    def check(self, trajectories: Sequence[Trajectory]) -> None:
        """Check, before any work, that the steps of these trajectories can be scored.

        Raises:
            ConfigError: They cannot: ``"execution"`` needs commands that run.
        """
        check_reward(self.name, trajectories, self)


@dataclass(frozen=True, slots=True)
class StepReward:
    """The score of one answer.

    Attributes:
        value: The reward: the similarity in [0, 1], or -1 if the answer is malformed.
        similarity: 2M/T of the actions, or what another reward gave; None if the answer
            is malformed.
        response: The parsed answer.
    """

    value: float
    similarity: float | None
    response: Response


Scoring = Callable[[str], str]
"""Takes the model's action and gives the part of it that is compared."""


@register_reward("similarity")
def sequence_similarity(model: str, expert: str, *, autojunk: bool = False) -> float:
    """2M/T of two strings, bit-identical to the standard library.

    That is ``difflib.SequenceMatcher(None, model, expert, autojunk=autojunk).ratio()``.

    Args:
        model: What the model wrote. Any string, also empty or with lone surrogates.
        expert: What the expert wrote.
        autojunk: See the module's docstring.

    Returns:
        A similarity in [0, 1]; 1.0 for two empty strings.
    """
    return sequence_similarities([(model, expert)], autojunk=autojunk)[0]


register_reward("execution")(
    StateReward("srl_envs.swe.execution:execution_rewards", "srl_envs.swe.execution:check")
)


def sequence_similarities(
    pairs: Sequence[tuple[str, str]], *, autojunk: bool = False
) -> list[float]:
    """:func:`sequence_similarity` of many (model, expert) pairs at once.

    It takes all cores; with ``autojunk`` the pairs are scored one after another.

    Two libraries share the work: difflib-fast does what ``autojunk`` has no part in;
    cydifflib does the rest. It is not asked for more, because repetitive strings
    ("aaaa" beside "abab") take it time cubic in their length: minutes at 16,000
    characters.
    """
    if autojunk:
        return [_ratio_with_autojunk(model, expert) for model, expert in pairs]
    try:
        return difflib_fast.ratio(list(pairs))
    except UnicodeEncodeError:  # a lone surrogate somewhere in the batch
        return difflib_fast.ratio([_without_surrogates(model, expert) for model, expert in pairs])


def step_reward(
    answer: ModelAnswer,
    expert_action: str,
    settings: RewardSettings = RewardSettings(),
    *,
    truncated: bool = False,
    scored: Scoring = str,
    at: tuple[Trajectory, int] | None = None,
) -> StepReward:
    """Score one answer against the expert's step.

    Args:
        answer: What the model wrote: a text with its think block, or a
            :class:`~srl_envs.SplitAnswer`; both have the same reward.
        expert_action: The expert's step. Outer white space counts on neither side.
        settings: How to score.
        truncated: The answer hit the token limit.
        scored: What of the model's action is compared: :meth:`StepInstance.scored
            <srl_envs.StepInstance.scored>`; ``str`` compares all of it.
        at: The trajectory, and the index of the step in it, for rewards that look at
            the state (``"execution"``).

    Returns:
        The reward: 2M/T of the actions (or what ``settings.name`` says), or -1 for a
        malformed answer.
    """
    return step_rewards(
        [answer],
        [expert_action],
        settings,
        truncated=[truncated],
        scored=[scored],
        at=None if at is None else [at],
    )[0]


def step_rewards(
    answers: Sequence[ModelAnswer],
    expert_actions: Sequence[str],
    settings: RewardSettings = RewardSettings(),
    *,
    truncated: Sequence[bool] | None = None,
    scored: Sequence[Scoring] | None = None,
    at: Sequence[tuple[Trajectory, int]] | None = None,
) -> list[StepReward]:
    """:func:`step_reward` of many answers, all scored in one batch.

    Raises:
        ValueError: The sequences differ in length.
    """
    cut_off = [False] * len(answers) if truncated is None else truncated
    responses = [
        parse_response(answer, settings.format, truncated=cut)
        for answer, cut in zip(answers, cut_off, strict=True)
    ]
    scorings = [str] * len(answers) if scored is None else scored
    parts = [
        scoring(response.action) if response.error is None else ""
        for response, scoring in zip(responses, scorings, strict=True)
    ]
    return response_rewards(responses, parts, expert_actions, settings, at)


def response_rewards(
    responses: Sequence[Response],
    scored: Sequence[str],
    expert_actions: Sequence[str],
    settings: RewardSettings = RewardSettings(),
    at: Sequence[tuple[Trajectory, int]] | None = None,
) -> list[StepReward]:
    """:func:`step_rewards` of answers that are read already.

    Args:
        responses: The parsed answers.
        scored: What of each action is compared; unused where the answer is malformed.
        expert_actions: The expert's steps.
        settings: How to score.
        at: See :func:`step_reward`.

    Raises:
        ValueError: The sequences differ in length.
    """
    well_formed = [
        (part, expert.strip())
        for response, part, expert in zip(responses, scored, expert_actions, strict=True)
        if response.error is None
    ]
    if settings.name == "similarity":  # has a batched form
        similarities = iter(bounded_similarities(well_formed, settings))
    else:
        attempts = None if at is None else _attempts(responses, scored, expert_actions, at)
        similarities = iter(rewarded(settings.name, well_formed, attempts, settings))
    rewards = []
    for response in responses:
        similarity = next(similarities) if response.error is None else None
        rewards.append(
            StepReward(MALFORMED_REWARD if similarity is None else similarity, similarity, response)
        )
    return rewards


def _attempts(
    responses: Sequence[Response],
    scored: Sequence[str],
    expert_actions: Sequence[str],
    at: Sequence[tuple[Trajectory, int]],
) -> list[Attempt]:
    """The well-formed answers with their states."""
    return [
        Attempt(response.action, part, expert.strip(), trajectory, index)
        for response, part, expert, (trajectory, index) in zip(
            responses, scored, expert_actions, at, strict=True
        )
        if response.error is None
    ]


def bounded_similarities(pairs: Sequence[tuple[str, str]], settings: RewardSettings) -> list[float]:
    """:func:`sequence_similarities`, of which only the first characters can match."""
    limit = settings.max_characters
    cut = [(model[:limit], expert[:limit]) for model, expert in pairs]
    similarities = sequence_similarities(cut, autojunk=settings.autojunk)
    return [
        similarity * _counted_share(model, expert, limit)
        for (model, expert), similarity in zip(pairs, similarities, strict=True)
    ]


def _counted_share(model: str, expert: str, limit: int) -> float:
    """T of the cut strings over T of the whole ones, which turns 2M/T(cut) into 2M/T.

    It is exactly 1 where nothing was cut.
    """
    whole = len(model) + len(expert)
    return (min(len(model), limit) + min(len(expert), limit)) / whole if whole else 1.0


def _without_surrogates(model: str, expert: str) -> tuple[str, str]:
    """The pair with every lone surrogate replaced by a character that is in neither string.

    What matches what stays the same.
    """
    used = set(model) | set(expert)
    surrogates = [character for character in used if "\ud800" <= character <= "\udfff"]
    unused = (code for code in range(0x10FFFF, 0xFFFF, -1) if chr(code) not in used)
    table = {ord(surrogate): code for surrogate, code in zip(surrogates, unused, strict=False)}
    return model.translate(table), expert.translate(table)


def _ratio_with_autojunk(model: str, expert: str) -> float:
    if len(expert) < _AUTOJUNK_LENGTH:  # the heuristic does not act
        return sequence_similarity(model, expert)
    ratio: float = cydifflib.SequenceMatcher(None, model, expert, autojunk=True).ratio()
    return ratio

"""Answer answers beside the expert's steps.

Decides which instances to show, and which characters the reward counts as matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srl_agent.runs.answers import Answer
from srl_agent.runs.records import RunRecords
from srl_envs.matching import COMPARISONS, MatchingBlock, matching_blocks


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of characters that all match the other text, or all do not."""

    text: str
    matches: bool


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One stage's answer to an instance.

    Attributes:
        stage: Which model answered.
        sample: The answer.
        action: The action in segments, compared with the expert's; empty if malformed.
    """

    stage: str
    sample: Answer
    action: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The expert's step beside the models' answers.

    Attributes:
        sample: The last stage's answer, for what all stages share: id, prompt, title.
        expert: The expert's action in segments, compared with the last stage's answer;
            one segment if that is malformed.
        answers: One a stage, in the order of the stages.
    """

    sample: Answer
    expert: Sequence[Segment]
    answers: Sequence[ShownAnswer]


@dataclass(frozen=True, slots=True)
class Match:
    """An action beside the expert's, with the blocks that the reward 2M/T counts.

    Attributes:
        action: The model's action in segments.
        expert: The expert's action in segments.
        blocks: Where they match, in order.
        total: T, the characters of both.
    """

    action: Sequence[Segment]
    expert: Sequence[Segment]
    blocks: Sequence[MatchingBlock]
    total: int

    @property
    def matched(self) -> int:
        """M, the characters in blocks."""
        return sum(block.size for block in self.blocks)

    @property
    def ratio(self) -> float:
        """2M/T; 1.0 for two empty strings."""
        return 2 * self.matched / self.total if self.total else 1.0


def match_of(
    action: str,
    expert: str,
    *,
    autojunk: bool = False,
    max_characters: int | None = None,
    comparisons: int = COMPARISONS,
) -> Match:
    """Both texts cut into matching and other runs.

    Repetitive texts that would take difflib minutes are searched as far as
    ``comparisons`` goes; the rest shows no match.

    Args:
        action: The model's.
        expert: The expert's.
        autojunk: See :mod:`srl_envs.reward`.
        max_characters: Only this many first characters of either can match.
        comparisons: See :func:`srl_envs.matching.matching_blocks`.
    """
    blocks = matching_blocks(
        action[:max_characters],
        expert[:max_characters],
        autojunk=autojunk,
        comparisons=comparisons,
    )
    return Match(
        _cut(action, [(block.a, block.size) for block in blocks]),
        _cut(expert, [(block.b, block.size) for block in blocks]),
        blocks,
        len(action) + len(expert),
    )


def comparisons(records: RunRecords, count: int) -> list[Comparison]:
    """Instances spread evenly over the last stage's rewards, worst to best.

    So the choice is not flattering.

    Args:
        records: A run's records.
        count: How many instances at most.
    """
    by_stage = {
        stage: {sample.instance_id: sample for sample in records.final_samples(stage)}
        for stage in records.method.stages
    }
    present = [stage for stage in by_stage if by_stage[stage]]
    if not present:
        return []
    last = by_stage[present[-1]]
    ranked = sorted(
        last.values(),
        key=lambda sample: (
            sample.reward if sample.reward is not None else -1.0,
            sample.instance_id,
        ),
    )
    shown = (
        ranked
        if len(ranked) <= count
        else [ranked[round(i * (len(ranked) - 1) / max(count - 1, 1))] for i in range(count)]
    )
    return [
        _compare(sample, [(stage, by_stage[stage].get(sample.instance_id)) for stage in present])
        for sample in shown
    ]


def _compare(sample: Answer, stages: Sequence[tuple[str, Answer | None]]) -> Comparison:
    answers = []
    for stage, answer in stages:
        if answer is not None:
            action = match_of(answer.action, answer.expert).action if answer.error is None else []
            answers.append(ShownAnswer(stage, answer, action))
    expert = (
        match_of(sample.action, sample.expert).expert
        if sample.error is None
        else [Segment(sample.expert, matches=True)]
    )
    return Comparison(sample, expert, answers)


def _cut(text: str, blocks: Sequence[tuple[int, int]]) -> list[Segment]:
    found, end = [], 0
    for start, size in (*blocks, (len(text), 0)):
        if start > end:
            found.append(Segment(text[end:start], matches=False))
        if size:
            found.append(Segment(text[start : start + size], matches=True))
        end = start + size
    return found

"""From groups of episodes to rows of micro-batches, and the weight of each row.

Rows differ in number from step to step: an episode has as many as it has turns, or one if
each prompt holds all that came before. What an optimizer step learns does not depend on
how they are cut into micro-batches.

With ``l`` the loss of a token, ``N`` episodes in an optimizer step, of ``T_e`` tokens that
the model wrote, the step's loss is, by ``loss_type``:

- ``grpo``: ``1/N sum_e 1/T_e sum l``. Each episode has the same weight. So a token of a
  long episode counts less, which favors long failures (arXiv 2503.20783).
- ``dapo``: ``sum l / sum_e T_e``. Each token has the same weight (arXiv 2503.14476).
- ``dr_grpo``: ``sum l / (N * episode_tokens)``, a constant (arXiv 2503.20783).
- ``cispo``: as ``dapo``.

TRL divides by the tokens of the step; the rest is a factor of a row's advantages, by which
these losses are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from srl_agent.rollouts.episode_groups import EpisodeGroup
from srl_agent.rollouts.episode_records import Episode, Turn
from srl_agent.training.trl.policy_loss import Row


@dataclass(frozen=True, slots=True)
class EpisodeWindow:
    """The rows of one optimizer step, on all processes.

    Attributes:
        micro_batches: As many for each slot of each process, all of one size.
        parts: How many micro-batches a slot has.
        tokens: That carry loss.
    """

    micro_batches: list[list[Row]]
    parts: int
    tokens: int

    def of_process(self, rank: int, processes: int) -> list[list[list[Row]]]:
        """For each slot of a process, its micro-batches."""
        mine = self.micro_batches[rank::processes]
        return [mine[start : start + self.parts] for start in range(0, len(mine), self.parts)]


def episode_windows(
    groups: Sequence[EpisodeGroup], args: Any, pad_token_id: int
) -> Iterator[EpisodeWindow]:
    """Divide the groups of one generation among its optimizer steps.

    Args:
        groups: Of one generation.
        args: The run's settings.
        pad_token_id: The token of filler rows.
    """
    size = args.per_device_train_batch_size
    slots = args.gradient_accumulation_steps * args.world_size
    filler = Row([pad_token_id] * 2, [pad_token_id], 0.0, None, is_filler=True)
    for window in range(args.windows):
        episodes = [
            rows
            for group in groups[window :: args.windows]
            for rows in _rows_of(group, args)
            if rows
        ]
        weighted, tokens = _weighted(episodes, args)
        batches = [weighted[start : start + size] for start in range(0, len(weighted), size)]
        parts = max(1, -(-len(batches) // slots))
        batches += [[] for _ in range(parts * slots - len(batches))]
        full = [[*batch, *[filler] * (size - len(batch))] for batch in batches]
        yield EpisodeWindow(full, parts, tokens)


def _rows_of(group: EpisodeGroup, args: Any) -> Iterator[list[Row]]:
    """The rows of each episode, without their weights."""
    advantages = group.turn_advantages(args.advantage_settings(args.scale_rewards == "group"))
    for episode, values in zip(group.episodes, advantages, strict=True):
        if args.episode_history == "whole":
            yield _whole(episode, values)
        else:
            yield [
                Row(
                    list(turn.written.prompt_ids),
                    list(turn.written.completion_ids),
                    value,
                    turn.written.logps,
                )
                for turn, value in zip(episode.turns, values, strict=True)
                if turn.written.completion_ids and not _is_masked(turn, args)
            ]


def _is_masked(turn: Turn, args: Any) -> bool:
    return bool(args.mask_truncated_completions and turn.written.truncated)


def _whole(episode: Episode, values: Sequence[float]) -> list[Row]:
    """An episode as one row: its first prompt, then all that followed, answers and observations."""
    if not episode.turns:
        return []
    prompt = list(episode.turns[0].written.prompt_ids)
    ids: list[int] = []
    mask: list[int] = []
    advantages: list[float] = []
    logps: list[float | None] = []
    for turn, value in zip(episode.turns, values, strict=True):
        seen = list(turn.written.prompt_ids)[len(prompt) + len(ids) :]
        written = list(turn.written.completion_ids)
        ids += [*seen, *written]
        mask += [*[0] * len(seen), *[1] * len(written)]
        advantages += [*[0.0] * len(seen), *[value] * len(written)]
        logps += [*[None] * len(seen), *(turn.written.logps or [None] * len(written))]
    has_logps = any(turn.written.logps is not None for turn in episode.turns)
    return [Row(prompt, ids, advantages, logps if has_logps else None, mask=mask)]


def _weighted(episodes: Sequence[Sequence[Row]], args: Any) -> tuple[list[Row], int]:
    """The rows with their advantages times their weights, and how many tokens carry loss."""
    tokens = [sum(row.tokens for row in rows) for rows in episodes]
    total = sum(tokens)
    weighted = []
    for rows, count in zip(episodes, tokens, strict=True):
        weight = 1.0
        if args.loss_type == "grpo":
            weight = total / (len(episodes) * count)
        elif args.loss_type == "dr_grpo":
            weight = total / (len(episodes) * args.episode_tokens)
        for row in rows:
            value = row.advantage
            weighted.append(
                replace(
                    row,
                    advantage=value * weight
                    if isinstance(value, float)
                    else [one * weight for one in value],
                )
            )
    return weighted, total

"""The rollouts of a training run on disk: every group with its answers, rewards and fate.

``rollouts/`` holds numbered parts. Each part is two files:

- ``00000.jsonl.gz``: one group a line. Each line is a gzip member, so a group is read
  without those before it, and ``zcat`` reads the whole part.
- ``00000.index``: one line a group, with what lists and filters need and where its
  member is. A line is written after its group, so what it names is whole.

``dropped.json`` counts the groups whose part was deleted to stay within the bound.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from srl_agent.rollouts.dynamic_sampling import Asked, FilledBatch, RolloutGroup
from srl_agent.runs.files import drop_cut_line, replace_file
from srl_envs.errors import DataError, require
from srl_envs.reward import StepReward

if TYPE_CHECKING:
    from srl_agent.rollouts.scorers import Instance

LOGGED = ("all", "sample", "none")
"""Which groups are logged; ``sample`` is one instance in :data:`SAMPLED_ONE_IN`."""

SAMPLED_ONE_IN = 10

FOLDER = "rollouts"

Fate = Literal["kept", "dropped", "surplus"]

_PARTS = 8  # the bound on disk holds so many parts: an eighth of it is deleted at once
_LONGEST_TEXT = 100_000  # characters of an answer, an action, a prompt or an expert's step

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One answer of a group.

    Attributes:
        text: All that the model wrote.
        thought: What it thought; empty if malformed.
        action: What was compared with the expert's action; empty if malformed.
        error: None, or which malformation.
        reward: Of the answer.
        similarity: None if malformed.
        advantage: In its group.
        tokens: That the model wrote; of an episode, in all of its turns.
        episode: Its number, if the answer is an episode.
    """

    text: str
    thought: str
    action: str
    error: str | None
    reward: float
    similarity: float | None
    advantage: float
    tokens: int
    episode: int | None = None


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The answers to one prompt at one training step.

    Attributes:
        step: The optimizer step that its batch serves first.
        place: In the batch, from 0.
        id: The instance's.
        title: Of the step to write; may be empty.
        prompt: The last message.
        expert: The expert's action, as it is compared.
        fate: ``kept``, ``dropped`` or ``surplus``.
        why: The reason, in a sentence.
        rollouts: The answers.
    """

    step: int
    place: int
    id: str
    title: str
    prompt: str
    expert: str
    fate: str
    why: str
    rollouts: tuple[RolloutRecord, ...]

    @classmethod
    def from_row(cls, row: Any, where: str) -> GroupRecord:
        """What :class:`RolloutLog` wrote.

        Args:
            row: A line.
            where: File and place, for the message.

        Raises:
            DataError: It is not such a record.
        """
        try:
            known = {one.name: row[one.name] for one in fields(cls)}
            known["rollouts"] = tuple(RolloutRecord(**rollout) for rollout in known["rollouts"])
        except (KeyError, TypeError):
            raise DataError(f"{where}: not a group of this version.") from None
        return cls(**known)


class RolloutLog:
    """Appends the groups of each batch to a run's ``rollouts/``, within a bound on disk.

    When the parts together exceed the bound, the oldest is deleted, and the log says so.

    Args:
        run: The run's folder.
        logged: One of :data:`LOGGED`.
        max_bytes: Of all parts, indexes included.
    """

    def __init__(self, run: Path, logged: str, max_bytes: int) -> None:
        require(logged in LOGGED, "log_rollouts", logged, f"one of {', '.join(LOGGED)}")
        self.folder, self._logged, self._most = run / FOLDER, logged, max_bytes
        self._part: int | None = None

    def asked(
        self,
        instance: Instance,
        texts: Sequence[str] = (),
        rewards: Sequence[StepReward] = (),
        episodes: Sequence[int] = (),
    ) -> Asked | None:
        """What is written of a group later; None if it is not logged.

        A sample has the same instances throughout, so that one sees answers change.
        """
        if self._logged == "none":
            return None
        if self._logged == "sample" and zlib.crc32(instance.id.encode()) % SAMPLED_ONE_IN:
            return None
        actions = (
            "" if one.response.error else instance.scored(one.response.action) for one in rewards
        )
        return Asked(
            id=instance.id,
            title=instance.title,
            prompt=_cut(instance.messages[-1]["content"]),
            expert=_cut(instance.expert_action.strip()),
            texts=tuple(map(_cut, texts)),
            actions=tuple(map(_cut, actions)),
            episodes=tuple(episodes),
        )

    def write(self, batch: FilledBatch, step: int, *, scale: bool, min_std: float) -> None:
        """Append the logged groups of a batch.

        Args:
            batch: What dynamic sampling made.
            step: The optimizer step that it serves first.
            scale: Whether advantages are divided by the standard deviation.
            min_std: Epsilon of dynamic sampling, for the reasons.
        """
        fates: list[tuple[Fate, RolloutGroup]] = [
            *(("kept", group) for group in batch.kept),
            *(("dropped", group) for group in batch.dropped),
            *(("surplus", group) for group in batch.surplus),
        ]
        logged = [(fate, group) for fate, group in fates if group.asked is not None]
        if not logged:
            return
        lines, index = bytearray(), []
        path = self._current()
        start = path.stat().st_size if path.is_file() else 0
        for place, (fate, group) in enumerate(logged):
            record = _record(group, step, place, fate, _reason(fate, group, batch, min_std), scale)
            # A model's lone surrogates cannot be written otherwise.
            text = json.dumps(asdict(record), ensure_ascii=False) + "\n"
            member = gzip.compress(text.encode("utf-8", "backslashreplace"), 5, mtime=0)
            index.append(json.dumps(_index_line(record, start + len(lines), len(member))) + "\n")
            lines += member
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            file.write(lines)
        with _index_of(path).open("a", encoding="utf-8") as file:
            file.writelines(index)

    def _current(self) -> Path:
        """The part to append to, after what no longer fits is deleted."""
        if self._part is None:
            numbers = [int(path.stem) for path in part_indexes(self.folder)]
            self._part = max(numbers, default=0)
            drop_cut_line(self.folder / f"{self._part:05}.index")
            self._rotate()
        path = self.folder / f"{self._part:05}.jsonl.gz"
        if _size(path) >= self._most // _PARTS:
            self._part += 1
            path = self.folder / f"{self._part:05}.jsonl.gz"
            self._rotate()
        return path

    def _rotate(self) -> None:
        """Delete the oldest parts until the rest, with a new part, is within the bound."""
        parts = [path.with_suffix(".jsonl.gz") for path in part_indexes(self.folder)]
        sizes = [_size(part) for part in parts]
        while len(parts) > 1 and sum(sizes) + self._most // _PARTS > self._most:
            oldest = parts.pop(0)
            sizes.pop(0)
            steps = [line["step"] for line in index_lines(_index_of(oldest))]
            before = read_dropped(self.folder)
            now = Dropped(before.groups + len(steps), max([before.last_step, *steps]))
            replace_file(self.folder / "dropped.json", json.dumps(asdict(now)).encode())
            oldest.unlink(missing_ok=True)
            _index_of(oldest).unlink(missing_ok=True)
            _logger.info(
                f"{self.folder}: the rollouts of {len(steps)} groups up to step {now.last_step}"
                f" were deleted, to stay within rollout_log_mb = {self._most // 2**20}"
            )


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the bound on disk took: how many groups, and up to which step."""

    groups: int = 0
    last_step: int = 0


def read_dropped(folder: Path) -> Dropped:
    """What was deleted from a run's ``rollouts/``; nothing if that is not known."""
    try:
        return Dropped(**json.loads((folder / "dropped.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return Dropped()


def part_indexes(folder: Path) -> list[Path]:
    """The indexes of the parts in a run's ``rollouts/``, oldest first."""
    return sorted(path for path in folder.glob("*.index") if path.stem.isdecimal())


def index_lines(path: Path, start: int = 0) -> Iterator[Mapping[str, Any]]:
    """The lines of an index that are whole, from a byte on.

    ``end`` is added to each: the byte after it, from which to read on later.
    """
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            start += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                row["end"] = start
                yield row


def read_group(index: Path, offset: int, size: int) -> GroupRecord:
    """The group that a line of an index names.

    Raises:
        DataError: It was deleted to stay within the bound on disk, or is damaged.
    """
    path = index.with_suffix(".jsonl.gz")
    where = f"{path}, byte {offset}"
    try:
        with path.open("rb") as file:
            file.seek(offset)
            row = json.loads(gzip.decompress(file.read(size)))
    except FileNotFoundError:
        raise DataError(
            f"{path} was deleted to stay within the bound on disk (rollout_log_mb)."
        ) from None
    except (OSError, EOFError, ValueError, zlib.error):
        raise DataError(f"{where}: the group is damaged.") from None
    return GroupRecord.from_row(row, where)


def _record(
    group: RolloutGroup, step: int, place: int, fate: Fate, why: str, scale: bool
) -> GroupRecord:
    asked = group.asked
    assert asked is not None  # the caller leaves others out
    rollouts = []
    for i, (reward, advantage) in enumerate(
        zip(group.rewards, group.advantages(scale), strict=True)
    ):
        rollouts.append(
            RolloutRecord(
                text=asked.texts[i] if asked.texts else "",
                thought=_cut(reward.response.thought),
                action=asked.actions[i] if asked.actions else "",
                error=reward.response.error,
                reward=reward.value,
                similarity=reward.similarity,
                advantage=round(advantage, 6),
                tokens=group.tokens_of(i),
                episode=asked.episodes[i] if asked.episodes else None,
            )
        )
    return GroupRecord(
        step, place, asked.id, asked.title, asked.prompt, asked.expert, fate, why, tuple(rollouts)
    )


def _index_line(record: GroupRecord, offset: int, size: int) -> dict[str, Any]:
    rewards = [rollout.reward for rollout in record.rollouts]
    mean = fmean(rewards)
    return {
        "step": record.step,
        "place": record.place,
        "id": record.id,
        "title": record.title[:200],
        "fate": record.fate,
        "mean": round(mean, 6),
        "spread": round(fmean((reward - mean) ** 2 for reward in rewards) ** 0.5, 6),
        "best": round(max(rewards), 6),
        "answers": len(rewards),
        "tokens": round(fmean(rollout.tokens for rollout in record.rollouts), 1),
        "errors": sorted(rollout.error for rollout in record.rollouts if rollout.error),
        "offset": offset,
        "size": size,
    }


def _reason(fate: Fate, group: RolloutGroup, batch: FilledBatch, min_std: float) -> str:
    spread = group.spread
    if fate == "kept":
        if spread > min_std:
            return f"The rewards differ: their standard deviation is {spread:.4g}."
        return "Dynamic sampling is off, so every group is kept; equal rewards teach nothing."
    if fate == "surplus":
        return f"The batch was full with {batch.wanted} groups before this one."
    if spread == 0:
        return f"All rewards are {group.values[0]:.4g}, so every advantage is 0."
    return (
        f"The rewards hardly differ: their standard deviation {spread:.2g} is not above"
        f" min_reward_std = {min_std:g}."
    )


def _cut(text: str) -> str:
    left_out = len(text) - _LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:_LONGEST_TEXT]}\n[{left_out} characters left out]"


def _index_of(part: Path) -> Path:
    return part.parent / f"{part.name.partition('.')[0]}.index"


def _size(part: Path) -> int:
    return sum(path.stat().st_size for path in (part, _index_of(part)) if path.is_file())

"""The nouns of episodes: their bounds, their turns, how they ended; and the file of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srl_envs.errors import DataError, require
from srl_envs.prompts.step import cut_middle
from srl_envs.response import Response

if TYPE_CHECKING:  # a reader of the file needs no torch
    from srl_agent.rollouts.places import Outcome
    from srl_agent.rollouts.policies import Written

End = Literal["ended", "turns", "tokens", "seconds", "context", "machinery"]
"""Why an episode ended: the environment ended it, it hit a bound, or the machinery failed."""


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """Bounds of episodes; one that hits a bound is verified as it stands.

    Attributes:
        turns: Most answers of an episode. The built-in experts solve their issues in 5
            to 12, those of SWE-smith in 27 on average.
        tokens: An episode ends with the answer that brings what the model wrote to this
            many tokens.
        seconds: An episode ends with the answer after this time since its beginning, so
            that one that waits for slow commands does not hold up a batch for hours.
        at_once: Episodes under way at once, each with a sandbox, and for a moment a
            second one while it is verified. A container takes some tens of MB.
    """

    turns: int = 30
    tokens: int = 16_384
    seconds: float = 1800.0
    at_once: int = 32

    def __post_init__(self) -> None:
        for name in ("turns", "tokens", "at_once"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.seconds > 0, "seconds", self.seconds, "greater than 0")


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer and what came of it.

    Attributes:
        written: The answer.
        response: What was read in it.
        observation: What the model saw then.
        similarity: To the expert's step of that index; None if malformed, or without one.
        from_expert_state: Every action before was the expert's own, so its next step is
            what the similarity compares with.
        seconds: How long acting took.
    """

    written: Written
    response: Response
    observation: str
    similarity: float | None
    from_expert_state: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One attempt at a task.

    Attributes:
        task: Its id.
        number: Of the attempts at this task in one roll-out, from 0.
        turns: In order.
        end: Why it ended.
        outcome: None if the machinery failed twice.
        seconds: From its beginning to its verdict.
        sandbox_seconds: Of it, beginning and acting.
        verification_seconds: Of it, verifying.
        failure: What the machinery said last, also where the second attempt went well.
    """

    task: str
    number: int
    turns: tuple[Turn, ...]
    end: End
    outcome: Outcome | None
    seconds: float
    sandbox_seconds: float
    verification_seconds: float
    failure: str = ""

    @property
    def reward(self) -> float | None:
        """None where nobody can tell: such an episode is masked."""
        return None if self.outcome is None else self.outcome.reward

    @property
    def tokens(self) -> int:
        """How many the model wrote."""
        return sum(turn.written.tokens for turn in self.turns)


LONGEST_TEXT = 20_000
"""Characters of a thought, an action, an observation or a patch in the file."""


def record_of(episode: Episode, longest: int | None = LONGEST_TEXT, **more: Any) -> dict[str, Any]:
    """An episode as a line of the file.

    Args:
        episode: What ended.
        longest: Texts with more characters are cut in the middle; None cuts none.
        more: What the caller knows of it, such as the training step.
    """
    outcome = episode.outcome
    return {
        **more,
        "task": episode.task,
        "number": episode.number,
        "end": episode.end,
        "reward": episode.reward,
        "correct": None if outcome is None else outcome.correct,
        "failing_tests": [] if outcome is None else list(outcome.failing),
        "seconds": round(episode.seconds, 3),
        "sandbox_seconds": round(episode.sandbox_seconds, 3),
        "verification_seconds": round(episode.verification_seconds, 3),
        "failure": episode.failure,
        "patch": "" if outcome is None else _cut(outcome.patch, longest),
        "turns": [_turn(turn, longest) for turn in episode.turns],
    }


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None else cut_middle(text, longest)


def _turn(turn: Turn, longest: int | None) -> dict[str, Any]:
    said = turn.response
    return {
        "thought": _cut(said.thought, longest),
        "action": _cut(said.action or turn.written.text, longest),
        "error": said.error,
        "observation": _cut(turn.observation, longest),
        "similarity": turn.similarity,
        "tokens": turn.written.tokens,
        "seconds": round(turn.seconds, 3),
    }


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn of the file; see :class:`Turn`. Its texts may have been cut in the middle.

    Attributes:
        drift: Of a replay: how far the observation is from the recorded one.
        recorded: What the expert saw, where that differs.
    """

    thought: str
    action: str
    error: str | None
    observation: str
    similarity: float | None
    tokens: int
    seconds: float
    drift: float | None = None
    recorded: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """An episode of the file, read back; see :class:`Episode`."""

    task: str
    number: int
    end: str
    reward: float | None
    correct: bool | None
    failing_tests: tuple[str, ...]
    seconds: float
    sandbox_seconds: float
    verification_seconds: float
    failure: str
    turns: tuple[TurnRecord, ...]
    patch: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> EpisodeRecord:
        """What :func:`record_of` made; keys that the caller added are left out.

        Args:
            row: A line.
            where: File and line, for the message.

        Raises:
            DataError: It is not such a record.
        """
        try:
            # Older records have no patch.
            known = {one.name: row[one.name] for one in fields(cls) if one.name != "patch"}
            known["patch"] = str(row.get("patch", ""))
            known["failing_tests"] = tuple(map(str, known["failing_tests"]))
            known["turns"] = tuple(TurnRecord(**turn) for turn in known["turns"])
        except (KeyError, TypeError):
            raise DataError(f"{where}: not an episode of this version.") from None
        return cls(**known)

    @property
    def tokens(self) -> int:
        """How many the model wrote."""
        return sum(turn.tokens for turn in self.turns)


class EpisodeLog:
    """Appends episodes to a file of JSON lines within a bound on disk.

    When the file has half the bound, it becomes the older one of two, and the older one
    before it is dropped.

    Args:
        path: Of the file; the older one has ``.older`` before its suffix.
        max_bytes: Of both together.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._most = path, max_bytes // 2
        self._older = path.with_name(f"{path.stem}.older{path.suffix}")

    def write(self, episode: Episode, **more: Any) -> None:
        """Append one episode; see :func:`record_of`."""
        line = json.dumps(record_of(episode, **more), ensure_ascii=False)
        # A model's lone surrogates cannot be written otherwise.
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size and size + len(content) > self._most:
            self._path.replace(self._older)
            size = 0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            if size:
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a kill left half a line
                    file.write(b"\n")
            file.write(content)

"""What a model answered, on disk: a line each, from which a killed run resumes."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, get_args

from srl_agent.inference.generator import Completion, FinishReason, Request
from srl_agent.runs.files import drop_cut_line
from srl_envs.data.jsonl import read_lines
from srl_envs.errors import DataError, InfrastructureError

Key = tuple[str, int]
"""What is asked, by its id, and the number of the try, from 0."""

_TYPES = {
    **{"id": str, "number": int, "text": str, "tokens": int},
    **{"prompt_tokens": int, "asked": str},
}


@dataclass(frozen=True, slots=True)
class Draft:
    """One answer of a model.

    Attributes:
        id: Of what was asked, such as a problem's.
        number: Of the try, from 0.
        text: What the model wrote.
        tokens: How many tokens that is.
        prompt_tokens: How many the prompt took.
        finish: Why it ended.
        asked: Mark of the conversation that it answers, see :func:`mark_of`.
    """

    id: str
    number: int
    text: str
    tokens: int
    prompt_tokens: int
    finish: FinishReason
    asked: str

    @classmethod
    def of(cls, id: str, request: Request, completion: Completion, prompt_tokens: int) -> Draft:
        """A completion.

        Args:
            id: Of what was asked.
            request: As it was asked.
            completion: The answer.
            prompt_tokens: Of the prompt, where the completion does not say.
        """
        counted = completion.prompt_tokens
        took = prompt_tokens if counted is None else counted
        return cls(
            *(id, request.number, completion.text, completion.tokens, took),
            *(completion.finish, mark_of(request)),
        )

    @property
    def key(self) -> Key:
        """Which answer it is."""
        return self.id, self.number


class DraftStore:
    """A file of drafts, open for writing; a context manager.

    Opening it takes away a last line that a kill cut off.

    Args:
        path: The file; need not exist yet.

    Attributes:
        drafts: What the file holds.

    Raises:
        DataError: A line before the last is damaged, or two are of the same answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        drop_cut_line(path)
        self.drafts = read_drafts(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def append(self, draft: Draft) -> None:
        """Write one answer through to the file system.

        Raises:
            InfrastructureError: It cannot be written (a full disk).
        """
        try:
            # ASCII, so that a lone surrogate of the model survives.
            self._file.write(json.dumps(asdict(draft)) + "\n")
            self._file.flush()
        except OSError as error:
            raise InfrastructureError(
                f"{self._path} cannot be written: {error.strerror}. Make room and give the same"
                " command again."
            ) from error
        self.drafts[draft.key] = draft

    def __enter__(self) -> DraftStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # on a full disk: each line was flushed or reported before
            self._file.close()


def read_drafts(path: Path) -> dict[Key, Draft]:
    """The drafts of a file; empty if it is missing or empty.

    Raises:
        DataError: A line is damaged, or two are of the same answer.
    """
    drafts: dict[Key, Draft] = {}
    if not path.is_file() or not path.stat().st_size:
        return drafts
    for number, row in read_lines(path):
        draft = _draft(row, f"{path}, line {number}")
        if draft.key in drafts:
            raise DataError(
                f"{path}, line {number}: answer {draft.number} to {draft.id!r} is in it twice."
                " Delete one of the lines."
            )
        drafts[draft.key] = draft
    return drafts


def mark_of(request: Request) -> str:
    """A hash of a conversation: another one under the same id means that the data changed."""
    said = json.dumps([[one["role"], one["content"]] for one in request.messages])
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def _draft(row: dict[str, Any], where: str) -> Draft:
    names = [field.name for field in fields(Draft)]
    if sorted(row) != sorted(names) or row["finish"] not in get_args(FinishReason):
        raise DataError(f"{where}: not an answer of this version.")
    for name, kind in _TYPES.items():
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            raise DataError(f"{where}: the key {name!r} is {row[name]!r}.")
    return Draft(**row)

r"""Lone surrogates: JSON can spell one (``"\ud800"``), but no tokenizer or file takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from srl_envs.trajectory import ExpertStep, Trajectory

_STEP_KEYS = tuple(field.name for field in fields(ExpertStep))
_TEXT_KEYS = tuple(
    field.name for field in fields(Trajectory) if field.name not in ("steps", "metadata")
)


def lone_surrogate(trajectory: Trajectory) -> str:
    """Where a trajectory holds a lone surrogate (``"step 2, 'action'"``); empty if nowhere."""
    return next((place for place, text in _texts(trajectory) if not _encodable(text)), "")


def _texts(trajectory: Trajectory) -> Iterator[tuple[str, str]]:
    for key in _TEXT_KEYS:
        yield f"{key!r}", getattr(trajectory, key)
    for number, step in enumerate(trajectory.steps, 1):
        for key in _STEP_KEYS:
            yield f"step {number}, {key!r}", getattr(step, key)
    found: list[Any] = [dict(trajectory.metadata)]
    while found:  # no recursion: metadata may be nested as deeply as JSON can be read
        value = found.pop()
        if isinstance(value, str):
            yield "'metadata'", value
        elif isinstance(value, dict):
            found += [*value, *value.values()]
        elif isinstance(value, list):
            found += value


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

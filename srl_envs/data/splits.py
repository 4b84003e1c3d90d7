"""Training and held-out questions: by question, seeded, and stable when rows are added."""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from srl_envs.errors import ConfigError
from srl_envs.trajectory import Trajectory


def question_key(question: str) -> str:
    """A question's text without differences in white space and case: equal keys, same question."""
    return " ".join(question.split()).casefold()


def unique_id(source: str, key: str, seen: Counter[str]) -> str:
    """An id for a row without one: the same for the same ``key``, with a count when it recurs.

    Args:
        source: The id's first part.
        key: What tells rows apart, such as the question.
        seen: How often each id was given; updated.
    """
    key_bytes = key.encode("utf-8", "surrogatepass")
    digest = f"{source}-{hashlib.blake2b(key_bytes, digest_size=6).hexdigest()}"
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def check_whole_number(name: str, value: Any, least: int | None, otherwise: str = "") -> None:
    """Refuse what is not a whole number, or is a smaller one.

    Raises:
        ConfigError: It says what the value is, and what to give.
    """
    try:
        fits = not isinstance(value, bool) and (least is None or operator.index(value) >= least)
        operator.index(value)
    except TypeError:
        fits = False
    if not fits:
        bound = "" if least is None else f" of at least {least}"
        raise ConfigError(f"{name} is {value!r}: give a whole number{bound}{otherwise}.")


def split_by_question(
    trajectories: Sequence[Trajectory], held_out: int, seed: int
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Hold out all trajectories of ``held_out`` questions.

    Questions are ordered by a hash of seed and text, so that the split depends neither
    on the order of the rows nor, much, on how many there are; trajectories of one
    question always stay together.

    Args:
        trajectories: Any.
        held_out: How many distinct questions to hold out.
        seed: Another seed holds out others.

    Returns:
        The training trajectories and the held-out ones, each in the order given.

    Raises:
        ConfigError: ``held_out`` is not a whole number of at least 1, or there are not more
            distinct questions.
    """
    check_whole_number("held_out", held_out, 1)
    held = first_by_hash(
        {question_key(trajectory.prompt) for trajectory in trajectories}, held_out, seed
    )
    train = [
        trajectory for trajectory in trajectories if question_key(trajectory.prompt) not in held
    ]
    return train, [
        trajectory for trajectory in trajectories if question_key(trajectory.prompt) in held
    ]


def first_by_hash(questions: Iterable[str], count: int, seed: int) -> set[str]:
    """Some of the questions, chosen by a hash of each: so many, the same for a seed.

    Raises:
        ConfigError: There are not more than so many.
    """

    def rank(question: str) -> bytes:
        return hashlib.blake2b(
            f"{seed}\0{question}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()

    ordered = sorted(questions, key=rank)
    if count >= len(ordered):
        raise ConfigError(
            f"held_out is {count}, but there are {len(ordered)} distinct questions: hold out "
            "fewer, so that some are left to train on."
        )
    return set(ordered[:count])

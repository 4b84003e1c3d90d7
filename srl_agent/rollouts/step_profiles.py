"""Profiles of steps: the rewards of a student's rollouts, and which steps they say teach.

A group whose rewards are all alike gives no gradient, and a step that the student does
well already gives little. PivotRL (arXiv 2603.21383) therefore trains only on steps whose
rollouts vary, and whose mean is below a bound. A profile is a JSONL file: a header record
with the settings, then a line for each step instance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from srl_agent.runs.files import replace_file
from srl_envs.data.jsonl import is_header, read_lines
from srl_envs.errors import DataError
from srl_envs.instances import StepInstance

KIND = "step profile"


@dataclass(frozen=True, slots=True)
class StepProfile:
    """What a student's rollouts of one step instance got.

    Attributes:
        id: Of the instance.
        rewards: One for each rollout; -1 for a malformed answer.
        malformed: How many were malformed.
        tokens: How many tokens the rollouts took.
        mark: :func:`step_mark` of the instance.
    """

    id: str
    rewards: tuple[float, ...]
    malformed: int
    tokens: int
    mark: str

    @property
    def mean(self) -> float:
        """Of the rewards."""
        return fmean(self.rewards)

    @property
    def std(self) -> float:
        """The population's, as dynamic sampling takes it."""
        return pstdev(self.rewards)

    def teaches(self, min_std: float, max_mean: float) -> bool:
        """Whether the rewards vary, and are not high already.

        Args:
            min_std: The spread must be greater.
            max_mean: The mean must be less.
        """
        return self.std > min_std and self.mean < max_mean


def step_mark(instance: StepInstance) -> str:
    """A hash of the problem and the expert's step: another one under this id is another step."""
    text = f"{instance.trajectory.prompt}\0{instance.step.text}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def write_profile(path: Path, header: Mapping[str, Any], profiles: Iterable[StepProfile]) -> None:
    """Write a profile whole."""
    rows: list[dict[str, Any]] = [{"header": {"kind": KIND, **header}}]
    rows += [{**asdict(one), "mean": one.mean, "std": one.std} for one in profiles]
    replace_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_profile(path: Path) -> tuple[dict[str, Any], dict[str, StepProfile]]:
    """The header of a profile, and its lines by id.

    Raises:
        DataError: The file is missing or is not a profile.
    """
    header: dict[str, Any] | None = None
    profiles: dict[str, StepProfile] = {}
    for number, row in read_lines(path):
        if header is None:
            if not is_header(row) or row["header"].get("kind") != KIND:
                raise DataError(
                    f"{path} is not a profile of steps: make one by"
                    " python -m srl_agent.collect profile."
                )
            header = dict(row["header"])
            continue
        one = _profile(row, f"{path}, line {number}")
        profiles[one.id] = one
    return header or {}, profiles


def _profile(row: Mapping[str, Any], where: str) -> StepProfile:
    try:
        rewards = tuple(float(value) for value in row["rewards"])
        one = StepProfile(
            str(row["id"]), rewards, int(row["malformed"]), int(row["tokens"]), str(row["mark"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: not a line of a profile ({type(error).__name__}: {error}). Make the profile"
            " again."
        ) from None
    if not rewards:
        raise DataError(f"{where}: the step {one.id!r} has no rewards. Make the profile again.")
    return one


def teaching(profiles: Iterable[StepProfile], min_std: float, max_mean: float) -> frozenset[str]:
    """The ids of the instances that teach; see :meth:`StepProfile.teaches`."""
    return frozenset(one.id for one in profiles if one.teaches(min_std, max_mean))


def profile_text(profiles: Sequence[StepProfile], min_std: float, max_mean: float) -> list[str]:
    """What a profile says, in lines for the terminal."""
    if not profiles:
        return ["No step has all its rollouts."]
    flat = sum(one.std <= min_std for one in profiles)
    high = sum(one.std > min_std and one.mean >= max_mean for one in profiles)
    rollouts = sum(len(one.rewards) for one in profiles)
    return [
        f"{len(profiles)} steps with {rollouts} rollouts: mean reward"
        f" {fmean(one.mean for one in profiles):+.3f}, mean spread"
        f" {fmean(one.std for one in profiles):.3f},"
        f" {sum(one.malformed for one in profiles) / rollouts:.1%} malformed.",
        f"{len(profiles) - flat - high} steps teach; {flat} have no spread above {min_std:g}, and"
        f" {high} a mean of {max_mean:g} or more.",
    ]

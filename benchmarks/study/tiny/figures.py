"""The tiny study's figures: means with intervals, differences, and what each arm took.

**Intervals** are 95%. Their unit is a training: its share of problems solved, all
problems in one. How much trainings vary, from seed to seed and from base to base, and
how much problems vary, which all trainings share, are added (Student's t with the
degrees of freedom of Welch and Satterthwaite). A difference of two arms is taken
training by training: the same base, seed and problems. With two bases nothing is known
of how far a third would lie, so a claim counts as shown only if each base shows it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from srl_agent.intervals import student_t_quantile

from .arms import ARMS
from .measures import CLAIMS, MEASURES, QUESTIONS
from .plan import Tiny

Training = tuple[int, int]
"""Its base and its seed."""


def collect(folder: Path, tiny: Tiny) -> dict[str, Any]:
    """All figures of what is finished in a study's folder, as ``results.json`` holds them."""
    scored = {arm: _scored(folder, tiny, arm) for arm in ARMS}
    scored = {arm: found for arm, found in scored.items() if found}
    parts = [json.loads(line) for line in (folder / "parts.jsonl").read_text().splitlines()]
    study = json.loads((folder / "study.json").read_text())
    places = [folder / f"base-{number}" / "base.json" for number in range(tiny.bases)]
    return {
        "settings": study["settings"],
        "environment": {key: one for key, one in study["environment"].items() if key != "command"},
        "bases": [json.loads(path.read_text()) for path in places if path.is_file()],
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "interrupted": sum(not part["ended"] for part in parts),
        "trainings": {arm: len(found) for arm, found in scored.items()},
        "scores": {
            arm: {one.name: _score(arm, found, one.name) for one in MEASURES}
            for arm, found in scored.items()
        },
        "differences": [
            {"arm": arm, "against": other, "measure": one.name}
            | _difference(scored[arm], scored[other], one.name)
            for arm, other, _ in (*CLAIMS, *QUESTIONS)
            if scored.keys() >= {arm, other} and scored[arm].keys() & scored[other].keys()
            for one in MEASURES
        ],
        "took": {arm: _took(folder, arm, found) for arm, found in scored.items() if arm != "base"},
        "curves": {arm: _curves(folder, tiny, arm) for arm in scored if arm != "base"},
    }


def interval(matrix: np.ndarray, low: float = 0.0) -> dict[str, float]:
    """The mean of a row for each training and a column for each problem, and its interval.

    Args:
        matrix: The values.
        low: The least possible value; the greatest is 1.
    """
    mean, parts = float(matrix.mean()), []
    for means in (matrix.mean(axis=0), matrix.mean(axis=1)):
        if len(means) > 1:
            parts.append((float(means.var(ddof=1)) / len(means), len(means) - 1))
    variance = sum(part for part, _ in parts)
    half = 0.0
    if variance:
        degrees = variance**2 / sum(part**2 / count for part, count in parts)
        half = student_t_quantile(0.975, max(1, int(degrees))) * math.sqrt(variance)
    return {"value": mean, "low": max(low, mean - half), "high": min(1.0, mean + half)}


def _scored(folder: Path, tiny: Tiny, arm: str) -> dict[Training, dict[str, np.ndarray]]:
    """Each measure of each training that is finished: a value for each problem.

    The base has the same values for all of its seeds.
    """
    found = {}
    for training in ((base, seed) for base in range(tiny.bases) for seed in range(tiny.seeds)):
        place = folder / f"base-{training[0]}"
        name = "base.scores.json" if arm == "base" else f"seed-{training[1]}/{arm}.scores.json"
        if (place / name).is_file():
            rows = json.loads((place / name).read_text())
            found[training] = {
                one.name: np.array([float(row[one.key]) for row in rows[one.part]])
                for one in MEASURES
            }
    return found


def _score(arm: str, found: dict[Training, dict[str, np.ndarray]], measure: str) -> dict[str, Any]:
    trainings = [one for one in found if arm != "base" or one[1] == 0]
    matrix = np.array([found[training][measure] for training in trainings])
    return interval(matrix) | {"by_base": _by_base(trainings, matrix)}


def _difference(
    arm: dict[Training, dict[str, np.ndarray]],
    other: dict[Training, dict[str, np.ndarray]],
    measure: str,
) -> dict[str, Any]:
    trainings = [training for training in arm if training in other]
    matrix = np.array([arm[one][measure] - other[one][measure] for one in trainings])
    return interval(matrix, low=-1.0) | {"by_base": _by_base(trainings, matrix)}


def _by_base(trainings: list[Training], matrix: np.ndarray) -> list[float]:
    """The mean of each base that has a training."""
    bases = np.array([base for base, _ in trainings])
    return [float(matrix[bases == base].mean()) for base in sorted(set(bases))]


def _took(folder: Path, arm: str, trainings: Any) -> list[dict[str, Any]]:
    """What each training took; ``learned`` are its own tokens that reached the loss."""
    names = ("steps", "drawn", "kept", "tokens", "seconds", "stopped")
    found = []
    for base, seed in trainings:
        path = folder / f"base-{base}" / f"seed-{seed}" / f"{arm}.json"
        record = json.loads(path.read_text())
        learned = sum(
            one["tokens"] * one["kept"] / one["drawn"] for one in record["stages"] if one["drawn"]
        )
        found.append({name: record[name] for name in names} | {"learned": round(learned)})
    return found


def _curves(folder: Path, tiny: Tiny, arm: str) -> list[list[dict[str, float]]]:
    """Of the first seed of each base that has one."""
    paths = (folder / f"base-{base}" / "seed-0" / f"{arm}.curve.json" for base in range(tiny.bases))
    return [json.loads(path.read_text()) for path in paths if path.is_file()]

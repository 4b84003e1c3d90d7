"""The figures of a finished study: means with intervals, paired differences, what arms consumed.

**Intervals** are 95 % percentile intervals of a hierarchical bootstrap with 10,000
resamples: seeds are drawn again with replacement, and, crossed with them, questions.
All seeds and arms answer the same questions, so a difference between two arms is of the
same seeds and questions in every resample. With few seeds the part that seeds have in
it is rough: three seeds hardly tell how far a fourth would lie.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from srl_agent.intervals import Interval
from srl_agent.models.quickstart import QUICKSTART_FOLDER, QUICKSTART_NAMES
from srl_agent.runs.files import replace_file

from .measures import COMPARED, MEASURES
from .plan import ARMS, TRAINED, Size, stage_folders, stages
from .plot import draw
from .report import findings, table

RESAMPLES, _AT_ONCE = 10_000, 500


def interval(values: np.ndarray, resamples: int = RESAMPLES) -> Interval | None:
    """The mean of a (seeds, questions) matrix with the interval described above.

    NaN marks an answer without a value and is ignored; None if there are no others.
    """
    if np.isnan(values).all():
        return None
    generator = np.random.default_rng(0)
    seeds, questions = values.shape
    means = []
    for _ in range(0, resamples, _AT_ONCE):
        some_seeds = generator.integers(seeds, size=(_AT_ONCE, seeds, 1))
        some_questions = generator.integers(questions, size=(_AT_ONCE, 1, questions))
        chosen = values[some_seeds, some_questions]
        known = ~np.isnan(chosen)
        counts = known.sum(axis=(1, 2))
        means.append(np.where(known, chosen, 0).sum(axis=(1, 2)) / np.where(counts, counts, np.nan))
    low, high = np.nanquantile(np.concatenate(means), [0.025, 0.975])
    known = int(np.count_nonzero(~np.isnan(values)))
    return Interval(float(np.nanmean(values)), float(low), float(high), known)


def _plain(found: Interval | None) -> dict[str, float | None]:
    """An interval as ``results.json`` holds it."""
    if found is None:
        return {"value": None, "low": None, "high": None}
    return {"value": found.value, "low": found.low, "high": found.high}


def write_all(folder: Path, size: Size) -> str:
    """Write ``results.json``, ``table.md``, ``plot.png`` and ``findings.md`` into the folder.

    Returns:
        The table and the findings.
    """
    matrices = {arm: _matrices(folder, size, arm) for arm in ARMS}
    measures = [measure for measure in MEASURES if measure.name in matrices["base"]]
    scores = {
        arm: {measure.name: _plain(interval(matrices[arm][measure.name])) for measure in measures}
        for arm in ARMS
    }
    differences = [
        {
            "arm": arm,
            "against": other,
            "measure": measure.name,
            **_plain(interval(matrices[arm][measure.name] - matrices[other][measure.name])),
        }
        for arm, other in COMPARED
        for measure in measures
    ]
    children = [json.loads(line) for line in (folder / "children.jsonl").read_text().splitlines()]
    base = json.loads((folder / "base.scores.json").read_text())
    settings = json.loads((folder / "study.json").read_text())
    results = {
        "model": QUICKSTART_FOLDER
        if size.model_name_or_path in QUICKSTART_NAMES
        else Path(size.model_name_or_path).name,
        "questions": {
            measure.name: int(matrices["base"][measure.name].shape[1]) for measure in measures
        },
        "budget": {
            "steps": size.steps,
            "prompts_per_step": size.training["prompts_per_step"],
            "seeds": size.seeds,
        },
        "scores": scores,
        "differences": differences,
        "consumed": {
            arm: [consumed(folder, size, arm, seed) for seed in range(size.seeds)]
            for arm in TRAINED
        },
        "gsm8k": None
        if settings["gsm8k"] is None
        else "hub"
        if settings["gsm8k"] == "hub"
        else "local file",
        "seconds": {
            "total": round(sum(child["seconds"] for child in children), 1),
            "children": len(children),
        },
        "interrupted": sum(child["status"] not in (0, 1) for child in children),
        "settings": {**size.plain(), "model_name_or_path": None},
        "environment": {
            name: value for name, value in base["environment"].items() if name != "command"
        },
        "per_question": {
            arm: {
                name: np.where(np.isnan(m), None, m.astype(object)).tolist()
                for name, m in matrices[arm].items()
            }
            for arm in ARMS
        },
    }
    text = table(results, measures)
    words = findings(results, measures)
    replace_file(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    replace_file(folder / "table.md", (text + "\n").encode())
    replace_file(folder / "findings.md", (words + "\n").encode())
    draw(folder / "plot.png", results, measures)
    return f"{text}\n\n{words}"


def consumed(folder: Path, size: Size, arm: str, seed: int) -> dict[str, Any]:
    """What a training took: steps, prompts, groups dropped, and whether it stopped early.

    It stops when there is nothing left to learn: all groups have equal rewards.
    """
    place = folder / f"seed-{seed}"
    stopped = bool(json.loads((place / f"{arm}.json").read_text())["stopped"])
    steps = kept = drawn = dropped = 0
    for run, settings in zip(stage_folders(place / arm, size, arm), stages(size, arm), strict=True):
        if not (run / "metrics.jsonl").is_file():
            continue
        logged = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
        rows = {
            row["step"]: row
            for row in logged
            if row["kind"] == "train" and row["step"] <= settings["max_steps"]
        }  # a resumed run logs a step again
        steps += len(rows)
        for row in rows.values():
            batch = row.get("groups_kept", settings["prompts_per_step"])
            lost = row.get("groups_dropped", 0)
            kept, dropped, drawn = (
                kept + int(batch),
                dropped + int(lost),
                drawn + int(batch + lost + row.get("groups_surplus", 0)),
            )
        if (
            stopped and not (run / "summary.json").is_file()
        ):  # its last batch was never learned from, nor logged
            rejected = settings["prompts_per_step"] * settings["max_sampling_rounds"]
            dropped, drawn = dropped + rejected, drawn + rejected
    return {
        "seed": seed,
        "steps": steps,
        "learned_from": kept,
        "drawn": drawn,
        "dropped": dropped,
        "stopped": stopped,
    }


def _matrices(folder: Path, size: Size, arm: str) -> dict[str, np.ndarray]:
    """Each measure of an arm: one row per seed, one column per question.

    The base model's answers depend on no seed, so they have a single row.
    """
    names = (
        ["base.scores.json"]
        if arm == "base"
        else [f"seed-{seed}/{arm}.scores.json" for seed in range(size.seeds)]
    )
    files = [json.loads((folder / name).read_text()) for name in names]
    found = {}
    for measure in MEASURES:
        if measure.part in files[0]:
            rows = [[measure.value(row) for row in file[measure.part]] for file in files]
            found[measure.name] = np.array(rows, dtype=np.float64)  # None becomes NaN
    return found

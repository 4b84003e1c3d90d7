"""The figures of a finished study: means over seeds and questions with intervals, paired differences, and what each arm consumed.

**Intervals** are 95 % percentile intervals of a hierarchical bootstrap with 10,000
resamples: seeds are drawn again with replacement, and, crossed with them, questions.
All seeds and arms answer the same questions, so a difference between two arms is of the
same seeds and questions in every resample. With few seeds the part that seeds have in
it is rough: three seeds hardly tell how far a fourth would lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from study_plan import ARMS, TRAINED, Size, stage_folders, stages
from study_plot import draw
from study_report import findings, table

from srl_agent.models.quickstart import QUICKSTART_FOLDER, QUICKSTART_NAMES
from srl_agent.runs.files import replace_file

RESAMPLES, _AT_ONCE = 10_000, 500


@dataclass(frozen=True)
class Measure:
    """One column of the table.

    Attributes:
        name: In ``results.json``.
        label: In the table and the plot.
        part: Which part of the scores it reads.
        value: Of one answer; None where the answer has none.
        is_share: Whether it is shown in percent.
    """

    name: str
    label: str
    part: str
    value: Callable[[dict[str, Any]], float | None]
    is_share: bool = False


MEASURES = (
    Measure("step_reward", "held-out step reward", "steps", lambda row: row["reward"]),
    Measure(
        "format_rate",
        "well-formed steps",
        "steps",
        lambda row: float(row["error"] is None),
        is_share=True,
    ),
    Measure("similarity", "similarity of the well-formed", "steps", lambda row: row["similarity"]),
    Measure(
        "builtin_accuracy",
        "built-in held-out problems",
        "builtin",
        lambda row: float(row["correct"]),
        is_share=True,
    ),
    Measure(
        "gsm8k_accuracy", "GSM8K test", "gsm8k", lambda row: float(row["correct"]), is_share=True
    ),
)

COMPARED = (
    *((arm, "warmup") for arm in TRAINED),
    *(("srl", other) for other in ("sft", "rlvr", "srl_no_dynamic_sampling", "srl_one_step")),
    *(("srl_then_rlvr", other) for other in ("srl", "rlvr")),
)
"""Which arms are set against which."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; None where there is nothing to take a mean of."""

    value: float | None
    low: float | None
    high: float | None


def interval(values: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """The mean of a (seeds, questions) matrix, NaN left out, with the interval described above."""
    if np.isnan(values).all():
        return Interval(None, None, None)
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
    return Interval(float(np.nanmean(values)), float(low), float(high))


def write_all(folder: Path, size: Size) -> str:
    """Write ``results.json``, ``table.md``, ``plot.png`` and ``findings.md`` into the study's folder.

    Returns:
        The table and the findings.
    """
    matrices = {arm: _matrices(folder, size, arm) for arm in ARMS}
    measures = [measure for measure in MEASURES if measure.name in matrices["base"]]
    scores = {
        arm: {measure.name: asdict(interval(matrices[arm][measure.name])) for measure in measures}
        for arm in ARMS
    }
    differences = [
        {
            "arm": arm,
            "against": other,
            "measure": measure.name,
            **asdict(interval(matrices[arm][measure.name] - matrices[other][measure.name])),
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
    """What a training took: optimizer steps, prompts learned from, prompts drawn, groups dropped, and whether it stopped for want of anything to learn."""
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
    """Each measure of an arm: a row a seed (the base model's answers, which no seed decides, stand once), a column a question."""
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

"""The tiny study in writing: table, findings with their limits first, and plots."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.study.results import interval
from srl_agent.runs.files import replace_file

from .arms import ARMS
from .measures import CLAIMS, JUDGED, MEASURES, QUESTIONS, Measure
from .plan import Tiny

_LIMITS = (
    "This shows one mechanism by which SRL can help: it makes a model use an ability that it"
    " has and rarely uses. The world is made, and the ability was planted: the base was"
    " pretrained on the working of these very problems, which was then made rare. The"
    " model has {parameters:.2f}M parameters. It proves nothing about models of 7B or about"
    " real mathematics, where the ability may be missing."
)


def write_all(folder: Path, tiny: Tiny) -> str:
    """Write ``results.json``, ``table.md``, ``findings.md``, ``plot.png`` and ``curves.png``.

    Returns:
        The findings and the table.
    """
    from .plots import draw_arms, draw_curves

    results = collect(folder, tiny)
    text, words = table(results), findings(results)
    replace_file(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    replace_file(folder / "table.md", (text + "\n").encode())
    replace_file(folder / "findings.md", (words + "\n").encode())
    draw_arms(folder / "plot.png", results)
    draw_curves(folder / "curves.png", results)
    return f"{words}\n\n{text}"


def collect(folder: Path, tiny: Tiny) -> dict[str, Any]:
    """All figures of a finished study, as ``results.json`` holds them."""
    matrices = {arm: _matrices(folder, tiny, arm) for arm in ARMS}
    parts = [json.loads(line) for line in (folder / "parts.jsonl").read_text().splitlines()]
    study = json.loads((folder / "study.json").read_text())
    environment = {key: one for key, one in study["environment"].items() if key != "command"}
    bases = [
        json.loads((folder / f"base-{n}" / "base.json").read_text()) for n in range(tiny.bases)
    ]
    return {
        "settings": study["settings"],
        "environment": environment,
        "bases": bases,
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "interrupted": sum(not part["ended"] for part in parts),
        "scores": {
            arm: {one.name: _interval(found[one.name]) for one in MEASURES}
            for arm, found in matrices.items()
        },
        "by_base": {
            arm: {one.name: _by_base(found[one.name], tiny) for one in MEASURES}
            for arm, found in matrices.items()
        },
        "differences": [
            {"arm": arm, "against": other, "measure": one.name}
            | _interval(matrices[arm][one.name] - matrices[other][one.name])
            for arm, other, _ in (*CLAIMS, *QUESTIONS)
            for one in MEASURES
        ],
        "took": {arm: _took(folder, tiny, arm) for arm in ARMS if arm != "base"},
        "curves": {arm: _curves(folder, tiny, arm) for arm in ARMS if arm != "base"},
    }


def table(results: dict[str, Any]) -> str:
    """The means with their intervals, in percent, and what each arm took."""
    head = ["arm", *(one.label for one in MEASURES), "steps", "tokens generated", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, arm in ARMS.items():
        cells = [_cell(results["scores"][name][one.name]) for one in MEASURES]
        lines.append("| " + " | ".join([arm.label, *cells, *_cost(results, name)]) + " |")
    return "\n".join(lines)


def findings(results: dict[str, Any]) -> str:
    """What this is, then what came out."""
    claims = [_claim(results, *claim, measure) for claim in CLAIMS for measure in JUDGED]
    questions = [_claim(results, *one, measure) for one in QUESTIONS for measure in JUDGED]
    return "\n\n".join(
        [
            "# What SRL does, in a made world",
            _LIMITS.format(parameters=results["bases"][0]["parameters"] / 1e6),
            _setting(results),
            "\n".join(["## The paper's claims", *claims]),
            "\n".join(["## Beside other ways", *questions]),
            "\n".join(["## What to keep in mind", *_notes(results)]),
        ]
    )


def _setting(results: dict[str, Any]) -> str:
    settings, bases = results["settings"], results["bases"]
    each = "; ".join(
        f"base {number} solved {base['solved_before_last_phase']:.0%} before its last phase and"
        f" {base['pass_at_8']:.1%} in 8 samples after it"
        for number, base in enumerate(bases)
    )
    runs = settings["bases"] * settings["seeds"]
    over = "trainings and problems"
    if runs == 1:
        over = "problems: how far another training would lie, one training does not show"
    return (
        f"{_count(settings['bases'], 'base')}, {_count(settings['seeds'], 'seed')} of each, so"
        f" {_count(runs, 'training')} of each arm, of {settings['steps']} steps of"
        f" {settings['training']['prompts_per_step']} prompts, from {settings['train']} solved"
        f" problems. Scored on {settings['test']} problems that no arm has seen and no"
        f" setting was chosen on. {each}. It ran on"
        f" {results['environment']['cpu_cores']} CPU cores and took"
        f" {results['seconds'] / 60:.0f} minutes. Intervals are 95%, by a bootstrap over {over}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _claim(results: dict[str, Any], arm: str, other: str, claim: str, measure: Measure) -> str:
    found = next(
        row
        for row in results["differences"]
        if (row["arm"], row["against"], row["measure"]) == (arm, other, measure.name)
    )
    word = "cannot tell"
    if found["low"] > 0:
        word = "yes"
    elif found["high"] < 0:
        word = "no, the other way round"
    value, low, high = (f"{100 * found[name]:+.1f}" for name in ("value", "low", "high"))
    return f"- {claim} ({measure.label}): **{word}**, {value} points ({low} to {high})."


def _notes(results: dict[str, Any]) -> list[str]:
    runs = results["settings"]["bases"] * results["settings"]["seeds"]
    lines = [
        f"- {_count(runs, 'training')} of each arm from"
        f" {_count(results['settings']['bases'], 'base')}: how far another base would lie is not"
        " known."
    ]
    for name, took in results["took"].items():
        stops = sum(one["stopped"] for one in took)
        if stops:
            lines.append(
                f"- {ARMS[name].label}: in {stops} of {len(took)} trainings a whole batch had"
                " nothing to learn from, since all rewards of each group were equal."
            )
    for measure in JUDGED:
        spread = results["by_base"]["srl"][measure.name]
        each = ", ".join(f"{value:.1%}" for value in spread)
        lines.append(f"- SRL by base, {measure.label}: {each}.")
    return lines


def _matrices(folder: Path, tiny: Tiny, arm: str) -> dict[str, np.ndarray]:
    """Each measure: a row for each training, a column for each problem.

    The base has the same row for all of its seeds.
    """
    files = []
    for base in range(tiny.bases):
        place = folder / f"base-{base}"
        for seed in range(tiny.seeds):
            name = "base.scores.json" if arm == "base" else f"seed-{seed}/{arm}.scores.json"
            files.append(json.loads((place / name).read_text()))
    return {
        one.name: np.array([[float(row[one.key]) for row in file[one.part]] for file in files])
        for one in MEASURES
    }


def _interval(matrix: np.ndarray) -> dict[str, float]:
    found = interval(matrix)
    assert found is not None  # no answer of this study is without a value
    return {"value": found.value, "low": found.low, "high": found.high}


def _by_base(matrix: np.ndarray, tiny: Tiny) -> list[float]:
    return [float(part.mean()) for part in np.split(matrix, tiny.bases)]


def _took(folder: Path, tiny: Tiny, arm: str) -> list[dict[str, Any]]:
    names = ("steps", "drawn", "kept", "tokens", "seconds", "stopped")
    records = [
        json.loads((folder / f"base-{base}" / f"seed-{seed}" / f"{arm}.json").read_text())
        for base in range(tiny.bases)
        for seed in range(tiny.seeds)
    ]
    return [{name: record[name] for name in names} for record in records]


def _curves(folder: Path, tiny: Tiny, arm: str) -> list[list[dict[str, float]]]:
    paths = (folder / f"base-{base}" / "seed-0" / f"{arm}.curve.json" for base in range(tiny.bases))
    return [json.loads(path.read_text()) for path in paths]


def _cell(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.1f} ({100 * score['low']:.0f} to {100 * score['high']:.0f})"


def _cost(results: dict[str, Any], arm: str) -> list[str]:
    took = results["took"].get(arm)
    if took is None:
        return ["-", "-", "-"]
    steps, tokens, seconds = (
        fmean(one[name] for one in took) for name in ("steps", "tokens", "seconds")
    )
    return [f"{steps:.0f}", f"{tokens / 1000:.0f}k", f"{seconds:.0f}"]

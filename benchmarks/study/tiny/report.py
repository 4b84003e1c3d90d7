"""The tiny study in writing: its limits first, then findings, rivals and the whole table."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.runs.files import replace_file

from .arms import ARMS
from .figures import collect
from .measures import CLAIMS, JUDGED, MEASURES, QUESTIONS, RIVALS, Measure
from .plan import Tiny

_LIMITS = (
    "This shows one mechanism by which SRL can help: it makes a model use an ability that it"
    " has and rarely uses. The world is made, and the ability was planted: the base was"
    " pretrained on the working of these very problems, which was then made rare. The"
    " model has {parameters:.2f}M parameters. It proves nothing about models of 7B or about"
    " real mathematics, where the ability may be missing."
)
_RIVALS = (
    "Each rival gets at most the optimizer steps and the generated tokens of SRL; mixtures get"
    " the steps. Tokens are means of a training: those that it generated, a profile included,"
    " and those of them that reached the loss. SRL drops groups whose rewards are all equal,"
    " so it learns from fewer than it generates."
)


def write_all(folder: Path, tiny: Tiny) -> str:
    """Write ``results.json``, ``table.md``, ``findings.md``, ``plot.png`` and ``curves.png``.

    What is not finished is left out.

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


def table(results: dict[str, Any]) -> str:
    """The means with their intervals, in percent, and what each arm took."""
    head = ["arm", *(one.label for one in MEASURES)]
    head += ["trainings", "steps", "tokens generated", "learned from", "seconds"]
    rows = []
    for name, scores in results["scores"].items():
        cells = [_cell(scores[one.name]) for one in MEASURES]
        count = str(results["trainings"][name]) if name != "base" else "-"
        rows.append(
            [ARMS[name].label, *cells, count, *_cost(results, name), _seconds(results, name)]
        )
    return _markdown(head, rows)


def findings(results: dict[str, Any]) -> str:
    """What this is, then what came out."""
    return "\n\n".join(
        [
            "# What SRL does, in a made world",
            _LIMITS.format(parameters=results["bases"][0]["parameters"] / 1e6),
            _setting(results),
            "## The paper's claims",
            _judged(results, "claim", CLAIMS),
            "## Beside other ways",
            _judged(results, "question", QUESTIONS),
            "## SRL and its rivals",
            _RIVALS,
            _rivals(results),
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
    runs = results["trainings"]["srl"]
    over = (
        "A difference is taken training by training. Intervals are 95% and cover how trainings"
        " and problems vary; the unit is a training. *Yes* and *no* need an interval without 0"
        " and the same sign from each base."
    )
    if runs == 1:
        over = (
            "Intervals are 95%, over problems: how far another training would lie, one training"
            " does not show."
        )
    return (
        f"{_count(len(bases), 'base')}, {_count(runs, 'training')} of SRL in all, of"
        f" {settings['steps']} steps of {settings['training']['prompts_per_step']} prompts, from"
        f" {settings['train']} solved problems. Scored on {settings['test']} problems that no arm"
        f" has seen and no setting was chosen on. {each}. It ran on"
        f" {results['environment']['cpu_cores']} CPU cores and took"
        f" {results['seconds'] / 60:.0f} minutes, those of all its processes added. {over}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _judged(results: dict[str, Any], noun: str, claims: tuple[tuple[str, str, str], ...]) -> str:
    """A row for each claim: its verdict by each of the measures that judge."""
    rows = []
    for arm, other, claim in claims:
        found = [_verdict(results, arm, other, measure) for measure in JUDGED]
        if all(found):
            rows.append([claim, *found])
    return _markdown([noun, *(f"{one.label}, points" for one in JUDGED)], rows)


def _verdict(results: dict[str, Any], arm: str, other: str, measure: Measure) -> str:
    """Yes, no or cannot tell, the difference and its interval; empty if an arm is missing."""
    for row in results["differences"]:
        if (row["arm"], row["against"], row["measure"]) == (arm, other, measure.name):
            break
    else:
        return ""
    word, bases = "cannot tell", row["by_base"]
    if len(bases) < len(results["bases"]):
        word = f"cannot tell from {len(bases)} of {len(results['bases'])} bases"
    elif row["low"] > 0 or row["high"] < 0:
        word = "cannot tell, the bases disagree"
        if all(value > 0 for value in bases):
            word = "yes"
        elif all(value < 0 for value in bases):
            word = "no, the other way round"
    value, low, high = (f"{100 * row[name]:+.1f}" for name in ("value", "low", "high"))
    return f"**{word}**, {value} ({low} to {high})"


def _rivals(results: dict[str, Any]) -> str:
    head = ["arm", *(one.label for one in JUDGED), "trainings", "steps"]
    rows = []
    for name in RIVALS:
        if name in results["scores"]:
            cells = [_cell(results["scores"][name][one.name]) for one in JUDGED]
            count = str(results["trainings"][name])
            rows.append([ARMS[name].label, *cells, count, *_cost(results, name)])
    return _markdown([*head, "tokens generated", "learned from"], rows)


def _notes(results: dict[str, Any]) -> list[str]:
    lines = [
        f"- {_count(len(results['bases']), 'base')}: how far another base would lie is not known."
    ]
    for name, took in results["took"].items():
        stops = sum(one["stopped"] for one in took)
        if stops:
            lines.append(
                f"- {ARMS[name].label}: in {stops} of {len(took)} trainings a whole batch had"
                " nothing to learn from, since all rewards of each group were equal."
            )
    for measure in JUDGED:
        spread = results["scores"]["srl"][measure.name]["by_base"]
        each = ", ".join(f"{value:.1%}" for value in spread)
        lines.append(f"- SRL by base, {measure.label}: {each}.")
    return lines


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _cell(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.1f} ({100 * score['low']:.0f} to {100 * score['high']:.0f})"


def _cost(results: dict[str, Any], arm: str) -> list[str]:
    """Mean steps, generated tokens, and those learned from; supervised stages have none."""
    took = results["took"].get(arm)
    if took is None:
        return ["-", "-", "-"]
    steps, tokens, learned = (
        fmean(one[name] for one in took) for name in ("steps", "tokens", "learned")
    )
    return [f"{steps:.0f}", f"{tokens / 1000:.0f}k", f"{learned / 1000:.0f}k"]


def _seconds(results: dict[str, Any], arm: str) -> str:
    took = results["took"].get(arm)
    return "-" if took is None else f"{fmean(one['seconds'] for one in took):.0f}"

"""The study in writing: its table, and what the figures say in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .measures import Measure
from .plan import ARMS, TRAINED

_JUDGED = ("step_reward", "builtin_accuracy", "gsm8k_accuracy")
_FLOOR = 0.05

_CLAIMS = (
    ("srl", "sft", "SRL beats SFT"),
    ("srl", "rlvr", "SRL beats RLVR"),
    ("srl_then_rlvr", "rlvr", "SRL before RLVR beats RLVR alone"),
    ("srl_then_rlvr", "srl", "RLVR after SRL adds to SRL"),
    ("srl", "srl_no_dynamic_sampling", "dynamic sampling helps SRL"),
    ("srl", "srl_one_step", "single steps beat the whole solution as one step"),
)
"""What the paper found (arXiv 2510.25992, section 4), each as a difference of arms above 0."""


def table(results: dict[str, Any], measures: Sequence[Measure]) -> str:
    """The means with their intervals, and what each arm consumed, as Markdown."""
    head = [
        "arm",
        *(measure.label for measure in measures),
        "steps",
        "prompts learned from",
        "drawn",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm, label in ARMS.items():
        cells = [_cell(results["scores"][arm][measure.name], measure) for measure in measures]
        lines.append("| " + " | ".join([label, *cells, *_consumed(results, arm)]) + " |")
    return "\n".join(lines)


def findings(results: dict[str, Any], measures: Sequence[Measure]) -> str:
    """What came out, in plain words."""
    judged = [measure for measure in measures if measure.name in _JUDGED]
    parts = [
        "# What came out",
        _setting(results),
        _best(results, judged),
        _learned(results, judged),
        _claims(results, judged),
    ]
    parts.append(
        "\n".join(
            ["## What to keep in mind", *_of_format(results, measures), *_limits(results, judged)]
        )
    )
    return "\n\n".join(part for part in parts if part)


def _setting(results: dict[str, Any]) -> str:
    budget, environment, seconds = results["budget"], results["environment"], results["seconds"]
    hardware = ", ".join(environment["gpus"]) or f"{environment['cpu_cores']} CPU cores, no GPU"
    packages = ", ".join(
        f"{name} {environment['packages'][name]}"
        for name in ("torch", "transformers", "trl")
        if name in environment["packages"]
    )
    again = (
        f"; processes interrupted and continued later: {results['interrupted']}"
        if results["interrupted"]
        else ""
    )
    questions = results["questions"]
    gsm8k = (
        f", {questions['gsm8k_accuracy']} of GSM8K's test set ({results['gsm8k']})"
        if "gsm8k_accuracy" in questions
        else "; GSM8K was not at hand"
    )
    return (
        f"{results['model']}; {budget['seeds']} seeds; "
        f"{budget['steps']} optimizer steps of {budget['prompts_per_step']} prompts for "
        "each arm. "
        f"Scored greedily on {questions['step_reward']} held-out steps and "
        f"{questions['builtin_accuracy']} held-out built-in problems{gsm8k}. "
        f"It ran on {hardware} ({environment['platform']}; "
        f"Python {environment['python']}, {packages}) and took "
        f"{seconds['total'] / 60:.0f} minutes "
        f"in {seconds['children']} processes, one after another{again}. "
        "Intervals are 95%, by a bootstrap over seeds and questions."
    )


def _best(results: dict[str, Any], measures: Sequence[Measure]) -> str:
    lines = ["## The best mean"]
    for measure in measures:
        means = {arm: scores[measure.name]["value"] for arm, scores in results["scores"].items()}
        best = max(means.values())
        names = [ARMS[arm] for arm, mean in means.items() if mean == best]
        who = "all arms alike" if len(names) == len(ARMS) else " and ".join(names)
        first = next(arm for arm in means if means[arm] == best)
        score = _cell(results["scores"][first][measure.name], measure)
        lines.append(f"- {measure.label}: {who}, {score}.")
    return "\n".join(lines)


def _learned(results: dict[str, Any], measures: Sequence[Measure]) -> str:
    lines = ["## Against the warm-up, where all trained arms start"]
    for arm in TRAINED:
        lines.append(
            f"- {ARMS[arm]}: "
            + "; ".join(
                f"{measure.label} {_verdict(results, arm, 'warmup', measure)}"
                for measure in measures
            )
            + "."
        )
    return "\n".join(lines)


def _claims(results: dict[str, Any], measures: Sequence[Measure]) -> str:
    lines = ["## What the paper found, and whether it is seen here"]
    for arm, other, claim in _CLAIMS:
        lines.append(f"- {claim[0].upper()}{claim[1:]}?")
        for measure in measures:
            found = _difference(results, arm, other, measure)
            answer = (
                "yes"
                if found["low"] > 0
                else "the other way round"
                if found["high"] < 0
                else "cannot tell"
            )
            lines.append(
                f"  - {measure.label}: {answer}: {_verdict(results, arm, other, measure)}."
            )
    return "\n".join(lines)


def _of_format(results: dict[str, Any], measures: Sequence[Measure]) -> list[str]:
    """Which arms gained step reward by format alone: no gain in similarity can be shown."""
    reward, share, similarity = (
        next(measure for measure in measures if measure.name == name)
        for name in ("step_reward", "format_rate", "similarity")
    )
    gained = [
        arm
        for arm in TRAINED
        if all(
            _difference(results, arm, "warmup", measure)["low"] > 0 for measure in (reward, share)
        )
    ]
    arms = [
        arm for arm in gained if (_difference(results, arm, "warmup", similarity)["low"] or 0) <= 0
    ]
    each = []
    for arm in arms:
        both = (
            f"{measure.label} ({_numbers(_difference(results, arm, 'warmup', measure), measure)})"
            for measure in (share, similarity)
        )
        each.append(f"{ARMS[arm]}: {', '.join(both)}")
    said = (
        "a malformed step counts -1. These arms write more steps in the format than the "
        "warm-up; no gain in the similarity of those is shown"
    )
    return [f"- {reward.label}: {said}. {'; '.join(each)}."] if arms else []


def _limits(results: dict[str, Any], measures: Sequence[Measure]) -> list[str]:
    lines = []
    for arm in TRAINED:
        stopped = [run for run in results["consumed"][arm] if run["stopped"]]
        if stopped:
            after = ", ".join(f"seed {run['seed']} after {run['steps']} steps" for run in stopped)
            lines.append(
                f"- {ARMS[arm]} stopped, because all rewards of each group in a whole "
                f"batch were equal: {after}. It is scored as it stood."
            )
    for measure in measures:
        best = max(scores[measure.name]["value"] for scores in results["scores"].values())
        if measure.is_share and best < _FLOOR:
            lines.append(
                f"- {measure.label}: no arm reaches {_FLOOR:.0%}. "
                "The problems are too hard for this model to tell the arms apart."
            )
    dropped = [run["dropped"] for run in results["consumed"]["srl"]]
    if not any(dropped):
        lines.append(
            "- SRL dropped no group for want of spread, "
            "so that with and without dynamic sampling it was the same training; "
            "what differs is rounding."
        )
    else:
        lines.append(
            f"- SRL dropped {', '.join(map(str, dropped))} groups (by seed) for want of "
            "spread: all that dynamic sampling could change."
        )
    lines.append(
        "- Few steps on a small model: this shows how the parts work together and which "
        "way they pull, not what the paper's setting would give."
    )
    return lines


def _difference(results: dict[str, Any], arm: str, other: str, measure: Measure) -> dict[str, Any]:
    return next(
        row
        for row in results["differences"]
        if (row["arm"], row["against"], row["measure"]) == (arm, other, measure.name)
    )


def _verdict(results: dict[str, Any], arm: str, other: str, measure: Measure) -> str:
    """A difference with its interval, and whether it is one."""
    found = _difference(results, arm, other, measure)
    word = "higher" if found["low"] > 0 else "lower" if found["high"] < 0 else "no difference shown"
    return f"{word} ({_numbers(found, measure)})"


def _numbers(found: dict[str, Any], measure: Measure) -> str:
    if found["value"] is None:
        return "-"
    scale, form, unit = (100, "+.1f", " points") if measure.is_share else (1, "+.3f", "")
    value, low, high = (format(scale * found[name], form) for name in ("value", "low", "high"))
    return f"{value}{unit}, {low} to {high}"


def _cell(score: dict[str, Any], measure: Measure) -> str:
    if score["value"] is None:
        return "-"
    if measure.is_share:
        return f"{score['value']:.1%} ({100 * score['low']:.0f} to {100 * score['high']:.0f})"
    return f"{score['value']:+.3f} ({score['low']:+.2f} to {score['high']:+.2f})"


def _consumed(results: dict[str, Any], arm: str) -> list[str]:
    """Means over the seeds, with a mark where a training stopped."""
    runs = results["consumed"].get(arm)
    if runs is None:
        return ["-", "-", "-"]
    steps, learned, drawn = (
        sum(run[name] for run in runs) / len(runs) for name in ("steps", "learned_from", "drawn")
    )
    mark = (
        f" (stopped in {sum(run['stopped'] for run in runs)} of {len(runs)})"
        if any(run["stopped"] for run in runs)
        else ""
    )
    return [
        f"{steps:g}{mark}" if steps == int(steps) else f"{steps:.1f}{mark}",
        f"{learned:.0f}",
        f"{drawn:.0f}",
    ]

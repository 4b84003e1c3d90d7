"""The tiny study's plots: the arms' final scores, and their way there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .arms import ARMS
from .measures import MEASURES

_OTHER, _SRL = "#c77d1a", "#1f6fb4"
_DRAWN = ("srl", "srl_then_rlvr", "srl_no_dynamic_sampling", "rlvr", "sft_steps", "sft_working")
_PANELS = {
    "whole": "whole solution, %",
    "stepwise": "step by step, %",
    "working": "steps with working, %",
}


def draw_arms(path: Path, results: dict[str, Any]) -> None:
    """A panel a measure, a row an arm: the mean with its interval."""
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(14, 4.6), sharey=True)
    names = list(reversed(results["scores"]))
    for panel, measure in zip(panels, MEASURES, strict=True):
        for place, name in enumerate(names):
            score = results["scores"][name][measure.name]
            low, mean, high = (100 * score[key] for key in ("low", "value", "high"))
            color = _SRL if "srl" in name else _OTHER
            panel.plot([low, high], [place, place], color=color, linewidth=2)
            panel.plot([mean], [place], "o", color=color, markersize=5)
        panel.set_title(f"{measure.label}, %", fontsize=9)
        panel.set_yticks(range(len(names)), [ARMS[name].label for name in names], fontsize=8)
        panel.set_xlim(-3, 103)
        panel.grid(axis="x", color="#dddddd", linewidth=0.6)
        panel.tick_params(axis="x", labelsize=8)
    _save(figure, path)


def draw_curves(path: Path, results: dict[str, Any]) -> None:
    """Accuracy and working over optimizer steps, one line for each base (its first seed)."""
    figure, panels = plt.subplots(1, len(_PANELS), figsize=(13, 3.6))
    for panel, (key, title) in zip(panels, _PANELS.items(), strict=True):
        for number, name in enumerate(_DRAWN):
            for which, curve in enumerate(results["curves"].get(name, [])):
                panel.plot(
                    [point["step"] for point in curve],
                    [100 * point[key] for point in curve],
                    marker=".",
                    color=f"C{number}",
                    linestyle=("-", "--", ":", "-.")[which % 4],
                    label=ARMS[name].label if which == 0 else None,
                )
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("optimizer steps", fontsize=8)
        panel.set_ylim(-3, 103)
        panel.grid(color="#dddddd", linewidth=0.6)
    panels[0].legend(fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)

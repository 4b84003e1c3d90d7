"""The study's plot: a panel a measure, a row an arm, the mean with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .measures import Measure
from .plan import ARMS, TRAINED

_UNTRAINED, _TRAINED, _SRL = "#8a8f98", "#c77d1a", "#1f6fb4"


def draw(path: Path, results: dict[str, Any], measures: Sequence[Measure]) -> None:
    """Draw the means with their intervals; arms with SRL in them have their own color."""
    figure, panels = plt.subplots(
        1, len(measures), figsize=(3.1 * len(measures) + 1.6, 3.9), sharey=True, squeeze=False
    )
    places = {arm: len(ARMS) - 1 - number for number, arm in enumerate(ARMS)}
    for panel, measure in zip(panels[0], measures, strict=True):
        for arm, place in places.items():
            score = results["scores"][arm][measure.name]
            if score["value"] is None:
                panel.text(
                    0.02,
                    place,
                    "no well-formed answer",
                    transform=panel.get_yaxis_transform(),
                    va="center",
                    fontsize=7,
                    color="#666666",
                )
                continue
            scale = 100 if measure.is_share else 1
            mean, low, high = (scale * score[name] for name in ("value", "low", "high"))
            colour = _SRL if "srl" in arm else _TRAINED if arm in TRAINED else _UNTRAINED
            panel.plot([low, high], [place, place], color=colour, linewidth=2)
            panel.plot([mean], [place], "o", color=colour, markersize=6)
        panel.set_title(f"{measure.label}, %" if measure.is_share else measure.label, fontsize=9)
        panel.set_yticks(list(places.values()), [ARMS[arm] for arm in places], fontsize=8)
        panel.set_ylim(-0.6, len(ARMS) - 0.4)
        panel.tick_params(axis="x", labelsize=8)
        panel.grid(axis="x", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
    budget = results["budget"]
    figure.suptitle(
        f"{results['model']}: mean of {budget['seeds']} seeds and 95% interval (seeds "
        "and questions resampled); "
        f"{budget['steps']} steps of {budget['prompts_per_step']} prompts",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)

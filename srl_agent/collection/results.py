"""What a collection kept, rejected and spent: as data, in words, and in files to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from srl_agent.collection.budget import BudgetConfig, Spent
from srl_agent.runs.files import replace_file

RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class CollectResults:
    """The figures of a collection.

    Attributes:
        task: The command.
        model: Who answered.
        problems: How many were asked.
        kept: How many trajectories were written.
        passed: How many answers passed every check, the one that is kept among them.
        answers: How many there are.
        open: How many requests have no answer yet: over the budget, or failed.
        failure: What the machinery said of those that failed; empty if none did.
        rejected: Answers that did not pass, by reason.
        refused: Problems that were not asked, by reason.
        spent: Tokens.
        cost: At the prices of the settings.
        figures: What else the command measures.
    """

    task: str
    model: str
    problems: int
    kept: int
    passed: int
    answers: int
    open: int
    failure: str
    rejected: Mapping[str, int]
    refused: Mapping[str, int]
    spent: Spent
    cost: float
    figures: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, settings: Mapping[str, Any], versions: Mapping[str, Any]) -> None:
        """Write ``results.json`` into the run's folder."""
        content = asdict(self) | {"settings": dict(settings), "versions": dict(versions)}
        replace_file(folder / RESULTS, json.dumps(content, indent=1, default=str).encode())

    def text(self) -> str:
        """For the terminal."""
        spent = self.spent
        lines = [
            f"{self.kept} of {self.problems} problems have a trajectory; {self.passed} of"
            f" {self.answers} answers passed every check.",
            *_counted("Rejected answers", self.rejected),
            *_counted("Problems that were not asked", self.refused),
            *(f"{name}: {value}" for name, value in self.figures.items()),
            f"Tokens: {spent.prompt} of prompts, {spent.answer} of answers."
            + (f" Cost: {self.cost:.4g}." if self.cost else ""),
        ]
        if self.open:
            lines.append(f"{self.open} requests have no answer yet.")
        return "\n".join(lines)


def _counted(title: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    ordered = Counter(counts).most_common()
    return [f"{title}:", *(f"  {number:6} {reason}" for reason, number in ordered)]


def dry_run_text(requests: int, prompt: int, most: int, so_far: Spent, budget: BudgetConfig) -> str:
    """What is to come, without asking.

    Args:
        requests: How many.
        prompt: Tokens of their prompts, together, estimated from above.
        most: Tokens of their answers, at most.
        so_far: What earlier answers took.
        budget: Prices and bounds.
    """
    lines = [
        f"To come: at most {requests} requests, with {prompt} tokens of prompts and {most} tokens"
        " of answers."
    ]
    if so_far.requests:
        mean = so_far.answer / so_far.requests
        lines.append(
            f"The {so_far.requests} answers so far took {mean:.0f} tokens each, which makes about"
            f" {mean * requests:.0f}."
        )
    if cost := Spent(requests, prompt, most).cost(budget):
        lines.append(f"Cost: at most {cost:.4g}, after {so_far.cost(budget):.4g} so far.")
    if not so_far.plus(prompt, most, requests).fits(budget):
        lines.append("That may not fit the budget: the run then ends early, and can be resumed.")
    return "\n".join(lines)

"""``report.html``: a self-contained page to read every instance.

It shows prompts, answers, edits and verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.evaluation.math.page import rendered
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.results import VERDICTS, InstanceResult, SweBenchResults
from srl_agent.evaluation.swebench.tables import group_cells, rate_cells, verdict_cells
from srl_agent.runs.files import replace_file
from srl_envs.prompts.step import cut_middle

_SHOWN_CHARACTERS = 12_000
_HIGHLIGHTS = (
    "mode",
    "dataset",
    "num_samples",
    "temperature",
    "max_prompt_tokens",
    "max_new_tokens",
    "backend",
    "dtype",
)


@dataclass(frozen=True, slots=True)
class PageItem:
    """One instance on the page.

    Attributes:
        result: What became of it.
        issue: Its text.
        patch: What was judged.
        answer: The record of prompts and answers; empty where no model was asked.
    """

    result: InstanceResult
    issue: str
    patch: str
    answer: dict[str, Any]


def write_page(
    folder: Path,
    results: SweBenchResults,
    instances: Sequence[SweBenchInstance],
    records: Records,
    settings: Mapping[str, Any],
) -> Path:
    """Write ``report.html`` into a run's folder.

    Long texts are cut in the middle there; ``answers/`` has all of them.

    Returns:
        The page's path.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    items = [
        PageItem(
            result,
            _shown(instance.problem_statement),
            _shown(records.predictions.get(result.instance_id, "")),
            _cut(records.answer(result.instance_id)),
        )
        for result, instance in zip(results.instances, instances, strict=True)
    ]
    content = rendered(
        "swebench.html.j2",
        results=results,
        tables=[rate_cells(results), verdict_cells(results), *group_cells(results)],
        verdicts=VERDICTS,
        items=items,
        highlights=[
            (name.replace("_", " "), settings[name]) for name in _HIGHLIGHTS if name in settings
        ],
        settings=[(name, str(value)) for name, value in settings.items()],
    )
    replace_file(folder / "report.html", content)
    return folder / "report.html"


def _cut(value: Any) -> Any:
    """The same with every text in it at most as long as the page shows."""
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, list):
        return [_cut(one) for one in value]
    return {key: _cut(one) for key, one in value.items()} if isinstance(value, dict) else value


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else cut_middle(text, _SHOWN_CHARACTERS)

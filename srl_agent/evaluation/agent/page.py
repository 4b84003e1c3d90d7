"""``report.html``: a self-contained page in which every episode can be read turn by turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.evaluation.agent.results import (
    ENDS,
    AgentResults,
    episode_cells,
    kind_cells,
    kind_of,
    rate_cells,
)
from srl_agent.evaluation.math.page import rendered
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_agent.runs.files import replace_file
from srl_envs.trajectory import Trajectory

_HIGHLIGHTS = (
    *("split", "num_samples", "temperature", "max_new_tokens", "episode_turns"),
    *("episode_history", "sandbox", "backend", "dtype"),
)


@dataclass(frozen=True, slots=True)
class TaskEpisodes:
    """A task with those of its episodes that the page shows."""

    id: str
    kind: str
    prompt: str
    episodes: list[EpisodeRecord]

    @property
    def solved(self) -> int:
        """How many of them are solved."""
        return sum(bool(one.correct) for one in self.episodes)


def write_page(
    folder: Path,
    results: AgentResults,
    tasks: Sequence[Trajectory],
    episodes: Sequence[EpisodeRecord],
    settings: Mapping[str, Any],
    most: int,
) -> Path:
    """Write ``report.html`` into a run's folder.

    Args:
        folder: The run's folder.
        results: Its figures.
        tasks: That were asked for.
        episodes: Those with a verdict.
        settings: What is shown about how the run was made.
        most: The page shows at most so many episodes, the first of every task first.

    Returns:
        The page's path.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    shown = sorted(episodes, key=lambda one: one.number)[:most]
    items = {task.id: TaskEpisodes(task.id, kind_of(task), task.prompt, []) for task in tasks}
    for one in shown:
        items[one.task].episodes.append(one)
    content = rendered(
        "agent.html.j2",
        results=results,
        tables=[rate_cells(results), episode_cells(results), kind_cells(results)],
        ends=ENDS,
        items=[item for item in items.values() if item.episodes],
        shown=len(shown),
        total=len(episodes),
        highlights=[
            (name.replace("_", " "), settings[name]) for name in _HIGHLIGHTS if name in settings
        ],
        settings=[(name, str(value)) for name, value in settings.items()],
    )
    replace_file(folder / "report.html", content)
    return folder / "report.html"

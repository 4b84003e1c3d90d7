"""The pages as static files: a folder that can be copied, mailed or put on any server."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from srl_agent.reports.viewer.pages import Pages
from srl_agent.reports.viewer.queries import GroupFilter
from srl_agent.reports.viewer.runs import ShownRun
from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        first: The page to open.
        pages: How many.
        left_out: Pages that were linked to beyond the bound.
    """

    first: Path
    pages: int
    left_out: int


def export(runs: Mapping[str, ShownRun], folder: Path, most: int) -> Exported:
    """Write the pages of runs as files that link to each other.

    Starting from the list of runs, pages are written in the order in which they are
    linked to, a quarter of them lists at most, each in one order. Links to pages beyond
    the bound are left out.

    Args:
        runs: By name.
        folder: New, empty, or an older export, which is overwritten.
        most: Pages at most.

    Raises:
        ConfigError: The folder holds something else.
    """
    marker = folder / ".srl-view"
    if folder.is_file():
        raise ConfigError(f"{folder} is a file: give the folder to write into.")
    if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
        raise ConfigError(f"{folder} is not empty and holds no export: choose another --export.")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    marker.touch()
    links = _FileLinks(most)
    pages = Pages(runs, links)
    links.pages = pages
    links.home() if len(runs) > 1 else links.run(next(iter(runs)))
    written = 0
    while links.queue:
        name, make = links.queue.popleft()
        page = make()
        if page is not None:
            replace_file(folder / name, page.encode("utf-8", "replace"))
            written += 1
    return Exported(folder / "index.html", written, len(links.left_out))


class _FileLinks:
    """Names of files; a page that is linked to is put in the queue once."""

    pages: Pages

    def __init__(self, most: int) -> None:
        self._most, self._lists = most, 0
        self._names: dict[tuple[str, ...], str] = {}
        self.left_out: set[tuple[str, ...]] = set()
        self.queue: deque[tuple[str, Callable[[], str | None]]] = deque()

    def _file(self, make: Callable[[], str | None], *parts: str) -> str:
        """The file of a page; the first page is the one to open."""
        if parts in self._names:
            return self._names[parts]
        is_list = "groups" in parts or "episodes" in parts
        if len(self._names) >= self._most or (is_list and self._lists >= self._most // 4):
            self.left_out.add(parts)
            return ""
        self._lists += is_list
        words = "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)
        if len(words) > 80 or f"{words}.html" in self._names.values():
            words = f"{words[:60]}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
        name = f"{words}.html" if self._names else "index.html"
        self._names[parts] = name
        self.queue.append((name, make))
        return name

    def home(self) -> str:
        return self._file(lambda: self.pages.home(), "runs")

    def run(self, run: str, sort: str = "-gain", page: int = 1, search: str = "") -> str:
        if sort != "-gain" or search:
            return ""

        def make() -> str | None:
            return self.pages.run(run, "-gain", page)

        return self._file(make, run, "" if page == 1 else f"{page}")

    def groups(self, run: str, chosen: GroupFilter, text: str = "", before: int = 0) -> str:
        if chosen.sort not in ("-step", "step") or text:
            return ""

        def make() -> str | None:
            return self.pages.groups(run, chosen)

        plain = chosen == GroupFilter()
        words = "" if plain else hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]
        return self._file(make, run, "groups", words)

    def group(self, run: str, key: str) -> str:
        return self._file(lambda: self.pages.group(run, key), run, "group", key)

    def episodes(self, run: str, outcome: str = "", task: str = "", page: int = 1) -> str:
        def make() -> str | None:
            return self.pages.episodes(run, outcome, task, page)

        return self._file(make, run, "episodes", outcome, task, str(page))

    def episode(self, run: str, number: int, beside: int | None = None) -> str:
        def make() -> str | None:
            return self.pages.episode(run, number, beside)

        with_it = "" if beside is None else f"and {beside}"
        return self._file(make, run, "episode", str(number), with_it)

"""The pages, made from a run's index; who serves or writes them says how they are linked."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Protocol

from srl_agent.reports.comparison import Match, Segment, match_of
from srl_agent.reports.explanation import MALFORMATIONS_EXPLAINED, worked_out
from srl_agent.reports.viewer.curves import HEIGHT, WIDTH, sparkline
from srl_agent.reports.viewer.queries import GROUP_SORTS, GroupFilter, GroupRow, InstanceRow, Page
from srl_agent.reports.viewer.run_files import TRAINING
from srl_agent.reports.viewer.runs import ShownRun
from srl_agent.rollouts.rollout_log import FOLDER, GroupRecord, RolloutRecord, read_dropped
from srl_envs.errors import MissingDependencyError, install_command
from srl_envs.response import Response
from srl_envs.reward import StepReward

_COMPARISONS = 20_000_000  # of one answer: some 50 ms where texts are repetitive


class Links(Protocol):
    """Addresses of pages; an empty one is not linked to."""

    def home(self) -> str:
        """The list of runs."""

    def run(self, run: str, sort: str = "-gain", page: int = 1, search: str = "") -> str:
        """A run's page."""

    def groups(self, run: str, chosen: GroupFilter, text: str = "", before: int = 0) -> str:
        """A list of groups."""

    def group(self, run: str, key: str) -> str:
        """A group."""

    def episodes(self, run: str, outcome: str = "", task: str = "", page: int = 1) -> str:
        """A list of episodes."""

    def episode(self, run: str, number: int, beside: int | None = None) -> str:
        """An episode, and one beside it."""


@dataclass(frozen=True, slots=True)
class ShownRollout:
    """An answer of a group as its page shows it."""

    number: int
    record: RolloutRecord
    match: Match | None
    sum: str
    flaw: str
    episode: str


class Pages:
    """Makes pages.

    Args:
        runs: By name.
        links: Addresses.
        follow: Seconds after which a page looks again; 0: never.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """

    def __init__(self, runs: Mapping[str, ShownRun], links: Links, follow: float = 0) -> None:
        self.runs, self.links = runs, links
        self._environment = page_environment(follow)
        self.policy: str = self._environment.globals["policy"]

    # ---------------------------------------------------------------- pages

    def home(self) -> str:
        """The list of runs."""
        rows = []
        for run in self.runs.values():
            metrics = run.metrics.read()
            rewards = [row["reward"] for row in metrics.train.values() if "reward" in row]
            rows.append(
                {
                    "run": run,
                    "href": self.links.run(run.name),
                    "step": metrics.last_step,
                    "spark": sparkline(rewards[:: max(1, len(rewards) // 60)]),
                    "facts": [*run.headline(), *run.facts()][:3],
                }
            )
        return self._render("runs.html.j2", "Runs", [("Runs", "")], [], rows=rows)

    def run(self, name: str, sort: str = "-gain", page: int = 1, search: str = "") -> str | None:
        """A run: its curves, and its instances by mean, spread or gain."""
        run = self._run(name)
        if run is None:
            return None
        metrics, link = run.metrics.read(), self.links
        sort = sort if sort in InstanceRow.SORTS else "-gain"
        instances = run.index.instances(sort, page, search)

        def band(one: Any) -> str:
            return link.groups(name, GroupFilter(first=one.first, last=one.last, sort="step"))

        sorts = ("mean", "spread", "gain", "groups")
        return self._render(
            "run.html.j2",
            name,
            self._crumbs(name),
            self._tabs(run, "run"),
            run=run,
            charts=run.metrics.charts(),
            band=band,
            step=metrics.last_step,
            counts=run.index.counts(),
            kinds=run.index.kinds(),
            parts=run.index.parts(),
            fates=run.index.fates(),
            noun="groups" if run.kind.trains else "tasks",
            dropped=read_dropped(run.folder / FOLDER),
            instances=instances,
            sort=sort,
            search=search,
            sorts={one: link.run(name, _flipped(sort, one), 1, search) for one in sorts},
            turned=self._turned(instances, lambda number: link.run(name, sort, number, search)),
            rows=[(row, link.group(name, row.last_key)) for row in instances.rows],
            groups=lambda **chosen: link.groups(name, GroupFilter(**chosen)),
            action=link.run(name),
        )

    def groups(self, name: str, chosen: GroupFilter, text: str = "", before: int = 0) -> str | None:
        """A list of groups; with a text, those that hold it."""
        run = self._run(name)
        if run is None:
            return None
        link, looked_at, total = self.links, 0, 0
        if text:
            rows, looked_at, total = run.index.search(chosen, text, before)
            page = Page(rows, 1, len(rows))
        else:
            page = run.index.groups(chosen)
        turned = self._turned(page, lambda number: link.groups(name, replace(chosen, page=number)))
        further = link.groups(name, chosen, text, looked_at) if looked_at < total else ""
        return self._render(
            "groups.html.j2",
            f"{_noun(run)} · {name}",
            self._crumbs(name, (_noun(run), "")),
            self._tabs(run, "groups"),
            page=page,
            rows=[(row, link.group(name, row.key)) for row in page.rows],
            turned=turned,
            chosen=chosen,
            text=text,
            looked_at=looked_at,
            total=total,
            further=further,
            kinds=run.index.kinds(),
            fates=run.index.fates(),
            noun=_noun(run),
            sorts={
                one: link.groups(name, replace(chosen, sort=_flipped(chosen.sort, one), page=1))
                for one in ("step", "mean", "spread", "best", "tokens")
            },
            action=link.groups(name, GroupFilter()),
        )

    def group(self, name: str, key: str) -> str | None:
        """A group: the expert's step beside its answers."""
        run = self._run(name)
        row = None if run is None else run.index.group_row(key)
        group = None if run is None or row is None else run.index.group(key)
        if run is None or row is None or group is None:
            return None
        link = self.links
        history = run.index.history(row.id)
        here = next(i for i, one in enumerate(history) if one.key == key)
        before, after = run.index.neighbours(row)
        rollouts = self._rollouts(run, row, group)
        means = [one.mean or 0.0 for one in history]
        return self._render(
            "group.html.j2",
            f"{group.title or group.id} · step {row.step} · {name}",
            self._crumbs(
                name,
                (_noun(run), link.groups(name, GroupFilter())),
                (f"step {row.step}" if row.source == TRAINING else row.source, ""),
            ),
            self._tabs(run, "groups"),
            row=row,
            group=group,
            rollouts=rollouts,
            best=max(rollouts, key=_known_reward).number if rollouts else 0,
            unmarked=[Segment(group.expert, matches=True)],
            trained=row.source == TRAINING,
            expert=run.kind.expert,
            scored=run.kind.scored,
            history=history,
            here=here,
            keys=json.dumps(
                [
                    {"url": link.group(name, one.key), "label": _label(one, i, len(history))}
                    for i, one in enumerate(history)
                ]
            ),
            label=_label(row, here, len(history)),
            spark=sparkline(means, 220, 36),
            spark_dots=_dots(means, 220, 36),
            earlier=link.group(name, history[here - 1].key) if here else "",
            later=link.group(name, history[here + 1].key) if here + 1 < len(history) else "",
            previous=link.group(name, before) if before else "",
            next=link.group(name, after) if after else "",
            of_instance=link.groups(name, GroupFilter(id=row.id, sort="step")),
        )

    def episodes(self, name: str, outcome: str = "", task: str = "", page: int = 1) -> str | None:
        """A list of episodes."""
        run = self._run(name)
        if run is None:
            return None
        link, found = self.links, run.index.episodes(outcome, task, page)
        return self._render(
            "episodes.html.j2",
            f"Episodes · {name}",
            self._crumbs(name, ("Episodes", "")),
            self._tabs(run, "episodes"),
            page=found,
            rows=[(row, link.episode(name, row.number)) for row in found.rows],
            has_drift=any(row.drift is not None for row in found.rows),
            turned=self._turned(found, lambda one: link.episodes(name, outcome, task, one)),
            outcome=outcome,
            task=task,
            action=link.episodes(name),
        )

    def episode(self, name: str, number: int, beside: int | None = None) -> str | None:
        """An episode, turn by turn; with another one, both side by side."""
        run = self._run(name)
        first = None if run is None else run.index.episode(number)
        if run is None or first is None:
            return None
        second = None if beside is None else run.index.episode(beside)
        if beside is not None and second is None:
            return None
        row, link = first[0], self.links
        attempts = run.index.attempts(row.task, row.step)
        numbers = [one.number for one in attempts]
        here = numbers.index(number)
        near = {step: link.episode(name, numbers[here + step])
                for step in (-1, 1) if 0 <= here + step < len(numbers)}  # fmt: skip
        return self._render(
            "episode.html.j2",
            f"{row.task} · {name}",
            self._crumbs(name, ("Episodes", link.episodes(name)), (row.task, "")),
            self._tabs(run, "episodes"),
            shown=[first] if second is None else [first, second],
            attempts=[
                (one, link.episode(name, one.number), link.episode(name, number, one.number))
                for one in attempts
            ],
            alone=link.episode(name, number),
            beside=beside,
            previous=near.get(-1, ""),
            next=near.get(1, ""),
            group=self._group_of(run, row.task, row.step),
        )

    # ---------------------------------------------------------------- parts

    def _run(self, name: str) -> ShownRun | None:
        run = self.runs.get(name)
        if run is not None:
            run.index.refresh()
        return run

    def _rollouts(self, run: ShownRun, row: GroupRow, group: GroupRecord) -> list[ShownRollout]:
        attempts = {one.attempt: one.number for one in run.index.attempts(row.id, row.step)}
        shown = []
        for number, record in enumerate(group.rollouts):
            match, words = None, ""
            if record.similarity is not None and record.action:
                match = match_of(
                    record.action,
                    group.expert,
                    autojunk=run.reward.autojunk,
                    max_characters=run.reward.max_characters,
                    comparisons=_COMPARISONS,
                )
            if match is not None and record.similarity is not None:
                reward = StepReward(record.reward, record.similarity, Response("", record.action))
                words = worked_out(match, reward, run.reward.name)
            place = attempts.get(record.episode) if record.episode is not None else None
            href = "" if place is None else self.links.episode(run.name, place)
            flaw = MALFORMATIONS_EXPLAINED.get(record.error or "", "")
            shown.append(ShownRollout(number, record, match, words, flaw, href))
        return shown

    def _group_of(self, run: ShownRun, task: str, step: int) -> str:
        rows = run.index.groups(GroupFilter(id=task, first=step, last=step)).rows
        return self.links.group(run.name, rows[0].key) if rows else ""

    def _crumbs(self, name: str, *further: tuple[str, str]) -> list[tuple[str, str]]:
        own = [(name, self.links.run(name)), *further]
        return [("Runs", self.links.home()), *own] if len(self.runs) > 1 else own

    def _tabs(self, run: ShownRun, now: str) -> list[tuple[str, str, bool]]:
        counts, link = run.index.counts(), self.links
        tabs = [("Run", link.run(run.name), now == "run")]
        if counts["groups"]:
            tabs.append((_noun(run), link.groups(run.name, GroupFilter()), now == "groups"))
        if counts["episodes"]:
            tabs.append(("Episodes", link.episodes(run.name), now == "episodes"))
        return tabs

    def _turned(self, page: Page[Any], href: Callable[[int], str]) -> tuple[str, str]:
        """The addresses of the pages before and after one."""
        before = href(page.number - 1) if page.number > 1 else ""
        return before, href(page.number + 1) if page.number < page.last else ""

    def _render(
        self,
        template: str,
        title: str,
        crumbs: list[tuple[str, str]],
        tabs: list[tuple[str, str, bool]],
        **content: Any,
    ) -> str:
        made = self._environment.get_template(template)
        return str(made.render(title=title, crumbs=crumbs, tabs=tabs, **content))


def page_environment(follow: float = 0) -> Any:
    """The templates, which escape all that they show, with the script and style of each page.

    Args:
        follow: Seconds after which a page looks again; 0: never.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependencyError(f"The pages need jinja2: {install_command('view')}") from error
    texts = files("srl_agent.reports.viewer").joinpath("templates")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: texts.joinpath(name).read_text(encoding="utf-8")),
    )
    environment.filters.update(figure=figure, signed=signed, duration=duration)
    style = texts.joinpath("style.css").read_text(encoding="utf-8")
    script = texts.joinpath("viewer.js").read_text(encoding="utf-8")
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
        follow=follow,
        explained=MALFORMATIONS_EXPLAINED,
        width=WIDTH,
        height=HEIGHT,
        crumbs=[],
        tabs=[],
    )
    return environment


def content_policy(style: str, script: str) -> str:
    """A Content-Security-Policy that runs this script and nothing else."""

    def allowed(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    return (
        f"default-src 'none'; script-src {allowed(script)}; style-src {allowed(style)};"
        " connect-src 'self'; form-action 'self'; base-uri 'none'"
    )


def figure(value: float | None, digits: int = 3) -> str:
    """A figure in a page; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 2) -> str:
    """A figure with its sign."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _flipped(now: str, column: str) -> str:
    """The order that a click on a column's head gives: the other way round the second time."""
    known = {**InstanceRow.SORTS, **GROUP_SORTS}
    return column if now == f"-{column}" and column in known else f"-{column}"


def _noun(run: ShownRun) -> str:
    return "Groups" if run.kind.trains else "Answers"


def _known_reward(one: ShownRollout) -> float:
    reward = one.record.reward
    return reward if math.isfinite(reward) else -math.inf


def _label(row: GroupRow, number: int, count: int) -> str:
    at = f"step {row.step:,}" if row.source == TRAINING else row.source
    if row.fate == "held out":
        at = f"{row.source}, step {row.step:,}"
    return f"{at} ({number + 1} of {count}) · mean {figure(row.mean)}"


def _dots(values: list[float], width: int, height: int) -> list[tuple[str, str]]:
    path = sparkline(values, width, height).removeprefix("M")
    pairs = [point.split(" ") for point in path.split("L") if point]
    return [(x, y) for x, y in pairs]

"""What pages ask of a run: lists of groups, instances and episodes, and single ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from srl_agent.reports.viewer.kinds import Kind
from srl_agent.reports.viewer.queries import (
    EpisodeRow,
    GroupFilter,
    GroupRow,
    InstanceRow,
    Page,
    PartRow,
)
from srl_agent.reports.viewer.run_files import KEPT, TRAINING, RunFiles
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_agent.rollouts.rollout_log import FOLDER, GroupRecord, RolloutRecord, read_group
from srl_agent.runs.answers import Answer
from srl_envs.errors import DataError


class RunIndex:
    """One run's groups and episodes; safe in several threads.

    Args:
        folder: The run's.
        kind: Of the run.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self._files = RunFiles(folder, kind)
        self._db, self._lock = self._files.db, self._files.lock
        self._known: dict[tuple[Any, ...], Any] = {}
        self._changes = -1

    @property
    def is_reading(self) -> bool:
        """Whether files are being read just now, so that lists are not complete."""
        return self._files.is_reading

    def refresh(self, at_most_every: float = 1.0, wait: float = 0.5) -> None:
        """Read what was added to the files; see :meth:`RunFiles.refresh`."""
        self._files.refresh(at_most_every, wait)

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query over a whole table; asked once until something is added."""
        with self._lock:
            if self._changes != self._db.total_changes or len(self._known) > 1000:
                self._known.clear()
                self._changes = self._db.total_changes
            if (query, values) not in self._known:
                self._known[query, values] = self._db.execute(query, values).fetchall()
            found: list[Any] = self._known[query, values]
        return found

    def groups(self, chosen: GroupFilter) -> Page[GroupRow]:
        """A page of groups."""
        where, values = chosen.where()
        return self._page("groups", GroupRow, where, values, chosen.order(), chosen.page)

    def instances(self, sort: str, page: int, search: str = "") -> Page[InstanceRow]:
        """A page of instances; ``sort`` is a key of :data:`InstanceRow.SORTS`."""
        where, values = "1", []
        if search:
            where = "instr(lower(id), ?) OR instr(lower(title), ?)"
            values = [search.lower()] * 2
        order = InstanceRow.SORTS.get(sort, "id")
        return self._page("instances", InstanceRow, where, values, order, page)

    def episodes(self, outcome: str = "", task: str = "", page: int = 1) -> Page[EpisodeRow]:
        """A page of episodes, the newest first."""
        tests = [("outcome = ?", outcome)] if outcome else []
        tests += [("instr(lower(task), ?)", task.lower())] if task else []
        where = " AND ".join(test for test, _ in tests) or "1"
        order = "step DESC, task, attempt"
        return self._page("episodes", EpisodeRow, where, [value for _, value in tests], order, page)

    def _page(
        self,
        table: str,
        kind: type[Any],
        where: str,
        values: Iterable[Any],
        order: str,
        number: int,
    ) -> Page[Any]:
        names, given = ", ".join(kind.__slots__), tuple(values)
        start = (max(number, 1) - 1) * Page.SIZE
        key = {"groups": "key", "instances": "id", "episodes": "number"}[table]
        # Keys first: of the rows that are passed over nothing else is read.
        query = (
            f"SELECT {names} FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {where}"
            f" ORDER BY {order} LIMIT {Page.SIZE} OFFSET {start}) ORDER BY {order}"
        )
        with self._lock:
            total = self._rows(f"SELECT count(*) FROM {table} WHERE {where}", given)[0][0]
            rows = [kind(*row) for row in self._db.execute(query, given)]
        return Page(rows, max(number, 1), total)

    def search(
        self, chosen: GroupFilter, text: str, before: int, seconds: float = 0.12
    ) -> tuple[list[GroupRow], int, int]:
        """The groups among whose answers, expert's step or prompt a text is, the newest first.

        Args:
            chosen: Other conditions.
            text: What to look for, in any case.
            before: How many groups to pass over: where the last search stopped.
            seconds: When to stop, with what was found.

        Returns:
            At most a page of groups; how many were looked at, all earlier searches
            included; and how many there are.
        """
        where, values = chosen.where()
        names, wanted = ", ".join(GroupRow.__slots__), text.lower()
        until = time.monotonic() + seconds
        with self._lock:
            total = self._rows(f"SELECT count(*) FROM groups WHERE {where}", tuple(values))[0][0]
            query = (
                f"SELECT {names} FROM groups WHERE {where} ORDER BY step DESC, source, place"
                f" LIMIT 2000 OFFSET {before}"
            )
            rows = [GroupRow(*row) for row in self._db.execute(query, values)]
        found: list[GroupRow] = []
        looked_at = before
        for row in rows:
            if looked_at > before and (time.monotonic() > until or len(found) == Page.SIZE):
                break
            looked_at += 1
            group = self.group(row.key)
            if group is not None and any(wanted in one.lower() for one in _texts(group)):
                found.append(row)
        return found, looked_at, total

    def group_row(self, key: str) -> GroupRow | None:
        """The line of a group; None if there is no such group."""
        names = ", ".join(GroupRow.__slots__)
        with self._lock:
            query = f"SELECT {names} FROM groups WHERE key = ?"
            row = self._db.execute(query, (key,)).fetchone()
        return None if row is None else GroupRow(*row)

    def group(self, key: str) -> GroupRecord | None:
        """A group with its texts; None if there is none, or its part was deleted just now."""
        query = "SELECT source, step, place, file, offset, size, id FROM groups WHERE key = ?"
        with self._lock:
            row = self._db.execute(query, (key,)).fetchone()
        if row is None:
            return None
        source, step, place, file, offset, size, id = row
        if key.startswith(f"{KEPT}."):
            listed = self._files.kept.group(file)
            return None if listed is None else listed.record
        if source != TRAINING:
            path = self.folder / "samples" / file
            return _group_of_answers(step, place, self._files.samples[path][1][id])
        try:
            return read_group(self.folder / FOLDER / f"{file}.index", offset, size)
        except DataError:
            return None

    def history(self, id: str) -> list[GroupRow]:
        """The groups of one instance by step, for its slider."""
        names = ", ".join(GroupRow.__slots__)
        query = f"SELECT {names} FROM groups WHERE id = ? ORDER BY step, source, place"
        with self._lock:
            return [GroupRow(*row) for row in self._db.execute(query, (id,))]

    def neighbours(self, row: GroupRow) -> tuple[str | None, str | None]:
        """The keys of the groups before and after this one, by step and place."""
        found: list[str | None] = []
        for sign, order in (("<", "DESC"), (">", "ASC")):
            query = (
                f"SELECT key FROM groups WHERE source = ? AND (step, place) {sign} (?, ?)"
                f" ORDER BY step {order}, place {order} LIMIT 1"
            )
            with self._lock:
                one = self._db.execute(query, (row.source, row.step, row.place)).fetchone()
            found.append(None if one is None else one[0])
        return found[0], found[1]

    def kinds(self) -> list[str]:
        """Every kind of malformed answer that there is."""
        rows = self._rows("SELECT DISTINCT errors FROM groups WHERE errors != ''")
        return sorted({kind for (errors,) in rows for kind in errors.split()})

    def counts(self) -> dict[str, int]:
        """How many groups of each fate, answers, instances and episodes there are."""
        fates = self._rows("SELECT fate, count(*), sum(answers) FROM groups GROUP BY fate")
        counts = {str(fate): int(count) for fate, count, _ in fates}
        counts["answers"] = sum(int(answers) for _, _, answers in fates)
        counts["groups"] = sum(int(count) for _, count, _ in fates)
        for table in ("instances", "episodes"):
            counts[table] = self._rows(f"SELECT count(*) FROM {table}")[0][0]
        return counts

    def fates(self) -> list[str]:
        """Every fate that a group has."""
        return [row[0] for row in self._rows("SELECT DISTINCT fate FROM groups")]

    def parts(self) -> list[PartRow]:
        """The parts of the run, each summed up."""
        query = (
            "SELECT source, count(*), sum(answers), avg(mean), sum(errors != '') FROM groups"
            " GROUP BY source ORDER BY min(step), source"
        )
        return [PartRow(*row) for row in self._rows(query)]

    def episode(self, number: int) -> tuple[EpisodeRow, EpisodeRecord] | None:
        """An episode with its turns; None if there is none, or it was dropped just now."""
        names = ", ".join(EpisodeRow.__slots__)
        query = f"SELECT {names}, file, offset, size, kept FROM episodes WHERE number = ?"
        with self._lock:
            row = self._db.execute(query, (number,)).fetchone()
        if row is None:
            return None
        *values, file, offset, size, kept = row
        try:
            if kept is not None:
                found = self._files.kept.episode(kept)
            else:
                found = self._files.episode_at(file, offset, size)
            record = None if found is None else EpisodeRecord.from_row(found, f"episode {number}")
        except (OSError, ValueError):  # a DataError is a ValueError
            return None
        return None if record is None else (EpisodeRow(*values), record)

    def attempts(self, task: str, step: int) -> list[EpisodeRow]:
        """The episodes of a task at one step: a group."""
        names = ", ".join(EpisodeRow.__slots__)
        query = f"SELECT {names} FROM episodes WHERE task = ? AND step = ? ORDER BY attempt"
        with self._lock:
            return [EpisodeRow(*row) for row in self._db.execute(query, (task, step))]


def _group_of_answers(step: int, place: int, answers: list[Answer]) -> GroupRecord:
    first = answers[0]
    rollouts = tuple(
        RolloutRecord(
            text=answer.completion,
            thought=answer.thought,
            action=answer.action,
            error=answer.error,
            reward=0.0 if answer.reward is None else answer.reward,
            similarity=answer.similarity,
            advantage=0.0,
            tokens=answer.tokens or 0,
        )
        for answer in answers
    )
    why = "Held out: it is never trained on."
    names = (first.instance_id, first.title, first.prompt, first.expert)
    return GroupRecord(step, place, *names, "held out", why, rollouts)


def _texts(group: GroupRecord) -> Iterator[str]:
    yield from (group.id, group.title, group.expert, group.prompt)
    for rollout in group.rollouts:
        yield rollout.text

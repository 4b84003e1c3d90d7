"""What a run's folder holds, indexed in memory: groups of answers, and episodes.

Nothing is written to the folder. Files are read from where the last refresh stopped, so a
page of a running run costs what was added since. Texts stay on disk until a page shows
them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.reports.viewer.queries import GroupFilter, GroupRow, InstanceRow, Page
from srl_agent.rollouts.episode_records import EpisodeRecord
from srl_agent.rollouts.rollout_log import (
    FOLDER,
    GroupRecord,
    RolloutRecord,
    index_lines,
    part_indexes,
    read_group,
)
from srl_agent.runs.answers import Answer, answer_of
from srl_envs.errors import DataError

TRAINING = "train"
"""The source of groups that were rolled out to train on; others are the stages of ``samples/``."""

_CHUNK = 5000  # lines between which pages may read

_SCHEMA = """
CREATE TABLE groups (key TEXT PRIMARY KEY, source TEXT, step INT, place INT, id TEXT, title TEXT,
    fate TEXT, mean REAL, spread REAL, best REAL, answers INT, tokens REAL, errors TEXT,
    file TEXT, offset INT, size INT) WITHOUT ROWID;
CREATE INDEX by_step ON groups (step, source);
CREATE INDEX by_id ON groups (id, step);
CREATE TABLE instances (id TEXT PRIMARY KEY, title TEXT, groups INT, mean REAL, spread REAL,
    gain REAL, first_step INT, last_step INT, last_key TEXT,
    first_mean REAL) WITHOUT ROWID;
CREATE TABLE episodes (number INTEGER PRIMARY KEY, step INT, task TEXT, attempt INT, outcome TEXT,
    reward REAL, turns INT, tokens INT, seconds REAL, file INT, offset INT, size INT);
CREATE INDEX by_task ON episodes (task, step);
"""

_ADD_TO_INSTANCE = """
INSERT INTO instances VALUES (?, ?, 1, ?, ?, 0, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    mean = (mean * groups + excluded.mean) / (groups + 1),
    spread = (spread * groups + excluded.spread) / (groups + 1),
    gain = excluded.mean - first_mean, groups = groups + 1,
    last_step = excluded.last_step, last_key = excluded.last_key
"""
"""Adds a group that is later than those before; the gain is from the first to the last."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An episode in a list.

    Attributes:
        number: In this index; of one run it does not change while the file is there.
        step: The training step; 0 in an evaluation.
        task: Its id.
        attempt: Of the attempts at this task, from 0.
        outcome: ``solved``, ``failed`` or ``none``: there is no verdict.
        reward: None without a verdict.
        turns: How many answers.
        tokens: That the model wrote.
        seconds: Until its verdict.
    """

    number: int
    step: int
    task: str
    attempt: int
    outcome: str
    reward: float | None
    turns: int
    tokens: int
    seconds: float


class RunIndex:
    """One run's groups and episodes; safe in several threads.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._read: dict[str, int] = {}
        self._files: dict[int, tuple[Path, int]] = {}
        self._samples: dict[Path, tuple[int, dict[str, list[Answer]]]] = {}
        self._refreshed = 0.0
        self._reading = threading.Lock()

    # ---------------------------------------------------------------- following the files

    @property
    def is_reading(self) -> bool:
        """Whether files are being read just now, so that lists are not complete."""
        return self._reading.locked()

    def refresh(self, at_most_every: float = 1.0, wait: float = 0.5) -> None:
        """Read what was added since the last time.

        Args:
            at_most_every: Seconds for which nothing is looked at again.
            wait: Seconds to wait for another thread that is reading.
        """
        if not self._reading.acquire(timeout=wait):
            return
        try:
            if self._refreshed and time.monotonic() - self._refreshed < at_most_every:
                return
            self._read_groups()
            self._read_samples()
            self._read_episodes()
            self._refreshed = time.monotonic()
        finally:
            self._reading.release()

    def _read_groups(self) -> None:
        indexes = part_indexes(self.folder / FOLDER)
        names = {index.stem for index in indexes}
        with self._lock:
            for gone in [name for name in self._read if name not in names]:
                del self._read[gone]  # deleted to stay within the bound on disk
                self._forget("file = ? AND source = ?", (gone, TRAINING))
        for index in indexes:
            lines = _lines_of(index, self._read.get(index.stem, 0))
            while chunk := list(islice(lines, _CHUNK)):
                with self._lock:
                    self._add_groups(index.stem, chunk)
                    self._read[index.stem] = chunk[-1]["end"]

    def _add_groups(self, part: str, lines: list[Mapping[str, Any]]) -> None:
        rows: list[tuple[Any, ...]] = []
        newest = self._newest()
        for line in lines:
            try:
                row = _group_row(part, line)
            except (KeyError, TypeError):
                continue  # of another version
            step, place = row[2], row[3]
            if place == 0 and step <= newest:  # a run that was killed logs these steps again
                self._insert(rows)
                rows = []
                self._forget("source = ? AND step >= ?", (TRAINING, step))
            newest = max(newest, step)
            rows.append(row)
        self._insert(rows)

    def _newest(self) -> int:
        query = "SELECT max(step) FROM groups WHERE source = ?"
        found: int | None = self._db.execute(query, (TRAINING,)).fetchone()[0]
        return -1 if found is None else found

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        marks = ", ".join("?" * 16)
        self._db.execute("BEGIN")
        self._db.executemany(f"INSERT OR REPLACE INTO groups VALUES ({marks})", rows)
        of_instances = (
            (row[4], row[5], row[7], row[8], row[2], row[2], row[0], row[7]) for row in rows
        )
        self._db.executemany(_ADD_TO_INSTANCE, of_instances)
        self._db.execute("COMMIT")

    def _forget(self, where: str, values: tuple[Any, ...]) -> None:
        query = f"SELECT DISTINCT id FROM groups WHERE {where}"
        ids = {row[0] for row in self._db.execute(query, values)}
        self._db.execute(f"DELETE FROM groups WHERE {where}", values)
        self._db.executemany("DELETE FROM instances WHERE id = ?", [(one,) for one in ids])
        self._summarize(ids)

    def _summarize(self, ids: Iterable[str]) -> None:
        """Compute lines of the table of instances anew, after groups were taken away."""
        self._db.executemany(
            """INSERT OR REPLACE INTO instances
            SELECT id, title, count(*), avg(mean), avg(spread),
                (SELECT mean FROM groups g WHERE g.id = groups.id AND source = 'train'
                 ORDER BY step DESC LIMIT 1) -
                (SELECT mean FROM groups g WHERE g.id = groups.id AND source = 'train'
                 ORDER BY step LIMIT 1), min(step), max(step),
                (SELECT key FROM groups g WHERE g.id = groups.id AND source = 'train'
                 ORDER BY step DESC LIMIT 1),
                (SELECT mean FROM groups g WHERE g.id = groups.id AND source = 'train'
                 ORDER BY step LIMIT 1)
            FROM groups WHERE id = ? AND source = 'train' GROUP BY id""",
            [(one,) for one in ids],
        )

    def _read_samples(self) -> None:
        for path in sorted((self.folder / "samples").glob("*.jsonl")):
            stage, _, step = path.stem.rpartition("-")
            written = _modified(path)
            if not step.isdecimal() or self._samples.get(path, (0, {}))[0] == written:
                continue
            answers: dict[str, list[Answer]] = {}
            for row, _, _ in _json_rows(path, 0):
                if isinstance(row.get("instance_id"), str):
                    answers.setdefault(row["instance_id"], []).append(answer_of(row))
            with self._lock:
                self._samples[path] = (written, answers)
                self._db.execute(
                    "DELETE FROM groups WHERE source = ? AND step = ?", (stage, int(step))
                )
                rows = [
                    _answers_row(stage, int(step), place, path, group)
                    for place, group in enumerate(answers.values())
                ]
                marks = ", ".join("?" * 16)
                self._db.executemany(f"INSERT OR REPLACE INTO groups VALUES ({marks})", rows)

    def _read_episodes(self) -> None:
        found = {path.stat().st_ino: path for path in sorted(self.folder.glob("episodes*.jsonl"))}
        with self._lock:
            for gone in [number for number in self._files if number not in found]:
                del self._files[gone]
                self._db.execute("DELETE FROM episodes WHERE file = ?", (gone,))
        for number, path in found.items():
            lines = _json_rows(path, self._files.get(number, (path, 0))[1])
            self._files[number] = (path, self._files.get(number, (path, 0))[1])
            while chunk := list(islice(lines, _CHUNK)):
                rows = [_episode_row(number, *line) for line in chunk]
                marks = ", ".join("?" * 12)
                with self._lock:
                    self._db.executemany(f"INSERT INTO episodes VALUES ({marks})", rows)
                    _, offset, size = chunk[-1]
                    self._files[number] = (path, offset + size)

    # ---------------------------------------------------------------- what pages ask

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
        tests = [(f"{name} = ?", value) for name, value in
                 (("outcome", outcome), ("task", task)) if value]  # fmt: skip
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
        with self._lock:
            count = self._db.execute(f"SELECT count(*) FROM {table} WHERE {where}", given)
            total = count.fetchone()[0]
            query = (
                f"SELECT {names} FROM {table} WHERE {where} ORDER BY {order}"
                f" LIMIT {Page.SIZE} OFFSET {start}"
            )
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
            count = self._db.execute(f"SELECT count(*) FROM groups WHERE {where}", values)
            total = count.fetchone()[0]
            query = (
                f"SELECT {names} FROM groups WHERE {where} ORDER BY step DESC, source, place"
                f" LIMIT 20000 OFFSET {before}"
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
        if source != TRAINING:
            path = self.folder / "samples" / file
            return _group_of_answers(step, place, self._samples[path][1][id])
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
        with self._lock:
            rows = self._db.execute("SELECT DISTINCT errors FROM groups WHERE errors != ''")
            return sorted({kind for (errors,) in rows for kind in errors.split()})

    def counts(self) -> dict[str, int]:
        """How many groups of each fate, answers, instances and episodes there are."""
        with self._lock:
            fates = self._db.execute(
                "SELECT fate, count(*), sum(answers) FROM groups GROUP BY fate"
            ).fetchall()
            counts = {str(fate): int(count) for fate, count, _ in fates}
            counts["answers"] = sum(int(answers) for _, _, answers in fates)
            for table in ("instances", "episodes"):
                counts[table] = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return counts

    def episode(self, number: int) -> tuple[EpisodeRow, EpisodeRecord] | None:
        """An episode with its turns; None if there is none, or it was dropped just now."""
        names = ", ".join(EpisodeRow.__slots__)
        query = f"SELECT {names}, file, offset, size FROM episodes WHERE number = ?"
        with self._lock:
            row = self._db.execute(query, (number,)).fetchone()
            path = None if row is None else self._files.get(row[-3], (None, 0))[0]
        if row is None or path is None:
            return None
        *values, _, offset, size = row
        try:
            with path.open("rb") as file:
                file.seek(offset)
                record = EpisodeRecord.from_row(json.loads(file.read(size)), str(path))
        except (OSError, ValueError):  # a DataError is a ValueError
            return None
        return EpisodeRow(*values), record

    def attempts(self, task: str, step: int) -> list[EpisodeRow]:
        """The episodes of a task at one step: a group."""
        names = ", ".join(EpisodeRow.__slots__)
        query = f"SELECT {names} FROM episodes WHERE task = ? AND step = ? ORDER BY attempt"
        with self._lock:
            return [EpisodeRow(*row) for row in self._db.execute(query, (task, step))]


def _lines_of(index: Path, start: int) -> Iterator[Mapping[str, Any]]:
    try:
        yield from index_lines(index, start)
    except FileNotFoundError:  # rotated away just now
        return


def _group_row(part: str, line: Mapping[str, Any]) -> tuple[Any, ...]:
    step, place = line["step"], line["place"]
    numbers = (line["mean"], line["spread"], line["best"], line["answers"], line["tokens"])
    at = (part, line["offset"], line["size"])
    names = (line["id"], line["title"], line["fate"])
    key = f"{TRAINING}.{step}.{place}"
    return (key, TRAINING, step, place, *names, *numbers, " ".join(line["errors"]), *at)


def _answers_row(
    stage: str, step: int, place: int, path: Path, answers: list[Answer]
) -> tuple[Any, ...]:
    rewards = [answer.reward for answer in answers if answer.reward is not None]
    mean = fmean(rewards) if rewards else None
    spread = fmean((one - mean) ** 2 for one in rewards) ** 0.5 if mean is not None else None
    tokens = fmean(answer.tokens or 0 for answer in answers)
    errors = " ".join(sorted(answer.error for answer in answers if answer.error))
    first = answers[0]
    key, best = f"{stage}.{step}.{place}", max(rewards, default=None)
    return (
        *(key, stage, step, place, first.instance_id, first.title, "held out"),
        *(mean, spread, best, len(answers), tokens, errors, path.name, place, 0),
    )


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


def _episode_row(file: int, row: Mapping[str, Any], offset: int, size: int) -> tuple[Any, ...]:
    turns = row.get("turns")
    turns = turns if isinstance(turns, list) else []
    correct, reward = row.get("correct"), row.get("reward")
    if correct is None and reward is not None:
        correct = reward > 0
    outcome = "none" if correct is None else "solved" if correct else "failed"
    tokens = sum(turn.get("tokens", 0) for turn in turns if isinstance(turn, dict))
    return (
        *(None, row.get("step", 0), str(row.get("task", "")), row.get("number", 0), outcome),
        *(reward, len(turns), tokens, row.get("seconds", 0.0), file, offset, size),
    )


def _json_rows(path: Path, start: int) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The objects of a JSONL file from a byte on, with their place; damaged lines are skipped."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return  # it is being written
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row, start, len(line)
            start += len(line)


def _texts(group: GroupRecord) -> Iterator[str]:
    yield from (group.id, group.title, group.expert, group.prompt)
    for rollout in group.rollouts:
        yield rollout.text


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns

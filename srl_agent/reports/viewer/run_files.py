"""Reads what a run's folder holds into an index in memory, and follows what is added.

Nothing is written to the folder. Files are read from where the last refresh stopped, so a
page of a running run costs what was added since. Texts stay on disk until a page shows
them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.reports.viewer.kept import KeptObjects, json_rows
from srl_agent.reports.viewer.kept_groups import Listed
from srl_agent.reports.viewer.kinds import Kind
from srl_agent.rollouts.rollout_log import FOLDER, RolloutRecord, index_lines, part_indexes
from srl_agent.runs.answers import Answer, answer_of

TRAINING = "train"
"""The source of groups that were rolled out to train on.

Others are the stages of ``samples/``, and the parts of what other commands keep.
"""

KEPT = "kept"
"""The first part of the keys of groups that other commands than training keep."""

_CHUNK = 5000  # lines between which pages may read

_SCHEMA = """
CREATE TABLE groups (key TEXT PRIMARY KEY, source TEXT, step INT, place INT, id TEXT, title TEXT,
    fate TEXT, mean REAL, spread REAL, best REAL, answers INT, tokens REAL, errors TEXT,
    file TEXT, offset INT, size INT, words TEXT) WITHOUT ROWID;
CREATE INDEX by_step ON groups (step, source, place);
CREATE INDEX newest_first ON groups (step DESC, source, place);
CREATE INDEX by_id ON groups (id, step);
CREATE TABLE instances (id TEXT PRIMARY KEY, title TEXT, groups INT, mean REAL, spread REAL,
    gain REAL, first_step INT, last_step INT, last_key TEXT,
    first_mean REAL) WITHOUT ROWID;
CREATE TABLE episodes (number INTEGER PRIMARY KEY, step INT, task TEXT, attempt INT, outcome TEXT,
    reward REAL, drift REAL, turns INT, tokens INT, seconds REAL, file INT, offset INT, size INT,
    kept TEXT);
CREATE INDEX by_kept ON episodes (kept) WHERE kept IS NOT NULL;
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


class RunFiles:
    """The files of one run, read into tables; safe in several threads.

    Args:
        folder: The run's.
        kind: Of the run.

    Attributes:
        lock: To hold while the tables are read or written.
        db: The tables.
        kept: What evaluations, collections and replays keep.
        samples: The answers in each file of ``samples/``, with when it was written.
        episodes: Each file of episodes, with how much of it was read, by its number.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.db.executescript(_SCHEMA)
        self.kept = KeptObjects(folder, kind)
        self.samples: dict[Path, tuple[int, dict[str, list[Answer]]]] = {}
        self.episodes: dict[int, tuple[Path, int]] = {}
        self._read: dict[str, int] = {}
        self._kept_places: dict[str, int] = {}
        self._refreshed = 0.0
        self._reading = threading.Lock()

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
            if self.kept.kind.trains:
                self._read_groups()
                self._read_samples()
            if self.kept.kind.episodes:
                self._read_episodes()
            self._read_kept()
            self._refreshed = time.monotonic()
        finally:
            self._reading.release()

    def _read_groups(self) -> None:
        indexes = part_indexes(self.folder / FOLDER)
        names = {index.stem for index in indexes}
        with self.lock:
            for gone in [name for name in self._read if name not in names]:
                del self._read[gone]  # deleted to stay within the bound on disk
                self._forget("file = ? AND source = ?", (gone, TRAINING))
        for index in indexes:
            lines = _lines_of(index, self._read.get(index.stem, 0))
            while chunk := list(islice(lines, _CHUNK)):
                with self.lock:
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
        found: int | None = self.db.execute(query, (TRAINING,)).fetchone()[0]
        return -1 if found is None else found

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        self.db.execute("BEGIN")
        self._insert_groups(rows)
        of_instances = (
            (row[4], row[5], row[7], row[8], row[2], row[2], row[0], row[7]) for row in rows
        )
        self.db.executemany(_ADD_TO_INSTANCE, of_instances)
        self.db.execute("COMMIT")

    def _forget(self, where: str, values: tuple[Any, ...]) -> None:
        query = f"SELECT DISTINCT id FROM groups WHERE {where}"
        ids = {row[0] for row in self.db.execute(query, values)}
        self.db.execute(f"DELETE FROM groups WHERE {where}", values)
        self.db.executemany("DELETE FROM instances WHERE id = ?", [(one,) for one in ids])
        self._summarize(ids)

    def _summarize(self, ids: Iterable[str]) -> None:
        """Compute lines of the table of instances anew, after groups were taken away."""
        self.db.executemany(
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
            if not step.isdecimal() or self.samples.get(path, (0, {}))[0] == written:
                continue
            answers: dict[str, list[Answer]] = {}
            for row, _, _ in json_rows(path, 0):
                if isinstance(row.get("instance_id"), str):
                    answers.setdefault(row["instance_id"], []).append(answer_of(row))
            with self.lock:
                self.samples[path] = (written, answers)
                self.db.execute(
                    "DELETE FROM groups WHERE source = ? AND step = ?", (stage, int(step))
                )
                rows = [
                    _answers_row(stage, int(step), place, path, group)
                    for place, group in enumerate(answers.values())
                ]
                self._insert_groups(rows)

    def _read_episodes(self) -> None:
        found = {path.stat().st_ino: path for path in sorted(self.folder.glob("episodes*.jsonl"))}
        with self.lock:
            for gone in [number for number in self.episodes if number not in found]:
                del self.episodes[gone]
                self.db.execute("DELETE FROM episodes WHERE file = ?", (gone,))
        for number, path in found.items():
            lines = json_rows(path, self.episodes.get(number, (path, 0))[1])
            self.episodes[number] = (path, self.episodes.get(number, (path, 0))[1])
            while chunk := list(islice(lines, _CHUNK)):
                rows = [_episode_row(row, number, at, size) for row, at, size in chunk]
                with self.lock:
                    self._insert_episodes(rows)
                    _, offset, size = chunk[-1]
                    self.episodes[number] = (path, offset + size)

    def episode_at(self, file: int, offset: int, size: int) -> Any:
        """The object of an episode; None if its file was dropped just now.

        Raises:
            OSError, ValueError: It cannot be read.
        """
        with self.lock:
            path = self.episodes.get(file, (None, 0))[0]
        if path is None:
            return None
        with path.open("rb") as opened:
            opened.seek(offset)
            return json.loads(opened.read(size))

    def _insert_episodes(self, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * 14)
        self.db.executemany(f"INSERT OR REPLACE INTO episodes VALUES ({marks})", rows)

    def _read_kept(self) -> None:
        for key in self.kept.changed():
            group, episode = self.kept.listed(key)
            place = self._kept_places.setdefault(key, len(self._kept_places))
            with self.lock:
                query = "SELECT number FROM episodes WHERE kept = ?"
                number = (self.db.execute(query, (key,)).fetchone() or (None,))[0]
                if episode is not None:
                    row = _episode_row(episode, 0, 0, 0, key)
                    self._insert_episodes([(number, *row[1:])])
                elif number is not None:
                    self.db.execute("DELETE FROM episodes WHERE number = ?", (number,))
                if group is not None:
                    self._insert_groups([_kept_row(key, place, group)])
                else:
                    self.db.execute("DELETE FROM groups WHERE key = ?", (f"{KEPT}.{place}",))

    def _insert_groups(self, rows: list[tuple[Any, ...]]) -> None:
        # Its id and title are searched; SQLite's lower() knows ASCII only.
        searched = [(*row, f"{row[4]}\n{row[5]}".lower()) for row in rows]
        marks = ", ".join("?" * 17)
        self.db.executemany(f"INSERT OR REPLACE INTO groups VALUES ({marks})", searched)


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
    first = answers[0]
    return (
        *(f"{stage}.{step}.{place}", stage, step, place, first.instance_id, first.title),
        *("held out", *_figures(rewards, answers), path.name, place, 0),
    )


def _kept_row(key: str, place: int, listed: Listed) -> tuple[Any, ...]:
    group = listed.record
    rewards = [one.reward for one in group.rollouts if isfinite(one.reward)]
    return (
        *(f"{KEPT}.{place}", listed.part, 0, place, group.id, group.title, group.fate),
        *(*_figures(rewards, group.rollouts), key, 0, 0),
    )


def _figures(
    rewards: Sequence[float], answers: Sequence[Answer | RolloutRecord]
) -> tuple[float | None, float | None, float | None, int, float, str]:
    """Mean, spread and best of the rewards that are known; answers, mean tokens, errors."""
    mean = fmean(rewards) if rewards else None
    spread = fmean((one - mean) ** 2 for one in rewards) ** 0.5 if mean is not None else None
    tokens = fmean([one.tokens or 0 for one in answers] or [0])
    errors = " ".join(sorted(one.error for one in answers if one.error))
    return mean, spread, max(rewards, default=None), len(answers), tokens, errors


def _episode_row(
    row: Mapping[str, Any], file: int, offset: int, size: int, kept: str | None = None
) -> tuple[Any, ...]:
    turns = row.get("turns")
    turns = turns if isinstance(turns, list) else []
    correct, reward = row.get("correct"), row.get("reward")
    if correct is None and reward is not None:
        correct = reward > 0
    outcome = "none" if correct is None else "solved" if correct else "failed"
    tokens = sum(turn.get("tokens", 0) for turn in turns if isinstance(turn, dict))
    return (
        *(None, row.get("step", 0), str(row.get("task", "")), row.get("number", 0), outcome),
        *(reward, row.get("drift"), len(turns), tokens, row.get("seconds", 0.0)),
        *(file, offset, size, kept),
    )


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns

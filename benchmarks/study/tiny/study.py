"""The tiny study, from the bases to the findings, with a process for each base.

What is in the output folder already is not done again; a killed training resumes from its
latest checkpoint, and a killed phase of a pretraining starts again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.runs.files import replace_file
from srl_agent.runs.freed_memory import keep_freed_memory
from srl_agent.runs.ownership import lock_folder
from srl_agent.runs.provenance import environment
from srl_envs.errors import ConfigError

from .arms import ARMS, Start, tidy, train
from .base import make_base
from .plan import Tiny
from .processes import for_each_base, usable_cores
from .scores import curve_point, score
from .world import Chain, problems, write_expert

CURVES = 6
"""Points on each arm's curve, of the first seed of each base."""


@dataclass(frozen=True)
class TinyStudy:
    """The study in its folder.

    Attributes:
        folder: Holds ``base-<b>/`` with the pretraining, ``base-<b>/base.scores.json``,
            and ``base-<b>/seed-<s>/`` with each arm's run folders, ``<arm>.json`` (what
            it took), ``<arm>.scores.json`` and, of the first seed, ``<arm>.curve.json``.
        tiny: The settings.
    """

    folder: Path
    tiny: Tiny

    def run(self, jobs: int | None = None) -> None:
        """Everything, or what a killed study left to do.

        Args:
            jobs: Bases that are trained at the same time; None: one on each core.

        Raises:
            ConfigError: The folder holds a study with other settings, or a base is not
                what the study needs.
        """
        with lock_folder(self.folder):
            self._claim()
            jobs = min(jobs or usable_cores(), self.tiny.bases)
            for_each_base(self.base, self.tiny.bases, jobs)
            print("\n" + self.report())

    def report(self) -> str:
        """Write the results of what is finished; the findings and the table.

        Raises:
            ConfigError: Nothing is.
        """
        from .report import write_all  # imports matplotlib, which only this needs

        if not list(self.folder.glob("base-*/seed-*/srl.scores.json")):
            raise ConfigError(f"{self.folder} has no training of SRL that is finished.")
        return write_all(self.folder, self.tiny)

    def base(self, base: int) -> None:
        """Pretrain a base, and train every arm from it with each seed."""
        keep_freed_memory()
        # That 38 tokens do not spell other texts is meant; it would be said at each loading.
        logging.getLogger("srl_agent.models").setLevel(logging.ERROR)
        tests = problems("test", self.tiny.test, self.tiny.length)
        place = self.folder / f"base-{base}"
        with lock_folder(place):
            with self._timed(f"base {base}: pretraining"):
                model = make_base(self.tiny, base, place)
            scores = self._scores(f"base {base}", model, place / "base.scores.json", tests)
            tokens = sum(row["tokens"] for row in scores["passk"]) / len(scores["passk"])
            for seed in range(self.tiny.seeds):
                self._seed(base, seed, model, tokens, tests)

    def _seed(
        self, base: int, seed: int, model: str, answer_tokens: float, tests: list[Chain]
    ) -> None:
        place = self.folder / f"base-{base}" / f"seed-{seed}"
        place.mkdir(exist_ok=True)
        learned = problems(f"train/{base}/{seed}", self.tiny.train + 2, self.tiny.length, tests)
        start = Start(
            model,
            place / "expert.jsonl",
            place / "expert_with_working.jsonl",
            100 * base + seed,
            answer_tokens,
        )
        write_expert(start.expert, learned)
        write_expert(start.expert_with_working, learned, with_working=True)
        every = max(1, self.tiny.steps // CURVES) if seed == 0 else 0
        took: dict[str, dict[str, Any]] = {}
        for name in ARMS:
            if name == "base":
                continue
            label = f"base {base}, seed {seed}, {name}"
            with self._timed(f"{label}: training"):
                took[name] = train(self.tiny, name, start, place, took.__getitem__)
            tidy(took[name], every)
            self._scores(label, took[name]["model"], place / f"{name}.scores.json", tests)
            if every:
                self._curve(took[name], model, place / f"{name}.curve.json", tests)
                tidy(took[name], 0)

    def _scores(
        self, label: str, model: str, path: Path, tests: list[Chain]
    ) -> dict[str, list[dict[str, Any]]]:
        if not path.is_file():
            with self._timed(f"{label}: scoring"):
                found = score(model, tests, self.tiny)
                replace_file(path, json.dumps(found).encode())
        return dict(json.loads(path.read_text()))

    def _curve(self, took: dict[str, Any], start: str, path: Path, tests: list[Chain]) -> None:
        """Score an arm's checkpoints on problems of their own."""
        if path.is_file():
            return
        chains = problems("curve", self.tiny.curve, self.tiny.length, tests)
        points, done = [{"step": 0, **curve_point(start, chains, self.tiny)}], 0
        every = max(1, self.tiny.steps // CURVES)
        for stage in took["stages"]:
            for step in range(every, stage["steps"] + 1, every):
                checkpoint = Path(stage["folder"]) / f"checkpoint-{step}"
                if checkpoint.is_dir():
                    point = curve_point(str(checkpoint), chains, self.tiny)
                    points.append({"step": done + step, **point})
            done += stage["steps"]
        replace_file(path, json.dumps(points).encode())

    def _claim(self) -> None:
        path = self.folder / "study.json"
        if path.is_file():
            if json.loads(path.read_text())["settings"] != self.tiny.plain():
                raise ConfigError(
                    f"{self.folder} holds a study with other settings: choose another"
                    " --output_dir, or the same settings to resume."
                )
            return
        record = {"settings": self.tiny.plain(), "environment": environment()}
        replace_file(path, json.dumps(record, indent=1).encode())

    @contextmanager
    def _timed(self, label: str) -> Iterator[None]:
        """Say what was done, and add its seconds to ``parts.jsonl``."""
        began, ended = time.monotonic(), False
        try:
            yield
            ended = True
        finally:
            seconds = round(time.monotonic() - began, 1)
            with (self.folder / "parts.jsonl").open("a") as file:
                line = {"part": label, "seconds": seconds, "ended": ended}
                file.write(json.dumps(line) + "\n")
            print(f"{label}: {seconds:.0f} s", flush=True)

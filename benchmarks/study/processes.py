"""The study on a pretrained model: each arm is a process of ``srl_agent.train``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from srl_agent.evaluation.math.benchmarks import load_benchmark
from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError, InfrastructureError

from .plan import TRAINED, Size, stage_folders, write_config


@dataclass(frozen=True)
class Study:
    """The study's folder and how it is filled.

    Attributes:
        folder: Holds ``base.scores.json``, and for each seed ``seed-<n>/<arm>`` (the
            run folder), ``<arm>.log``, ``<arm>.json``, ``<arm>.scores.json``.
        size: The settings.
        gsm8k: ``"hub"``, a path, or None if GSM8K is left out.
        lock: Open file that children inherit: while one of them lives, no other study
            takes the folder.
    """

    folder: Path
    size: Size
    gsm8k: str | None
    lock: TextIO

    def run(self) -> None:
        """Everything, or what a killed study left to do."""
        replace_file(
            self.folder / "size.yaml", yaml.safe_dump(self.size.plain(), sort_keys=False).encode()
        )
        for seed in range(self.size.seeds):
            place = self.folder / f"seed-{seed}"
            place.mkdir(exist_ok=True)
            start = self.train("warmup", seed, self.size.model_name_or_path)
            models = {place / "warmup.scores.json": start} | {
                place / f"{arm}.scores.json": self.train(arm, seed, start) for arm in TRAINED
            }
            if seed == 0:  # the base model's greedy answers depend on no seed
                models = {self.folder / "base.scores.json": self.size.model_name_or_path} | models
            self.score(seed, models)

    def train(self, arm: str, seed: int, start: str) -> str:
        """Train an arm from a model, or go on with it.

        Returns:
            The folder of the model that counts.
        """
        place = self.folder / f"seed-{seed}"
        record = place / f"{arm}.json"
        if record.is_file():
            return str(json.loads(record.read_text())["model"])
        run = place / arm
        stages = stage_folders(run, self.size, arm)
        stopped = False
        if not _finished(stages[-1]):
            config = write_config(self.folder / "configs", self.size, arm)
            command = [
                "-m",
                "srl_agent.train",
                "--config",
                str(config),
                "--model_name_or_path",
                start,
                "--output_dir",
                str(run),
            ]
            command += ["--seed", str(seed), "--disable_tqdm", "true"]
            log = place / f"{arm}.log"
            if self._child(f"seed {seed}, {arm}: training", command, log):
                stopped = any(
                    line.startswith("error: Nothing can be learned")
                    for line in log.read_text(errors="replace").splitlines()[-5:]
                )
                if not stopped:
                    raise InfrastructureError(
                        f"The training of {arm} with seed {seed} failed; "
                        f"{log} ends with: {_tail(log)}"
                    )
        model = _model_of(stages, start)
        for stage in stages:  # they served to go on; the weights that count are in final/
            for checkpoint in stage.glob("checkpoint-*"):
                if str(checkpoint) != model:
                    shutil.rmtree(checkpoint)
        replace_file(
            record,
            json.dumps({"model": model, "start": start, "stopped": stopped}, indent=1).encode(),
        )
        return model

    def score(self, seed: int, models: dict[Path, str]) -> None:
        """Score the models of a seed, each into its file, unless it is there.

        One process for all, since it takes longer to start than to score.
        """
        missing = [
            part
            for output, model in models.items()
            if not output.is_file()
            for part in ("--score", model, str(output))
        ]
        if not missing:
            return
        command = [
            "-m",
            "benchmarks.study.scores",
            "--size",
            str(self.folder / "size.yaml"),
            *missing,
        ]
        log = self.folder / f"seed-{seed}" / "scores.log"
        if self._child(
            f"seed {seed}: scoring", command + (["--gsm8k", self.gsm8k] if self.gsm8k else []), log
        ):
            raise InfrastructureError(
                f"Scoring the models of seed {seed} failed; {log} ends with: {_tail(log)}"
            )

    def _child(self, label: str, arguments: list[str], log: Path) -> int:
        """Run a Python program to its end, its output in a log.

        An interrupt waits until the program has written its checkpoint.
        """
        print(f"{label} ...", end=" ", flush=True)
        started = time.monotonic()
        with log.open("a") as output:
            # A separate session: Ctrl-C then reaches the child once, as SIGTERM, and it writes a
            # checkpoint. A second signal would end it at once.
            child = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.lock.fileno()],
            )
            try:
                status = child.wait()
            except KeyboardInterrupt:
                child.terminate()
                child.wait()
                raise
            finally:
                seconds = round(time.monotonic() - started, 1)
                with (self.folder / "children.jsonl").open("a") as file:
                    file.write(
                        json.dumps({"child": label, "seconds": seconds, "status": child.returncode})
                        + "\n"
                    )
        print(f"{seconds:.0f} s", flush=True)
        return status


def _model_of(stages: list[Path], start: str) -> str:
    """The model an arm ended with: that of its last stage, which may have stopped early."""
    finals = [str(stage / "final") for stage in stages if (stage / "final").is_dir()]
    return finals[-1] if finals else start


def _finished(run: Path) -> bool:
    return (run / "summary.json").is_file() and (run / "report.html").is_file()


def _tail(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]


def claimed(folder: Path, size: Size, gsm8k: str | None) -> str | None:
    """Record the study's settings, or check them against those in the folder.

    Returns:
        Where GSM8K is; None if it is left out.
    """
    path = folder / "study.json"
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text())
        if before["size"] != size.plain() or (
            gsm8k and before["gsm8k"] != str(Path(gsm8k).resolve())
        ):
            raise ConfigError(
                f"{folder} holds a study with other settings: "
                "choose another --output_dir, or the same settings to resume."
            )
        found: str | None = before["gsm8k"]
        return found
    place = str(Path(gsm8k).resolve()) if gsm8k else "hub"
    try:
        load_benchmark("gsm8k", [Path(place)] if gsm8k else [])
    except InfrastructureError as error:
        print(f"GSM8K is left out: {error}", flush=True)
        place = ""
    replace_file(
        path, json.dumps({"size": size.plain(), "gsm8k": place or None}, indent=1).encode()
    )
    return place or None

"""Patches judged by the real swebench harness, in separate processes.

swebench 5.0; https://github.com/SWE-bench/SWE-bench.

The harness caches a verdict under run id and model name and ignores the patch. So the
run id of every judgement carries a hash of the patch and of all that the verdict
depends on: a cached verdict can never belong to another patch.

Rewards in training are not given by it: :mod:`srl_envs.swe.tasks.verification` says
why, and what the two share.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from srl_agent.evaluation.swebench.judgement import Judgement, read_judgement
from srl_envs.errors import (
    ConfigError,
    InfrastructureError,
    MissingDependencyError,
    install_command,
)
from srl_envs.sandbox.engine import engine_address, engine_at
from srl_envs.sandbox.ownership import prune
from srl_envs.sandbox.protocol import SandboxError

_MARGIN_S = (
    600.0  # beyond the tests' own time-out: fetching nothing, only starting, applying and removing
)


@dataclass(frozen=True, slots=True)
class HarnessSettings:
    """How patches are judged.

    Attributes:
        timeout: Seconds that the tests of one instance may take.
        memory_mib: Memory of a container, in MiB, with no swap beyond it.
        processes: Processes and threads of a container at once.
        cpus: Processor cores of a container.
        network: ``"default"`` (the engine's, as the harness has it), ``"none"``, or
            another network of the engine. Without a network, pip installs from what the
            image holds.
        attempts: How often an instance is tried before a failure of the machinery
            stands; at least 1.
    """

    timeout: int = 1800
    memory_mib: int = 8192
    processes: int = 2048
    cpus: float = 2.0
    network: str = "default"
    attempts: int = 2


class Harness:
    """Judges patches, ``jobs`` at a time; :meth:`judge` may be called from as many threads.

    Args:
        folder: Where data sets, predictions and logs of the harness are written.
        jobs: Processes, each with one container at a time; started when they are first
            needed.
        settings: How to judge.

    Raises:
        MissingDependencyError: swebench is not installed.
    """

    def __init__(
        self, folder: Path, jobs: int = 1, settings: HarnessSettings = HarnessSettings()
    ) -> None:
        from importlib.util import find_spec

        if find_spec("swebench") is None:
            raise MissingDependencyError(
                f"Judging patches needs the swebench harness: {install_command('swebench')}"
            )
        self.folder, self.settings = folder.resolve(), settings
        self._engine = engine_address()  # that of the thread which makes it
        self.folder.mkdir(parents=True, exist_ok=True)
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(jobs):
            self._idle.put(None)
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def judge(
        self, row: Mapping[str, Any], patch: str, model: str, image_id: str = ""
    ) -> Judgement:
        """Judge one patch.

        Args:
            row: The instance in the schema of harness 5, with ``image``,
                ``eval_script``, ``log_parser`` and ``eval_type``.
            patch: A unified diff; an empty one is judged without a container.
            model: Who wrote it.
            image_id: The engine's id of the row's image: a verdict is not taken over to
                another image of that name.

        Returns:
            The verdict; a failure of the machinery that lasts over all attempts is one
            too, told apart.

        Raises:
            ConfigError: The harness was closed before.
        """
        if self._is_closed:
            raise ConfigError("This harness is closed: make another one.")
        instance_id = str(row["instance_id"])
        if not patch.strip():
            return Judgement(instance_id, "empty_patch")
        try:
            patch.encode()
        except UnicodeEncodeError:
            return Judgement(
                instance_id,
                "patch_does_not_apply",
                "the patch holds characters that no file can hold (lone surrogates)",
            )
        start = time.monotonic()
        judgement = Judgement(instance_id, "infrastructure_failure", "not tried")
        for attempt in range(self.settings.attempts):
            judgement = self._attempt(row, patch, model, image_id, attempt)
            if judgement.outcome != "infrastructure_failure" or self._is_closed:
                break
        seconds = time.monotonic() - start
        return Judgement(**{**asdict(judgement), "seconds": seconds, "image_id": image_id})

    def close(self) -> None:
        """End the processes and remove their containers.

        What is being judged becomes a failure of the machinery. A second call does
        nothing.
        """
        with self._lock:
            self._is_closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.end()
        if workers:
            with (
                engine_at(self._engine),
                contextlib.suppress(SandboxError),
            ):  # the engine is gone; else each process's watcher would remove them, a moment later
                prune()

    def _attempt(
        self, row: Mapping[str, Any], patch: str, model: str, image_id: str, attempt: int
    ) -> Judgement:
        job = self._write_job(row, patch, model, image_id, attempt)
        logs = (
            self.folder
            / "logs"
            / "run_evaluation"
            / job["run_id"]
            / model.replace("/", "__")
            / str(row["instance_id"])
        )
        if read_judgement(str(row["instance_id"]), logs, "").outcome == "infrastructure_failure":
            shutil.rmtree(
                logs, ignore_errors=True
            )  # else the harness would repeat what it wrote there
        worker = self._idle.get()
        try:
            if worker is None:
                with self._lock:
                    if self._is_closed:
                        raise InfrastructureError("the harness was closed")
                    worker = _Worker(self.folder, self.settings, self._engine)
                    self._workers.add(worker)
            error = worker.ask(job, self.settings.timeout + _MARGIN_S)
        except InfrastructureError as failure:
            error = str(failure)
            if worker is not None:
                worker.end()
                with self._lock:
                    self._workers.discard(worker)
            worker = None
        finally:
            self._idle.put(worker)
        return read_judgement(str(row["instance_id"]), logs, error)

    def _write_job(
        self, row: Mapping[str, Any], patch: str, model: str, image_id: str, attempt: int
    ) -> dict[str, Any]:
        depends_on = json.dumps(
            [dict(row), patch, model, image_id, asdict(self.settings)], sort_keys=True, default=str
        )
        run_id = f"srl-{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}" + (
            f"-{attempt}" if attempt else ""
        )
        folder = self.folder / "jobs" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        prediction = {
            "instance_id": row["instance_id"],
            "model_name_or_path": model,
            "model_patch": patch,
        }
        for name, content in (("dataset.jsonl", dict(row)), ("predictions.jsonl", prediction)):
            (folder / name).write_text(json.dumps(content, default=str) + "\n", encoding="utf-8")
        return {
            "run_id": run_id,
            "dataset": str(folder / "dataset.jsonl"),
            "predictions": str(folder / "predictions.jsonl"),
            "report_dir": str(folder),
            "timeout": self.settings.timeout,
        }


class _Worker:
    """One process of :mod:`harness_worker`."""

    def __init__(self, folder: Path, settings: HarnessSettings, engine: str | None) -> None:
        with (folder / "harness.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "srl_agent.evaluation.swebench.harness_worker",
                    json.dumps(asdict(settings)),
                ],
                cwd=folder,  # the harness writes its logs below the current folder
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                    "PYTHONUTF8": "1",
                    **({"DOCKER_HOST": engine} if engine else {}),
                },  # it finds what this process finds
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C ends it in order, through end()
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def ask(self, job: dict[str, Any], timeout: float) -> str:
        """What the harness raised, or nothing.

        Raises:
            InfrastructureError: The process ended, or did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise InfrastructureError(
                f"the harness did not answer within {timeout:.0f} s"
            ) from None
        except OSError:
            answer = ""
        if not answer:
            raise InfrastructureError(
                f"the harness's process ended (exit code {self._process.wait()}); see harness.log"
            )
        return str(json.loads(answer)["error"])

    def end(self) -> None:
        """Kill the process; its containers are removed by its watcher."""
        self._process.kill()
        self._process.wait()

    def _read(self, answers: IO[str]) -> None:
        for line in answers:
            self._answers.put(line)
        self._answers.put("")

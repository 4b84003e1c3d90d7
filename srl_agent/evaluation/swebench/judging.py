"""Verdicts on finished predictions, in threads beside whoever writes the patches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from srl_agent.evaluation.swebench import host
from srl_agent.evaluation.swebench.host import HostSettings, UnjudgedError
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.evaluation.swebench.records import Records
from srl_envs.errors import InfrastructureError
from srl_envs.fleet import Fleet


class JudgingQueue:
    """Judges patches while others are written; a context manager.

    If it is left by an exception, it ends the containers and judges no more.

    Args:
        fleet: The engines on which tests run; it is closed if the queue is left by an
            exception.
        settings: How to judge there.
        attempts: How often an instance is judged until a failure of the machinery is
            final, each time on another engine if there is one.
        records: Where verdicts are written.
        done: Called after each verdict, from several threads.
    """

    def __init__(
        self,
        fleet: Fleet,
        settings: HostSettings,
        attempts: int,
        records: Records,
        done: Callable[[], object],
    ) -> None:
        self._fleet, self._settings, self._attempts = fleet, settings, attempts
        self._records, self._done = records, done
        self._threads = ThreadPoolExecutor(fleet.places, thread_name_prefix="judge")
        self._futures: list[Future[None]] = []
        self._stopping = threading.Event()

    def submit(self, instance: SweBenchInstance, patch: str, model: str) -> None:
        """Have a patch judged, unless it was already.

        A failure of the machinery is not a verdict, and is retried. So is a verdict of
        another image of the same name.
        """
        before = self._records.verdict(instance.instance_id, patch)
        if (
            before
            and before.outcome != "infrastructure_failure"
            and self._is_of_image(before, instance)
        ):
            return
        self._futures.append(self._threads.submit(self._judge, instance, patch, model))

    def __enter__(self) -> JudgingQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for future in self._futures:
                    future.result()
        except BaseException:
            self._fleet.close()
            raise
        finally:
            self._stopping.set()
            self._threads.shutdown(wait=False, cancel_futures=True)
            if kind is not None:
                self._fleet.close()  # first, so that nothing is tried again
            self._fleet.each(host.close, self._settings)
            wait(self._futures)

    def _is_of_image(self, verdict: Judgement, instance: SweBenchInstance) -> bool:
        """Whether a verdict is of the image that engines have now, as far as that is known."""
        if not verdict.image_id:
            return True
        now = self._fleet.each(host.image_id, self._settings, instance.image)
        return any(one in (None, "", verdict.image_id) for one in now)

    def _judge(self, instance: SweBenchInstance, patch: str, model: str) -> None:
        name = instance.instance_id
        if not patch.strip():
            verdict = Judgement(name, "empty_patch")
        else:
            try:
                verdict, files = self._fleet.run(
                    name,
                    host.judge,
                    self._settings,
                    instance.row,
                    patch,
                    model,
                    attempts=self._attempts,
                )
                if not self._settings.is_here:
                    verdict = self._with_files(verdict, files)
            except UnjudgedError as error:
                verdict = error.judgement
            except InfrastructureError as error:
                verdict = Judgement(name, "infrastructure_failure", str(error))
        if not self._stopping.is_set():  # else the verdict may be that its process was ended
            self._records.add_judgement(verdict, patch)
            self._done()

    def _with_files(self, verdict: Judgement, files: dict[str, bytes]) -> Judgement:
        """Write what the harness wrote on another machine."""
        if not verdict.log:
            return verdict
        log = Path(self._settings.folder, "harness", verdict.log).resolve()
        log.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (log / name).write_bytes(content)
        return replace(verdict, log=str(log))

"""Verdicts on finished predictions, in threads beside whoever writes the patches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.harness import Harness
from srl_agent.evaluation.swebench.image_budget import ImageBudget
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.evaluation.swebench.records import Records
from srl_envs.sandbox.protocol import SandboxError


class JudgingQueue:
    """Judges patches while others are written; a context manager.

    If it is left by an exception, it ends the containers and judges no more.

    Args:
        config: How to judge.
        folder: For the harness's files.
        images: Fetches the instances' images. Once the queue is left, it fetches no
            more.
        records: Where verdicts are written.
        done: Called after each verdict, from several threads.

    Raises:
        MissingDependencyError: swebench is not installed.
    """

    def __init__(
        self,
        config: SweBenchConfig,
        folder: Path,
        images: ImageBudget,
        records: Records,
        done: Callable[[], object],
    ) -> None:
        self._records, self._done = records, done
        self._harness = Harness(folder, config.jobs, config.harness())
        self._images = images
        self._threads = ThreadPoolExecutor(config.jobs, thread_name_prefix="judge")
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
        finally:
            self._stopping.set()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._images.stop()
            self._harness.close()
            wait(self._futures)

    def _is_of_image(self, verdict: Judgement, instance: SweBenchInstance) -> bool:
        """Whether a verdict is of the image that the engine has now, as far as both are known."""
        now = self._images.id_of(instance.image) if verdict.image_id else ""
        return not now or now == verdict.image_id

    def _judge(self, instance: SweBenchInstance, patch: str, model: str) -> None:
        if not patch.strip():
            judgement = self._harness.judge(instance.row, patch, model)
        else:
            given: Judgement | None = None
            try:
                with self._images.holding(instance.image) as image_id:
                    given = self._harness.judge(instance.row, patch, model, image_id)
            except (
                SandboxError
            ) as error:  # of the image: it cannot be fetched, or, once there is a verdict, removed
                given = given or Judgement(
                    instance.instance_id, "infrastructure_failure", str(error)
                )
            judgement = given
        if not self._stopping.is_set():  # else the verdict may be that its process was ended
            self._records.add_judgement(judgement, patch)
            self._done()

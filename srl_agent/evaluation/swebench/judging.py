"""Verdicts on finished predictions, in threads beside whoever writes the patches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from srl_agent.evaluation.swebench.config import SweBenchConfig
from srl_agent.evaluation.swebench.harness import Harness, Judgement
from srl_agent.evaluation.swebench.image_budget import ImageBudget
from srl_agent.evaluation.swebench.instances import SweBenchInstance
from srl_agent.evaluation.swebench.records import Records
from srl_envs.errors import ConfigError
from srl_envs.sandbox.protocol import SandboxError

_NEEDED = ("image", "eval_script", "log_parser", "eval_type")


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

        A failure of the machinery is not a verdict, and is retried.
        """
        before = self._records.judgements.get(instance.instance_id)
        if before and before.outcome != "infrastructure_failure":
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

    def _judge(self, instance: SweBenchInstance, patch: str, model: str) -> None:
        if not patch.strip():
            judgement = self._harness.judge(instance.row, patch, model)
        else:
            given: Judgement | None = None
            try:
                with self._images.holding(instance.image):
                    given = self._harness.judge(instance.row, patch, model)
            except (
                SandboxError
            ) as error:  # of the image: it cannot be fetched, or, once there is a verdict, removed
                given = given or Judgement(
                    instance.instance_id, "infrastructure_failure", str(error)
                )
            judgement = given
        if not self._stopping.is_set():  # else the verdict may be that its process was ended
            self._records.add_judgement(judgement)
            self._done()


def require_judgeable(instances: tuple[SweBenchInstance, ...], source: str) -> None:
    """Check that the rows say how to judge.

    Raises:
        ConfigError: One does not.
    """
    for instance in instances:
        missing = [key for key in _NEEDED if not instance.row.get(key)]
        if missing:
            raise ConfigError(
                f"{source}: {instance.instance_id} has no {', '.join(missing)}, which judging"
                " needs: take rows of the harness's current schema (swebench 5), or write"
                " predictions only with --judge false."
            )

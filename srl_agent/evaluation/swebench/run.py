"""One evaluation on SWE-bench, from the settings to the report.

This is what ``python -m srl_agent.evaluate swebench`` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from srl_agent.evaluation.folder import RESULTS, model_identity, model_label
from srl_agent.evaluation.swebench import host
from srl_agent.evaluation.swebench.agent_writer import AgentWriter
from srl_agent.evaluation.swebench.config import BUILTIN, SweBenchConfig
from srl_agent.evaluation.swebench.given_patches import given_patches
from srl_agent.evaluation.swebench.host import HostSettings
from srl_agent.evaluation.swebench.instances import (
    SweBenchInstance,
    instance_of,
    load_instances,
    select_ids,
    select_instances,
)
from srl_agent.evaluation.swebench.judging import JudgingQueue
from srl_agent.evaluation.swebench.legacy_rows import with_current_columns
from srl_agent.evaluation.swebench.model_budget import model_budget
from srl_agent.evaluation.swebench.page import write_page
from srl_agent.evaluation.swebench.patch_writer import PatchWriter
from srl_agent.evaluation.swebench.records import Records, swebench_folder
from srl_agent.evaluation.swebench.repositories import Repositories
from srl_agent.evaluation.swebench.results import SweBenchResults, summarize, write_results
from srl_agent.evaluation.swebench.samples import sample_patches
from srl_agent.evaluation.swebench.submission import require_free, write_submission
from srl_agent.evaluation.swebench.tables import terminal_text
from srl_agent.inference.backends import GeneratorConfig, open_generator
from srl_agent.inference.servers import addresses
from srl_agent.rollouts.image_budget import ImageBudget
from srl_agent.runs.provenance import environment
from srl_envs.errors import InfrastructureError
from srl_envs.fleet import open_fleet

_logger = logging.getLogger(__name__)
_WHEELS = Path("~/.cache/srl")
_IN_A_BATCH = 16
_ASKING = (
    "mode",
    "num_samples",
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_new_tokens",
    "seed",
)
_ACTING = (
    *("episode_turns", "episode_tokens", "episode_seconds", "episode_history", "history_turns"),
    *("command_timeout", "grammar", "require_think"),
)


def evaluate_swebench(config: SweBenchConfig, model: GeneratorConfig) -> SweBenchResults:
    """Let the model write patches, have the harness judge them, and report.

    What is already in the folder is not repeated.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    instances = _instances(config)
    if config.judge or config.repository_source == "image" or config.acts:
        rows = with_current_columns([instance.row for instance in instances], _WHEELS.expanduser())
        instances = tuple(instance_of(row, config.dataset) for row in rows)
    submission = Path(config.submission_dir).expanduser() if config.submission_dir else None
    if submission:
        require_free(submission)
    given = given_patches(config, instances)
    name = model_label(model) if config.asks_model else "gold" if config.gold else "predictions"
    folder = (
        Path(config.output_dir).expanduser()
        if config.output_dir
        else _default_folder(config, model)
    )
    settings = {"evaluation": asdict(config), "model": asdict(model)}
    harness = asdict(config.harness())
    harness.pop("attempts")
    with (
        _sigterm_as_interrupt(),
        swebench_folder(
            folder, settings, _asking(config, model), harness | {"dataset": config.dataset}
        ),
    ):
        records = Records(folder)
        records.require_same(instances)
        started = time.monotonic()
        if config.asks_model:
            errors, asking_seconds = _ask_and_judge(config, model, folder, records, instances, name)
        else:
            errors, asking_seconds = _judge_given(config, folder, records, instances, given), 0.0
        seconds = {
            "total": round(time.monotonic() - started, 1),
            "asking": round(asking_seconds, 1),
        }
        mode = config.mode if config.asks_model else name
        network = config.network if config.judge else ""
        results = summarize(name, mode, config.dataset, instances, records, errors, network)
        versions = environment() | {
            "command": ["python", "-m", "srl_agent.evaluate", *sys.argv[1:]]
        }
        write_results(folder / RESULTS, results, asdict(config) | asdict(model), versions, seconds)
        page = write_page(
            folder, results, instances, records, asdict(config) | asdict(model) | versions
        )
        if submission:
            write_submission(submission, results, records, asdict(config))
    print(f"\n{terminal_text(results)}\n\n{page}")
    return results


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does.

    Containers are removed, records stay, and a message is printed.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # where no handler can be set, and no signal arrives
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask_and_judge(
    config: SweBenchConfig,
    model: GeneratorConfig,
    folder: Path,
    records: Records,
    instances: Sequence[SweBenchInstance],
    name: str,
) -> tuple[dict[str, str], float]:
    """Let the model write patches, and judge each one as soon as it exists.

    Returns why instances have no patch, and the seconds until the last one.
    """
    missing = [
        instance for instance in instances if instance.instance_id not in records.predictions
    ]
    errors: dict[str, str] = {}
    asked_until = started = time.monotonic()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_Progress(config, records, instances))
        settings = _host_settings(config, folder)
        images: ImageBudget | None = None
        judging: JudgingQueue | None = None
        if config.repository_source == "image" or config.acts:  # else no engine is needed here
            stack.callback(host.close, settings)
            images = host.images_of(settings)
            images.log_need([instance.image for instance in instances])
        if config.judge:
            judging = stack.enter_context(
                _judging(config, settings, instances, records, progress.update)
            )
        for instance in instances:
            if judging and instance.instance_id in records.predictions:
                _submit(judging, config, instance, records, name)
        if missing:
            generator = open_generator(model)
            try:
                budget = model_budget(config, generator)
                writer: PatchWriter | AgentWriter
                if config.acts:
                    assert images is not None
                    writer = AgentWriter(config, generator, budget, images, records, name)
                else:
                    repositories = Repositories(
                        config.repository_cache, config.repository_source, images=images
                    )
                    writer = PatchWriter(config, generator, budget, repositories, records, name)
                for instance in writer.write(missing, _side_by_side(config, model)):
                    progress.update()
                    if judging:
                        _submit(judging, config, instance, records, name)
                errors |= writer.errors
            # What was answered is still judged; each of the others gets the reason.
            except InfrastructureError as error:
                errors |= {
                    one.instance_id: str(error)
                    for one in missing
                    if one.instance_id not in records.predictions
                } | writer.errors
            finally:
                generator.close()
            asked_until = time.monotonic()
    return errors, asked_until - started


def _submit(
    judging: JudgingQueue,
    config: SweBenchConfig,
    instance: SweBenchInstance,
    records: Records,
    model: str,
) -> None:
    """Have the chosen patch judged, and with ``judge_samples`` the others too."""
    patches = [records.predictions[instance.instance_id]]
    if config.judge_samples:
        patches += sample_patches(records.answer(instance.instance_id))
    for patch in dict.fromkeys(patches):
        judging.submit(instance, patch, model)


def _side_by_side(config: SweBenchConfig, model: GeneratorConfig) -> int:
    if config.instances_at_once is not None:
        return config.instances_at_once
    if model.base_url is None:
        return _IN_A_BATCH
    return model.concurrency * len(addresses(model.base_url))


def _judge_given(
    config: SweBenchConfig,
    folder: Path,
    records: Records,
    instances: Sequence[SweBenchInstance],
    given: dict[str, tuple[str, str]],
) -> dict[str, str]:
    """Judge patches that are there already; why instances have none."""
    settings = _host_settings(config, folder)
    with (
        _Progress(config, records, instances) as progress,
        _judging(config, settings, instances, records, progress.update) as judging,
    ):
        for instance in instances:
            if instance.instance_id in given:
                model, patch = given[instance.instance_id]
                if instance.instance_id not in records.predictions:
                    records.add_prediction(instance.instance_id, model, patch)
                judging.submit(instance, patch, model)
    return {
        one.instance_id: f"{config.predictions} has no prediction"
        for one in instances
        if one.instance_id not in given
    }


def _host_settings(config: SweBenchConfig, folder: Path) -> HostSettings:
    return HostSettings(
        folder=str(folder.resolve()),
        is_here=config.ray is None,
        is_alone=config.engines is None and config.ray is None,
        jobs=config.jobs,
        harness=replace(config.harness(), attempts=1),
        max_image_gib=config.max_image_disk_gb,
    )


@contextlib.contextmanager
def _judging(
    config: SweBenchConfig,
    settings: HostSettings,
    instances: Sequence[SweBenchInstance],
    records: Records,
    done: Callable[[], object],
) -> Iterator[JudgingQueue]:
    """The engines that judge, ready to do so."""
    with open_fleet(config.engines, config.ray, places=config.jobs) as fleet:
        images = [instance.image for instance in instances]
        names = [one.instance_id for one in instances] if config.dataset == BUILTIN else []
        fleet.prepare(host.prepare, settings, images, names)
        _logger.info(
            "%d instances, %d judged at a time, each for at most %d s: at most %.1f hours.",
            len(instances),
            fleet.places,
            config.test_timeout,
            math.ceil(len(instances) / fleet.places) * config.test_timeout / 3600,
        )
        with JudgingQueue(fleet, settings, config.judge_attempts, records, done) as judging:
            yield judging


class _Progress:
    """A bar of finished instances that also tells how many patches are there."""

    def __init__(
        self, config: SweBenchConfig, records: Records, instances: Sequence[SweBenchInstance]
    ) -> None:
        self._records, self._ids = records, [instance.instance_id for instance in instances]
        self._judges = config.judge
        self._bar = tqdm(
            total=len(instances),
            initial=self._count(),
            unit="instance",
            desc="judged" if config.judge else "generated",
            dynamic_ncols=True,
        )

    def update(self) -> None:
        """Show what the records hold now."""
        if self._judges:
            self._bar.set_postfix_str(
                f"{sum(name in self._records.predictions for name in self._ids)} generated",
                refresh=False,
            )
        self._bar.update(self._count() - self._bar.n)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _count(self) -> int:
        done = self._records.judgements if self._judges else self._records.predictions
        return sum(name in done for name in self._ids)


def _instances(config: SweBenchConfig) -> tuple[SweBenchInstance, ...]:
    wanted = config.instance_ids or ()
    if config.dataset == BUILTIN:
        from srl_agent.evaluation.swebench.builtin import builtin_id, builtin_row
        from srl_envs.swe.tasks import load_tasks

        tasks = {builtin_id(task): task for task in load_tasks()}
        chosen = select_ids(
            list(tasks), ids=wanted, pattern=config.pattern, limit=config.limit
        )  # first, because an image is built for each
        with tqdm(
            chosen, "images and rows", unit="instance", leave=False
        ) as bar:  # so that no bar comes before an error
            return tuple(instance_of(builtin_row(tasks[name]), BUILTIN) for name in bar)
    return select_instances(
        load_instances(config.dataset).instances,
        ids=wanted,
        pattern=config.pattern,
        limit=config.limit,
    )


def _asking(config: SweBenchConfig, model: GeneratorConfig) -> dict[str, Any]:
    """Settings on which patches depend."""
    if config.gold:
        return {"dataset": config.dataset, "gold": True}
    if config.predictions is not None:
        content = Path(config.predictions).expanduser().read_bytes()
        return {
            "dataset": config.dataset,
            "predictions": config.predictions,
            "predictions_sha256": hashlib.sha256(content).hexdigest(),
        }
    return (
        {"dataset": config.dataset}
        | {name: getattr(config, name) for name in (*_ASKING, *_ACTING * config.acts)}
        | model_identity(model)
    )


def _default_folder(config: SweBenchConfig, model: GeneratorConfig) -> Path:
    source = (
        Path(config.dataset)
        .name.removesuffix(".jsonl")
        .removesuffix(".json")
        .removesuffix(".parquet")
    )
    if not config.asks_model:
        return (
            Path("runs")
            / f"swebench-{source}-{'gold' if config.gold else Path(str(config.predictions)).stem}"
        )
    name = (
        model_label(model).replace("/", "-")
        if Path(model.model).expanduser().is_dir()
        else Path(model.model).name
    )
    return Path("runs") / f"swebench-{source}-{config.mode}-{name}"

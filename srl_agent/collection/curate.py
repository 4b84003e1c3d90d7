"""``collect curate IN OUT``: named filters, one after another, with a page of what each dropped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from srl_agent.collection import filters as filters_
from srl_agent.collection.curate_config import CurateConfig
from srl_agent.collection.filters import Dropped, Filter, without
from srl_agent.command_line import LogConfig, parse
from srl_agent.evaluation.math.page import rendered
from srl_agent.runs.files import replace_file
from srl_envs.command_line import log_to_stderr
from srl_envs.data import load_trajectories
from srl_envs.data.jsonl import read_header, save_trajectories
from srl_envs.errors import ConfigError, require
from srl_envs.replay import read_report
from srl_envs.trajectory import Targets, Trajectory

_SHOWN = 600  # characters of a prompt or a step on the page


@dataclass(frozen=True, slots=True)
class FilterResult:
    """What one filter did.

    Attributes:
        name: The filter.
        settings: Its settings.
        before: How many trajectories it saw.
        after: How many are left.
        dropped: What it left out.
        seconds: How long it took.
    """

    name: str
    settings: Mapping[str, Any]
    before: int
    after: int
    dropped: Sequence[Dropped]
    seconds: float

    @property
    def steps(self) -> int:
        """How many single steps it left out."""
        return sum(one.step is not None for one in self.dropped)

    def record(self) -> dict[str, Any]:
        """For the header."""
        counts = {"trajectories": self.before - self.after, "steps": self.steps}
        return {"filter": self.name, "settings": dict(self.settings), "dropped": counts}


def command(arguments: list[str], prog: str) -> int:
    """``python -m srl_agent.collect curate IN OUT``."""
    helps = {"-h", "--help"} & set(arguments)
    if not helps and (len(arguments) < 2 or any(one.startswith("-") for one in arguments[:2])):
        raise ConfigError("name what to curate and the file to write: curate IN OUT [settings].")
    files, rest = ([], arguments) if helps else (arguments[:2], arguments[2:])
    _, (config, log) = parse([CurateConfig, LogConfig], "collect_curate", rest, f"{prog} IN OUT")
    log_to_stderr(log.log_level)
    source, target = files[0], Path(files[1])
    if target.exists() and any(
        Path(one).exists() and target.samefile(one) for one in (source, config.dataset_path or "")
    ):
        raise ConfigError(f"{target} is the file to curate: name another OUT, so that IN is kept.")
    if target.is_dir() or not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: name a file in a folder that exists.")
    everything = load_trajectories(
        source, path=config.dataset_path, resolved_only=config.resolved_only
    )
    kept, results = curate(list(everything), config)
    written = write(source, target, config, kept, results)
    print(text(results, len(everything), kept, config.chosen_targets))
    print(f"Written: {', '.join(map(str, written))}")
    return 0 if kept else 1


def curate(
    trajectories: Sequence[Trajectory], config: CurateConfig
) -> tuple[list[Trajectory], list[FilterResult]]:
    """Run the filters in their order; each sees what the ones before have left.

    Raises:
        ConfigError, DataError: A filter cannot judge these trajectories.
        MissingDependencyError: What a filter needs is not installed.
    """
    chosen = [(name, _filter(name, config)) for name in config.filters or ()]
    left, results = list(trajectories), []
    for name, work in chosen:
        before, start = len(left), time.monotonic()
        dropped = list(work(left)) if left else []
        left = without(left, dropped, config.chosen_targets)
        seconds = time.monotonic() - start
        results.append(
            FilterResult(name, config.settings_of(name), before, len(left), dropped, seconds)
        )
    return left, results


def _filter(name: str, config: CurateConfig) -> Filter:
    settings = config.settings_of(name)
    if name == "length":
        return partial(filters_.by_length, **settings)
    if name == "language":
        known = filters_.known_languages()  # refused before any work where it cannot run
        for code in config.languages or ():
            require(code in known, "languages", code, f"of {', '.join(sorted(known))}")
        return partial(filters_.by_language, **settings)
    if name == "near_duplicates":
        filters_.sketches()
        return partial(filters_.near_duplicates, threshold=config.duplicate_share)
    if name == "benchmark_overlap":
        return filters_.benchmark_overlap
    if name == "repeats_prompt":
        return partial(filters_.repeats_prompt, share=config.repeat_share)
    if name == "replay":
        path = Path(str(config.replay_report))
        if not path.is_file():
            raise ConfigError(f"replay_report: there is no file {path}.")
        return partial(filters_.by_replay, report=read_report(path), max_drift=config.max_drift)
    others = [one for file in config.other_solutions or () for one in load_trajectories(file)]
    return partial(filters_.teacher_agreement, others=others, share=config.agreement_share)


def write(
    source: str,
    target: Path,
    config: CurateConfig,
    kept: Sequence[Trajectory],
    results: Sequence[FilterResult],
) -> list[Path]:
    """Write the file with its header, the page, and a list of everything that was dropped.

    Returns:
        Their paths; the first is the target.
    """
    before = read_header(Path(source)) if Path(source).is_file() else {}
    header = {
        "made_by": "collect curate",
        "source": source if config.dataset_path is None else config.dataset_path,
        "targets": config.targets,
        "filters": [one.record() for one in results],
        "kept": len(kept),
        **({"before": before} if before else {}),
    }
    save_trajectories(kept, target, header)
    listed = target.with_name(f"{target.stem}.dropped.jsonl")
    rows = (
        {"filter": result.name, "id": one.id, "reason": one.reason}
        for result in results
        for one in result.dropped
    )
    replace_file(listed, "".join(json.dumps(row) + "\n" for row in rows).encode())
    page = target.with_name(f"{target.stem}.html")
    content = rendered(
        "curate.html.j2",
        source=source,
        target=target.name,
        table_rows=_table(results),
        kept=len(kept),
        steps=_targets(kept, config.chosen_targets),
        results=[(one, _samples(one, config.samples)) for one in results],
        settings=[(name, str(value)) for name, value in asdict(config).items()],
    )
    replace_file(page, content)
    return [target, page, listed]


def _samples(result: FilterResult, most: int) -> list[tuple[str, str, str, str]]:
    """Evenly spread examples: id, reason, prompt, and the text that was dropped."""
    every = max(1, -(-len(result.dropped) // most)) if most else 1
    return [
        (
            one.id,
            one.reason,
            _short(one.trajectory.prompt),
            _short(
                one.trajectory.solution
                if one.step is None
                else one.trajectory.steps[one.step - 1].text
            ),
        )
        for one in (list(result.dropped)[::every] if most else [])
    ]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _targets(trajectories: Sequence[Trajectory], targets: Targets) -> int:
    return sum(len(one.target_indices(targets)) for one in trajectories)


def _table(results: Sequence[FilterResult]) -> list[list[str]]:
    return [
        ["filter", "before", "trajectories dropped", "steps dropped", "after", "seconds"],
        *(
            [
                one.name,
                str(one.before),
                str(one.before - one.after),
                str(one.steps),
                str(one.after),
                f"{one.seconds:.1f}",
            ]
            for one in results
        ),
    ]


def text(
    results: Sequence[FilterResult], total: int, kept: Sequence[Trajectory], targets: Targets
) -> str:
    """For the terminal."""
    rows = _table(results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    steps = _targets(kept, targets)
    return "\n".join(
        [*lines, f"{len(kept)} of {total} trajectories kept, with {steps} steps to train on."]
    )

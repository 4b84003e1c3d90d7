"""``collect curate IN OUT``: named filters, one after another, with a page of what each dropped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from srl_agent.collection import filters as filters_
from srl_agent.collection.filters import Dropped, Filter, without
from srl_agent.command_line import LogConfig, parse
from srl_agent.evaluation.math.page import rendered
from srl_agent.runs.files import replace_file
from srl_envs.command_line import log_to_stderr
from srl_envs.data import load_trajectories
from srl_envs.data.jsonl import read_header, save_trajectories
from srl_envs.data.splits import check_whole_number
from srl_envs.errors import ConfigError, require
from srl_envs.replay import read_report
from srl_envs.trajectory import Targets, Trajectory

ORDER = (
    "length",
    "language",
    "near_duplicates",
    "benchmark_overlap",
    "repeats_prompt",
    "replay",
    "teacher_agreement",
)
"""The filters in the order in which they run when none is named."""

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "length": ("min_steps", "max_steps", "max_prompt_characters", "max_step_characters"),
    "language": ("languages",),
    "near_duplicates": ("duplicate_share",),
    "benchmark_overlap": (),
    "repeats_prompt": ("repeat_share",),
    "replay": ("replay_report", "max_drift"),
    "teacher_agreement": ("agreement_share", "other_solutions"),
}
_NEEDS = {"language": "languages", "replay": "replay_report"}
_SHOWN = 600  # characters of a prompt or a step on the page


@dataclass
class CurateConfig:
    """Which filters run, in which order, and what they ask for."""

    dataset_path: str | None = field(
        default=None,
        metadata={"help": "Local file or folder, where IN names a source; None reads the hub."},
    )
    filters: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                f"Filters in the order in which they run, of {', '.join(ORDER)}. None runs all of"
                " them in this order; language and replay only where their settings are given."
            )
        },
    )
    targets: str = field(
        default="all_but_last",
        metadata={
            "help": (
                "Which steps are trained on, all_but_last or all: a trajectory with none left is"
                " dropped."
            )
        },
    )
    min_steps: int = field(
        default=2, metadata={"help": "length: fewest steps of a trajectory, at least 1."}
    )
    max_steps: int | None = field(
        default=None, metadata={"help": "length: most steps of a trajectory. None: no bound."}
    )
    max_prompt_characters: int | None = field(
        default=None, metadata={"help": "length: most characters of a prompt. None: no bound."}
    )
    max_step_characters: int | None = field(
        default=16_000,
        metadata={
            "help": (
                "length: a longer step is context, and not trained on. None: no bound. 16000 is"
                " how much of an action the reward compares."
            )
        },
    )
    languages: list[str] | None = field(
        default=None,
        metadata={"help": "language: those that are kept, by ISO 639-1 code, such as en de."},
    )
    duplicate_share: float = field(
        default=0.8,
        metadata={
            "help": (
                "near_duplicates: a trajectory that has this share of its runs of 5 words in"
                " common with one before it is dropped. In (0, 1]."
            )
        },
    )
    repeat_share: float = field(
        default=0.9,
        metadata={
            "help": (
                "repeats_prompt: a step with this share of its words in runs of 4 that are the"
                " prompt's is not trained on. In (0, 1]."
            )
        },
    )
    replay_report: str | None = field(
        default=None,
        metadata={"help": "replay: what python -m srl_envs.replay --report wrote of IN."},
    )
    max_drift: float = field(
        default=1.0,
        metadata={"help": "replay: largest mean drift that is kept, 0 to 1."},
    )
    agreement_share: float = field(
        default=0.5,
        metadata={
            "help": (
                "teacher_agreement: least share of the solutions to a question that end in the"
                " same answer. In (0, 1]."
            )
        },
    )
    other_solutions: list[str] | None = field(
        default=None,
        metadata={"help": "teacher_agreement: further .jsonl files whose solutions vote too."},
    )
    samples: int = field(
        default=10, metadata={"help": "Examples of what a filter dropped, on the page. 0: none."}
    )

    def __post_init__(self) -> None:
        require(
            self.targets in ("all_but_last", "all"), "targets", self.targets, "all_but_last or all"
        )
        self.filters = self._chosen()
        self._refuse_unused()
        check_whole_number("min_steps", self.min_steps, 1)
        check_whole_number("samples", self.samples, 0)
        for name in ("max_steps", "max_prompt_characters", "max_step_characters"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), 1, ", or None")
        for name in ("duplicate_share", "repeat_share", "agreement_share"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        require(0 <= self.max_drift <= 1, "max_drift", self.max_drift, "from 0 to 1")
        for code in self.languages or ():
            require(
                code.isalpha() and len(code) in (2, 3), "languages", code, "ISO codes such as en"
            )

    def _chosen(self) -> list[str]:
        if self.filters is None:
            return [name for name in ORDER if name not in _NEEDS or getattr(self, _NEEDS[name])]
        for name in self.filters:
            require(name in ORDER, "filters", name, f"of {', '.join(ORDER)}")
            if name in _NEEDS and not getattr(self, _NEEDS[name]):
                raise ConfigError(f"The filter {name} needs --{_NEEDS[name]}.")
        twice = [name for name in self.filters if self.filters.count(name) > 1]
        require(not twice, "filters", twice, "each named once")
        return list(self.filters)

    def _refuse_unused(self) -> None:
        """Refuse a setting of a filter that does not run."""
        defaults = {one.name: one.default for one in fields(self)}
        for name in ORDER:
            for setting in _SETTINGS[name]:
                if name not in (self.filters or ()) and getattr(self, setting) != defaults[setting]:
                    raise ConfigError(
                        f"{setting} has no effect: the filter {name} does not run. Add it to"
                        " --filters."
                    )

    @property
    def chosen_targets(self) -> Targets:
        """Which steps are trained on."""
        return "all" if self.targets == "all" else "all_but_last"

    def settings_of(self, name: str) -> dict[str, Any]:
        """The settings of a filter."""
        return {setting: getattr(self, setting) for setting in _SETTINGS[name]}


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
    if target.is_dir() or not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: name a file in a folder that exists.")
    everything = load_trajectories(source, path=config.dataset_path)
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
        filters_.language_of("")  # refused before any work where it cannot run
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

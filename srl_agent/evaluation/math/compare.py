"""How two evaluations differ in accuracy and length on the problems that both answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from srl_agent.evaluation.folder import RESULTS, read_settings
from srl_agent.evaluation.math.benchmarks import Problem, label_of
from srl_agent.evaluation.math.folder import SAMPLES, read_problems
from srl_agent.evaluation.math.lengths import length_histogram
from srl_agent.evaluation.math.page import rendered, write_plots
from srl_agent.evaluation.math.samples import Mode, Sample, read_samples
from srl_agent.evaluation.math.table import aligned, percent
from srl_agent.intervals import Interval, paired_bootstrap
from srl_agent.reports.plots import Plot
from srl_agent.runs.files import replace_file
from srl_envs.errors import ConfigError, DataError

_MODES: tuple[Mode, ...] = ("greedy", "sampled")
_MEASURES: dict[str, Callable[[Sample], float]] = {
    "accuracy": lambda sample: float(bool(sample.correct)),
    "tokens": lambda sample: float(sample.tokens),
}


_OF_THE_MODEL = ("model", "model_revision", "weights_written")
"""Settings in which two runs are meant to differ."""


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """What is compared of a run.

    Attributes:
        name: The folder's name.
        problems: By benchmark and id.
        samples: By benchmark, problem and mode, in the order of their numbers.
        settings: On which its answers depend, see
            :func:`~srl_agent.evaluation.math.folder.identity`.
    """

    name: str
    problems: dict[tuple[str, str], Problem]
    samples: dict[tuple[str, str, Mode], list[Sample]]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of both runs, on the problems that both answered.

    Attributes:
        benchmark: Its name.
        mode: Greedy or sampled answers.
        measure: ``accuracy``, in [0, 1], or ``tokens``.
        before: Mean of the first run.
        after: Mean of the second.
        difference: ``after - before``, with the paired bootstrap interval over
            problems.
    """

    benchmark: str
    mode: Mode
    measure: str
    before: float
    after: float
    difference: Interval


def compare_runs(before: Path, after: Path, output: Path | None = None) -> list[Difference]:
    """Print, draw and write down how the second run differs from the first.

    The files are ``compare.json``, ``compare.html`` and ``plots/*.png``.

    Args:
        before: A run's folder.
        after: Another run's.
        output: Where the files go; ``compare-<name of before>`` in the folder of
            ``after`` if None.

    Raises:
        DataError: A folder holds no finished evaluation.
        ConfigError: The two have no problem in common, or a problem differs between
            them.
    """
    one, other = read_run(before), read_run(after)
    names = [one.name, other.name] if one.name != other.name else [str(before), str(after)]
    folder = output or after / f"compare-{one.name}"
    if folder.resolve() in (before.resolve(), after.resolve()):
        raise ConfigError(
            f"{folder} is one of the two runs: choose another --output_dir for their comparison."
        )
    shared = _shared(one, other, before, after)
    differences = [
        row
        for benchmark in dict.fromkeys(name for name, _ in shared)
        for row in _differences(one, other, benchmark, shared)
    ]
    asked_otherwise = _asked_otherwise(one, other)
    plots = _plots(one, other, names, shared)
    notes = [
        f"asked otherwise: {name} is {old!r} in {names[0]}, {new!r} in {names[1]}"
        for name, (old, new) in asked_otherwise.items()
    ]
    rows = difference_cells(differences, names)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "before": str(before),
        "after": str(after),
        "asked_otherwise": asked_otherwise,
        "differences": [asdict(row) for row in differences],
    }
    replace_file(folder / "compare.json", (json.dumps(content, indent=1) + "\n").encode())
    write_plots(folder, plots)
    replace_file(
        folder / "compare.html",
        rendered(
            "compare.html.j2",
            names=names,
            rows=rows,
            notes=notes,
            plots=plots,
            problems=len(shared),
        ),
    )
    print("\n".join([aligned(rows), "", *notes, str(folder / "compare.html")]))
    return differences


def read_run(folder: Path) -> EvaluatedRun:
    """Read a finished evaluation.

    Raises:
        DataError: The folder holds none, or one without verdicts.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}: --compare takes the folders of two evaluations."
        )
    settings = read_settings(folder)["identity"]
    if not (folder / RESULTS).is_file():
        raise DataError(
            f"The evaluation in {folder} has not finished: rerun its command, which resumes where"
            " it was."
        )
    samples: dict[tuple[str, str, Mode], list[Sample]] = {}
    for sample in sorted(read_samples(folder / SAMPLES), key=lambda sample: sample.number):
        if sample.correct is not None:  # a later call may have added answers and been killed
            samples.setdefault((sample.benchmark, sample.problem_id, sample.mode), []).append(
                sample
            )
    return EvaluatedRun(
        folder.resolve().name,
        {(p.benchmark, p.id): p for p in read_problems(folder)},
        samples,
        settings,
    )


def difference_cells(differences: Sequence[Difference], names: Sequence[str]) -> list[list[str]]:
    """Heading and a row for each difference; accuracies in percent."""
    rows = [["", "problems", *names, "difference", "95 % interval"]]
    for row in differences:
        shown = percent if row.measure == "accuracy" else "{:.0f}".format
        signed = (
            (lambda value: f"{100 * value:+.1f}") if row.measure == "accuracy" else "{:+.0f}".format
        )
        label = (
            f"{label_of(row.benchmark)}, {row.mode},"
            f" {row.measure}{' %' if row.measure == 'accuracy' else ''}"
        )
        interval = f"{signed(row.difference.low)} to {signed(row.difference.high)}"
        rows.append(
            [
                label,
                str(row.difference.count),
                shown(row.before),
                shown(row.after),
                signed(row.difference.value),
                interval,
            ]
        )
    return rows


def _shared(
    one: EvaluatedRun, other: EvaluatedRun, before: Path, after: Path
) -> list[tuple[str, str]]:
    """The problems that both answered, in the same way at least once."""
    shared = [
        key
        for key in one.problems
        if any((*key, mode) in one.samples and (*key, mode) in other.samples for mode in _MODES)
    ]
    if not shared:
        raise ConfigError(
            f"{before} and {after} have no answered problem in common: evaluate both on the same"
            " benchmarks."
        )
    for key in shared:
        if one.problems[key] != other.problems[key]:
            raise ConfigError(
                f"{before} and {after} asked different problems of {key[0]} with the id {key[1]!r}:"
                " evaluate both on the same data."
            )
    return shared


def _asked_otherwise(one: EvaluatedRun, other: EvaluatedRun) -> dict[str, tuple[Any, Any]]:
    """Settings of both, but for the model's, that were not the same: a difference may be theirs."""
    names = sorted((one.settings.keys() & other.settings.keys()) - set(_OF_THE_MODEL))
    return {
        name: (one.settings[name], other.settings[name])
        for name in names
        if one.settings[name] != other.settings[name]
    }


def _differences(
    one: EvaluatedRun, other: EvaluatedRun, benchmark: str, shared: Sequence[tuple[str, str]]
) -> list[Difference]:
    found = []
    for mode in _MODES:
        keys = [
            (*key, mode)
            for key in shared
            if key[0] == benchmark and (*key, mode) in one.samples and (*key, mode) in other.samples
        ]
        for measure, value in _MEASURES.items() if keys else ():
            before, after = (
                [fmean(map(value, run.samples[key])) for key in keys] for run in (one, other)
            )
            found.append(
                Difference(
                    benchmark,
                    mode,
                    measure,
                    fmean(before),
                    fmean(after),
                    paired_bootstrap(before, after),
                )
            )
    return found


def _plots(
    one: EvaluatedRun, other: EvaluatedRun, names: Sequence[str], shared: Sequence[tuple[str, str]]
) -> list[Plot]:
    """The two length histograms: of all shared problems, and of each benchmark.

    Of a problem that one run answered more often than the other, as many answers of
    both: else a benchmark would weigh more in one histogram.
    """
    benchmarks = list(dict.fromkeys(name for name, _ in shared))
    groups = {"lengths": ("All shared problems", benchmarks)} if len(benchmarks) > 1 else {}
    groups |= {f"lengths-{name}": (label_of(name), [name]) for name in benchmarks}
    plots = []
    for name, (title, chosen) in groups.items():
        lengths: dict[str, list[int]] = {label: [] for label in names}
        for key in (
            (*problem, mode) for problem in shared if problem[0] in chosen for mode in _MODES
        ):
            for before, after in zip(
                one.samples.get(key, ()), other.samples.get(key, ()), strict=False
            ):
                lengths[names[0]].append(before.tokens)
                lengths[names[1]].append(after.tokens)
        plots.append(length_histogram(name, title, lengths))
    return [plot for plot in plots if plot is not None]

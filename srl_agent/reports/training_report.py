"""The report of a run: ``report.html``, one self-contained page, and its plots as PNG files.

Run ``python -m srl_agent.reports.training_report RUN_DIR`` to write it anew, also for a
run that is still going or was killed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from srl_agent.intervals import Interval
from srl_agent.reports.comparison import comparisons
from srl_agent.reports.figures import SMOOTHED_FROM
from srl_agent.reports.plots import draw_plots
from srl_agent.runs.files import replace_file
from srl_agent.runs.reading import read_run
from srl_agent.runs.records import Difference, RunRecords
from srl_envs.command_line import exit_status
from srl_envs.errors import MissingDependencyError, install_command

SHOWN_INSTANCES = 8
STAGE_LABELS = {"base": "Base model", "warmup": "After warm-up"}
METRIC_LABELS = {"similarity": "Similarity of well-formed answers", "format_rate": "Format rate"}
HIGHLIGHTS = {
    "method": "method",
    "model_name_or_path": "model",
    "source": "source",
    "num_generations": "rollouts",
    "learning_rate": "learning rate",
    "seed": "seed",
}
"""Settings under the report's heading, by the last part of their name."""
SECRETS = ("hub_token", "api_key", "password", "secret")


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into a run's folder.

    They show whatever the run has recorded so far.

    Args:
        run_dir: Holds ``metrics.jsonl``, ``samples/``, ``config.yaml``,
            ``environment.json``, ``summary.json``; each may be missing.

    Returns:
        The path of the page.

    Raises:
        DataError: ``run_dir`` is not a run's folder.
        MissingDependencyError: matplotlib or jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependencyError(
            f"A report needs jinja2: {install_command('train')}"
        ) from error
    records = read_run(run_dir)
    method = records.method
    plots = draw_plots(records)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        figure=_figure, signed=_signed, interval=_interval, duration=_duration
    )
    template = environment.from_string(
        files("srl_agent.reports").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    )
    settings = list(_flat(records.config))
    page = template.render(
        records=records,
        finished=(run_dir / "summary.json").is_file(),
        headline=_headline(records),
        highlights=[(label, value) for label, value in _highlights(settings)],
        stage_labels={**STAGE_LABELS, method.name: f"After {method.label}"},
        metric_labels={"reward": method.measure.capitalize(), **METRIC_LABELS},
        method=method,
        plots=[(plot, Markup(plot.svg)) for plot in plots],
        smoothed=len(records.train.steps) >= SMOOTHED_FROM,
        comparisons=comparisons(records, SHOWN_INSTANCES),
        held_out=len(records.final_samples(records.stages[-1].stage)) if records.stages else 0,
        settings=settings,
        environment=list(_flat(records.environment)),
    )
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    for plot in plots:
        replace_file(folder / f"{plot.name}.png", plot.png)
    replace_file(
        run_dir / "report.html", page.encode("utf-8", errors="replace")
    )  # a model may have written lone surrogates
    return run_dir / "report.html"


def _headline(records: RunRecords) -> Difference | None:
    """What the method did to the reward.

    Compared with the warm-up if there was one, otherwise with the base model.
    """
    found = {
        row.before: row
        for row in records.differences
        if (row.after, row.metric) == (records.method.name, "reward")
    }
    return found.get("warmup") or found.get("base")


def _highlights(settings: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    last_parts = {name.rpartition(".")[2]: value for name, value in reversed(settings)}
    for key, label in HIGHLIGHTS.items():
        if last_parts.get(key) not in (None, "", "None"):
            yield label, last_parts[key]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts.

    Secrets are masked, because reports are passed on.
    """
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        elif value and name.lower().endswith(SECRETS):
            yield name, "(hidden)"
        else:
            yield name, str(value)


def _figure(value: float | None, percent: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.0%}" if percent else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else "\N{EN DASH}"


def _interval(interval: Interval) -> str:
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return "no interval from one instance"
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def main() -> int:
    """Write the report of the run folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m srl_agent.reports.training_report",
        description="Write report.html and plots of a run.",
    )
    parser.add_argument(
        "run_dir", type=Path, help="folder of a run: finished, still going or killed"
    )
    run_dir = parser.parse_args().run_dir

    def write() -> int:
        print(write_report(run_dir))
        return 0

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main())

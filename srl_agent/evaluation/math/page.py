"""``report.html``: a self-contained page in which every answer can be read with its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srl_agent.evaluation.math.benchmarks import Problem, label_of
from srl_agent.evaluation.math.lengths import length_histogram
from srl_agent.evaluation.math.results import Results
from srl_agent.evaluation.math.samples import Sample
from srl_agent.evaluation.math.table import benchmark_cells, note_lines, table_1_cells
from srl_agent.reports.plots import Plot
from srl_agent.runs.files import replace_file
from srl_envs.errors import MissingDependencyError, install_command

_SHOWN_CHARACTERS = 20_000
_HIGHLIGHTS = (
    "temperature",
    "num_samples",
    "max_new_tokens",
    "seed",
    "backend",
    "dtype",
    "stepwise",
)


@dataclass(frozen=True, slots=True)
class ProblemAnswers:
    """A problem with the answers to it that the page shows."""

    problem: Problem
    samples: list[Sample]

    @property
    def right(self) -> int:
        """How many of them are right."""
        return sum(bool(sample.correct) for sample in self.samples)


def write_page(
    folder: Path,
    results: Results,
    problems: Sequence[Problem],
    samples: Sequence[Sample],
    settings: Mapping[str, Any],
    most_answers: int,
) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into a run's folder.

    Args:
        folder: The run's folder.
        results: Its scores.
        problems: The problems that were asked.
        samples: The graded answers.
        settings: What is shown about how the run was made.
        most_answers: The page shows at most so many answers.

    Returns:
        The page's path.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    shown = shown_samples(samples, most_answers)
    plots = length_plots(samples)
    write_plots(folder, plots)
    content = rendered(
        "report.html.j2",
        results=results,
        benchmark_rows=benchmark_cells(results),
        table_1_rows=table_1_cells(results),
        notes=note_lines(results),
        stepwise=bool(settings.get("stepwise")),
        plots=plots,
        labels={problem.benchmark: label_of(problem.benchmark) for problem in problems},
        items=_by_problem(problems, shown),
        shown=len(shown),
        total=len(samples),
        highlights=[
            (name.replace("_", " "), settings[name]) for name in _HIGHLIGHTS if name in settings
        ],
        settings=[(name, str(value)) for name, value in settings.items()],
    )
    replace_file(folder / "report.html", content)
    return folder / "report.html"


def shown_samples(samples: Sequence[Sample], most: int) -> list[Sample]:
    """The answers for the page, at most ``most``: greedy ones first, then by sample number."""
    return sorted(samples, key=lambda sample: (sample.mode != "greedy", sample.number))[:most]


def length_plots(samples: Sequence[Sample]) -> list[Plot]:
    """A length histogram of each benchmark, and of all answers if there are several benchmarks.

    Right and wrong answers are drawn separately.
    """
    names = list(dict.fromkeys(sample.benchmark for sample in samples))
    parts = {name: [sample for sample in samples if sample.benchmark == name] for name in names}
    plots = [_lengths(f"lengths-{name}", label_of(name), part) for name, part in parts.items()]
    if len(names) > 1:
        plots.insert(0, _lengths("lengths", "All benchmarks", samples))
    return [plot for plot in plots if plot is not None]


def write_plots(folder: Path, plots: Sequence[Plot]) -> None:
    """Write the plots' PNG files into ``plots/``."""
    (folder / "plots").mkdir(exist_ok=True)
    for plot in plots:
        replace_file(folder / "plots" / f"{plot.name}.png", plot.png)


def rendered(template: str, **content: Any) -> bytes:
    """A page of this package's templates.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup, escape
    except ImportError as error:
        raise MissingDependencyError(
            f"A report needs jinja2: {install_command('train')}"
        ) from error

    def table(rows: Sequence[Sequence[str]], own: bool = False) -> Markup:
        """Cells as a table; with ``own`` the last row stands out."""
        heading = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
        body = "".join(
            f"<tr{' class=own' if own and row is rows[-1] else ''}>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in rows[1:]
        )
        return Markup(
            '<div class="card'
            f' scroll"><table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("srl_agent.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shortened"] = _shortened
    environment.globals["table"] = table
    return (
        environment.get_template(template).render(**content).encode("utf-8", errors="replace")
    )  # a model may have written lone surrogates


def _lengths(name: str, title: str, samples: Sequence[Sample]) -> Plot | None:
    return length_histogram(
        name,
        title,
        {
            "right": [sample.tokens for sample in samples if sample.correct],
            "wrong": [sample.tokens for sample in samples if not sample.correct],
        },
    )


def _by_problem(problems: Sequence[Problem], samples: Sequence[Sample]) -> list[ProblemAnswers]:
    items = {(problem.benchmark, problem.id): ProblemAnswers(problem, []) for problem in problems}
    for sample in samples:
        items[sample.benchmark, sample.problem_id].samples.append(sample)
    return [item for item in items.values() if item.samples]


def _shortened(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return (
        f"{text[:half]}\n\n[... {len(text) - 2 * half} characters left out here; samples.jsonl has"
        f" all ...]\n\n{text[-half:]}"
    )

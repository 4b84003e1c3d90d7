"""The terminal's tables: this run beside the rows of the paper's Table 1; each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from srl_agent.evaluation.math.benchmarks import BENCHMARKS, TABLE_1
from srl_agent.evaluation.math.results import Answers, Results, table_1_columns
from srl_agent.intervals import Interval

PAPER_ROWS: dict[str, tuple[float, ...]] = {
    "Base (Qwen2.5-7B-Instruct)": (49.3, 50.0, 10.5, 13.3, 7.5, 6.7, 34.9),
    "SFT (R1 outline)": (36.2, 27.5, 5.1, 3.3, 3.8, 6.7, 31.6),
    "RLVR": (52.0, 47.5, 11.1, 10.0, 7.4, 10.0, 33.8),
    "SRL": (51.5, 50.0, 13.2, 16.7, 7.1, 13.3, 36.4),
    "SRL -> RLVR": (52.1, 57.5, 13.3, 20.0, 8.6, 10.0, 36.4),
}
"""Table 1 of arXiv 2510.25992, in percent.

AMC23, AIME24 and AIME25: avg@32 and greedy each; Minerva Math: greedy.
"""


def table_1_cells(results: Results) -> list[list[str]]:
    """Heading, the paper's rows, and this run's row.

    An average is the mean of the seven columns in every row, in the paper's too.

    This run's says so if it is of fewer problems than the benchmarks have. Empty if the
    run evaluated none of the table's benchmarks.
    """
    own = [
        None if column is None else 100 * column for column in table_1_columns(results.benchmarks)
    ]
    if own == [None] * len(own):
        return []
    k = next((result.sampled.k for result in results.benchmarks if result.sampled), 32)
    heading = [
        "avg@32 / greedy, %" if k == 32 else f"avg@{k} (paper: 32) / greedy, %",
        "AMC23",
        "AIME24",
        "AIME25",
        "Minerva",
        "Average",
    ]
    rows = [
        [f"paper: {name}", *_table_1_row(list(columns))] for name, columns in PAPER_ROWS.items()
    ]
    part = any(
        result.benchmark in TABLE_1 and result.problems < BENCHMARKS[result.benchmark].problems
        for result in results.benchmarks
    )
    return [
        heading,
        *rows,
        [results.model + (", of fewer problems" if part else ""), *_table_1_row(own)],
    ]


def benchmark_cells(results: Results) -> list[list[str]]:
    """Heading, and for each benchmark a row of greedy and one of sampled answers."""
    rows = [
        [
            "",
            "problems",
            "accuracy, %",
            "pass@k",
            "majority@k",
            "truncated",
            "no answer",
            "tokens: mean",
            "median",
        ]
    ]
    for result in results.benchmarks:
        rows.append(
            [
                f"{result.label}, greedy{_way(result.greedy_answers)}",
                str(result.problems),
                _with_interval(result.greedy),
                "",
                "",
                *_counts(result.greedy_answers),
            ]
        )
        if sampled := result.sampled:
            scores = [
                _with_interval(score)
                for score in (sampled.average, sampled.pass_at[sampled.k], sampled.majority)
            ]
            rows.append(
                [
                    f"{result.label}, avg@{sampled.k}{_way(sampled.answers)}",
                    str(result.problems),
                    *scores,
                    *_counts(sampled.answers),
                ]
            )
    return rows


def note_lines(results: Results) -> list[str]:
    """What a reader of the scores should know of a benchmark, a line each.

    Malformed steps, contexts that were too short, samples that are all the same.
    """
    lines = []
    for result in results.benchmarks:
        for label, answers in (
            ("greedy", result.greedy_answers),
            ("sampled", result.sampled.answers if result.sampled else None),
        ):
            if answers and answers.mean_steps is not None:
                lines.append(
                    f"{result.label}, {label}: {answers.mean_steps:.1f} steps a solution,"
                    f" {answers.malformed_steps or 0:.1%} of them malformed"
                )
            if answers and answers.context_full:
                lines.append(
                    f"{result.label}, {label}: {answers.context_full} of {answers.count} answers"
                    " found no room in the model's context"
                )
        if result.sampled and result.sampled.identical:
            lines.append(
                f"{result.label}, sampled: the {result.sampled.k} answers of each problem are all"
                " the same text. Was the temperature heeded?"
            )
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: first column to the left, others to the right, heading underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def terminal_text(results: Results) -> str:
    """All tables of a run."""
    tables = [aligned(benchmark_cells(results)), "\n".join(note_lines(results))]
    if rows := table_1_cells(results):
        tables.append(aligned(rows))
    return "\n\n".join(filter(None, tables))


def percent(value: float | None) -> str:
    """A share as percent with one digit; a dash if there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def _table_1_row(columns: Sequence[float | None]) -> list[str]:
    """Seven columns in percent -> five cells."""
    cells = ["-" if column is None else f"{column:.1f}" for column in columns]
    known = [column for column in columns if column is not None]
    pairs = [
        f"{average} / {greedy}" for average, greedy in zip(cells[:6:2], cells[1:6:2], strict=True)
    ]
    return [*pairs, cells[6], f"{fmean(known):.1f}" if len(known) == len(columns) else "-"]


def _with_interval(mean: Interval) -> str:
    return f"{percent(mean.value)} [{percent(mean.low)}, {percent(mean.high)}]"


def _way(answers: Answers) -> str:
    return "" if answers.mean_steps is None else ", step by step"


def _counts(answers: Answers) -> list[str]:
    return [
        str(answers.truncated),
        str(answers.without_answer),
        f"{answers.mean_tokens:.0f}",
        f"{answers.median_tokens:.0f}",
    ]

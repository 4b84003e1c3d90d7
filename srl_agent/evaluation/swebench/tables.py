"""The figures of a run as tables and lines of the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from srl_agent.evaluation.folder import RESULTS
from srl_agent.evaluation.math.table import aligned
from srl_agent.evaluation.swebench.instances import HUB_NAME
from srl_agent.evaluation.swebench.results import VERDICTS, SweBenchResults, groups

PAPER_ROWS: dict[str, tuple[float, float]] = {
    "Base (Qwen2.5-Coder-7B-Instruct)": (5.8, 3.2),
    "SWE-Gym-7B": (8.4, 4.2),
    "SRL": (14.8, 8.6),
}
"""SWE-Bench Verified in arXiv 2510.25992, greedy, percent resolved: oracle, end-to-end."""

_MOST_REASONS, _MOST_NAMES, _LONGEST_REASON = 5, 5, 200


def rate_cells(results: SweBenchResults) -> list[list[str]]:
    """Heading, the paper's rows, and this run's row.

    The row says so if its data set is not the paper's.
    """
    own = "not judged"
    if results.is_judged:
        low, high = 100 * results.interval.low, 100 * results.interval.high
        own = (
            f"{100 * results.rate:.1f} [{low:.1f}, {high:.1f}]"
            f" ({results.resolved}/{len(results.instances)})"
        )
    modes = ["oracle", "end-to-end", *["agent"] * (results.mode == "agent")]
    rows = [
        [f"paper: {name}", *(f"{value:.1f}" for value in values), *["-"] * (len(modes) - 2)]
        for name, values in PAPER_ROWS.items()
    ]
    label = (
        results.model
        if results.dataset == HUB_NAME
        else f"{results.model}, on {Path(results.dataset).name}"
    )
    rows.append([label, *_in_column(own, results.mode, modes)])
    for k, value in results.pass_at.items():
        own = f"{100 * value:.1f}"
        rows.append([f"  pass@{k}", *_in_column(own, results.mode, modes)])
    return [["resolved, %", *modes], *rows]


def _in_column(own: str, mode: str, modes: Sequence[str]) -> list[str]:
    """A figure in its mode's column, or in all where no model was asked."""
    return [own if mode in (one, "gold", "predictions") else "-" for one in modes]


def verdict_cells(results: SweBenchResults) -> list[list[str]]:
    """Heading, and how many instances have each verdict.

    Those that timed out are part of the unresolved ones.
    """
    counts = results.counts
    rows = [["verdict", "instances"]]
    for verdict, label in VERDICTS.items():
        count = counts[verdict] + (counts["timed_out"] if verdict == "unresolved" else 0)
        if count or (verdict in ("resolved", "unresolved") and results.is_judged):
            rows.append(
                [
                    f"  of these: {label.partition(': ')[2]}" if verdict == "timed_out" else label,
                    str(count),
                ]
            )
        if verdict == "empty_patch" and (reasons := _reasons(results, verdict)):
            reason, of = reasons[0]
            rows.append([f"  most often: {_shortened(reason)}", str(of)])
        if verdict == "timed_out" and results.unresolved_without_network:
            rows.append(
                [
                    "  of these: the tests connect out, and had no network",
                    str(results.unresolved_without_network),
                ]
            )
    return rows


def group_cells(results: SweBenchResults) -> list[list[list[str]]]:
    """A table by repository and one by difficulty, where the data set gives it.

    There is none of a run without verdicts.
    """
    if not results.is_judged:
        return []
    tables = []
    for heading, key in (
        ("repository", lambda one: one.repo),
        ("difficulty", lambda one: one.difficulty),
    ):
        found = groups(results, key)
        if [name for name, _, _ in found] != [""]:
            tables.append(
                [
                    [heading, "instances", "resolved", "%"],
                    *(
                        [name or "not given", str(of), str(right), f"{100 * right / of:.1f}"]
                        for name, of, right in found
                    ),
                ]
            )
    return tables


def terminal_text(results: SweBenchResults) -> str:
    """All tables of a run."""
    return "\n\n".join(
        aligned(rows)
        for rows in (verdict_cells(results), *group_cells(results), rate_cells(results))
    )


def unjudged_line(results: SweBenchResults, judges: bool = True) -> str:
    """One line on the instances without a verdict; empty if there are none.

    In a run that does not judge, it is on those without a patch.
    """
    left = {
        one.instance_id: one.verdict
        for one in results.instances
        if one.instance_id in results.unjudged and (judges or one.verdict != "not_judged")
    }
    if not left:
        return ""
    reasons: dict[str, list[str]] = {}
    for name in left:
        reason = " ".join(results.unjudged[name].replace(name, "<instance>").split())
        reasons.setdefault(_shortened(reason), []).append(name)
    common_first = sorted(reasons.items(), key=lambda item: -len(item[1]))
    parts = [f"{listed(names)} ({reason})" for reason, names in common_first[:_MOST_REASONS]]
    if len(common_first) > _MOST_REASONS:
        parts.append(f"{len(common_first) - _MOST_REASONS} more reasons, see {RESULTS}")
    lacks = "were not judged" if judges else "have no patch"
    return (
        f"{len(left)} of {len(results.instances)} instances {lacks}: {'; '.join(parts)}. The same"
        " command tries them again."
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")


def _reasons(results: SweBenchResults, verdict: str) -> list[tuple[str, int]]:
    """Why instances have a verdict, the most common reason first."""
    given = (one.reason for one in results.instances if one.verdict == verdict and one.reason)
    return Counter(given).most_common()


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."

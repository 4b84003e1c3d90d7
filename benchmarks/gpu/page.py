"""The page of what ``benchmarks/gpu/run.py`` measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_GIB = 2**30


def write_page(results: dict[str, Any]) -> str:
    """All that was measured, and what was not, as Markdown."""
    stages = results["stages"]
    done = {name: record["result"] for name, record in stages.items() if record["status"] == "done"}
    lines = [f"# {results['name']}", ""]
    if results["tiny"]:
        lines += ["A trial with a tiny model: the figures mean nothing.", ""]
    if "machine" in done:
        lines += [_machine(done["machine"]), ""]
    trainers = {name: found for name, found in done.items() if name.startswith("trainer-")}
    measured = {name: found for name, found in trainers.items() if "ours" in found}
    if measured:
        lines += [
            "## Training",
            "",
            *_trainers(measured),
            "",
            "## Memory",
            "",
            *_memory(measured),
            "",
        ]
    samplers = {name: found for name, found in done.items() if name.startswith("sampler-")}
    if samplers:
        lines += ["## Sampling", "", *_samplers(samplers), ""]
    if "quickstart" in done:
        lines += ["## Quick start", "", *_quick_start(done["quickstart"]), ""]
    if "study" in done:
        lines += ["## Study", "", done["study"]["table"].rstrip(), ""]
    lines += ["## Stages", "", *_stages(stages)]
    return "\n".join(lines) + "\n"


def _machine(found: dict[str, Any]) -> str:
    place = f"{found['cores']} CPU threads"
    if found["gpu"]:
        place = f"{found['gpu']}, {found['gpu_bytes'] / _GIB:.0f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{place}; a matrix product at {found['matmul'] / 1e12:.3g} TFLOP/s; {versions}."


def _trainers(measured: dict[str, Any]) -> Iterator[str]:
    yield (
        "| model | trainer | seconds a step | completion tokens/s | computed tokens a step | MFU |"
    )
    yield "|---|---|---|---|---|---|"
    for name, found in measured.items():
        for trainer in ("stock", "ours"):
            row = found[trainer]
            speed = row["completion_tokens_a_second"]
            yield (
                f"| {name.removeprefix('trainer-')} | {trainer} | {row['seconds_a_step']:.3g} | "
                f"{speed:,.4g} | {row['computed_tokens_a_step']:,.0f} | "
                f"{row['mfu']:.1%} |"
            )


def _memory(measured: dict[str, Any]) -> Iterator[str]:
    yield "| model | stock, GiB | ours, GiB | the plan for ours | plan / measured | in |"
    yield "|---|---|---|---|---|---|"
    for name, found in measured.items():
        stock, ours, plan = found["stock"]["peak"], found["ours"]["peak"], found["plan"]
        yield (
            f"| {name.removeprefix('trainer-')} | {stock / _GIB:.3g} | {ours / _GIB:.3g} | "
            f"{plan['peak'] / _GIB:.3g} | {plan['peak'] / ours:.2f} | {plan['phase']} |"
        )


def _samplers(samplers: dict[str, Any]) -> Iterator[str]:
    yield "| model | prompts x group x tokens | ours, tokens/s | generate | vLLM |"
    yield "|---|---|---|---|---|"
    for name, found in samplers.items():
        work, speeds = found["work"], found["tokens_a_second"]
        shown = [
            f"{speeds[way]:,.4g}" if way in speeds else "-" for way in ("ours", "generate", "vllm")
        ]
        asked = f"{work['prompts']} x {work['group']} x {work['completion']}"
        yield f"| {name.removeprefix('sampler-')} | {asked} | {' | '.join(shown)} |"


def _quick_start(summary: dict[str, Any]) -> Iterator[str]:
    yield "| stage | step | step reward | well-formed |"
    yield "|---|---|---|---|"
    for stage in summary["stages"]:
        yield (
            f"| {stage['stage']} | {stage['step']} | {stage['reward']:+.3f} | "
            f"{stage['format_rate']:.0%} |"
        )
    yield ""
    yield f"{summary['seconds']['total'] / 60:.1f} minutes."


def _stages(stages: dict[str, Any]) -> Iterator[str]:
    yield "| stage | status | seconds | |"
    yield "|---|---|---|---|"
    for name, record in stages.items():
        result = record.get("result") or {}
        note = record.get("error") or result.get("does_not_fit") or ""
        if name == "tests" and result:
            note = ", ".join(f"{count} {what}" for what, count in result.items())
        yield f"| {name} | {record['status']} | {record['seconds']:.0f} | {note} |"

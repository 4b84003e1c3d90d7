"""A run's records read back from its folder.

The run may have been killed at any point, so every file may be missing or truncated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from srl_agent.intervals import paired_difference
from srl_agent.runs.answers import Answer, answer_of
from srl_agent.runs.records import (
    METHOD_FILE,
    Difference,
    MethodRecord,
    RunRecords,
    StageResult,
    StepLog,
    final_samples,
)
from srl_envs.errors import DataError


def read_run(run_dir: Path) -> RunRecords:
    """Read a run's folder.

    Files that are absent or damaged are skipped (``notes`` reports damage); a line
    that a kill cut short is skipped silently.

    Raises:
        DataError: ``run_dir`` is not a folder, or holds none of a run's files.
    """
    if not run_dir.is_dir():
        raise DataError(f"There is no run folder {run_dir}.")
    notes: list[str] = []
    log = _read_metrics(run_dir / "metrics.jsonl", notes)
    config = _read_mapping(run_dir / "config.yaml", notes)
    method = _read_method(run_dir / METHOD_FILE, config, notes)
    samples = _read_samples(run_dir / "samples", method, notes)
    environment = _read_mapping(run_dir / "environment.json", notes)
    summary = _read_mapping(run_dir / "summary.json", notes)
    if not (any(log.values()) or samples or config or environment or summary or notes):
        raise DataError(
            f"{run_dir} is not a run's folder: it holds neither metrics.jsonl, samples/ nor"
            " config.yaml."
        )
    evaluations = {
        stage: _step_log(log[f"eval/{stage}"])
        for stage in method.stages
        if log.get(f"eval/{stage}")
    }
    stages = _summary_stages(summary, method) or _derived_stages(evaluations, samples)
    return RunRecords(
        name=run_dir.resolve().name,
        method=method,
        train=_step_log(log.get("train", {})),
        warmup=_step_log(log.get("warmup", {})),
        evaluations=evaluations,
        samples=samples,
        stages=stages,
        differences=_summary_differences(summary) or _derived_differences(method, stages, samples),
        seconds=_numbers(summary.get("seconds")),
        config=config,
        environment=environment,
        notes=notes,
    )


def _read_metrics(path: Path, notes: list[str]) -> dict[str, dict[int, dict[str, float]]]:
    log: dict[str, dict[int, dict[str, float]]] = {}
    for row in _json_lines(path, notes):
        kind, step = row.get("kind"), row.get("step")
        if kind == "eval":
            kind = f"eval/{row.get('stage')}"
        if isinstance(kind, str) and isinstance(step, int):
            log.setdefault(kind, {})[step] = _numbers(row)
    return log


def _read_method(path: Path, config: Mapping[str, Any], notes: list[str]) -> MethodRecord:
    """What the run trains by; of a run without this file its name alone is known."""
    content, names = _read_mapping(path, notes), [field.name for field in fields(MethodRecord)]
    recorded = {key: content[key] for key in names if isinstance(content.get(key), str)}
    name = recorded.get("name", config.get("method"))
    if not isinstance(name, str) or not name.isidentifier():
        return MethodRecord()
    if name != MethodRecord().name and not recorded:
        notes.append(f"{path.name}: missing, so the reward of {name} is called a step reward.")
    return MethodRecord(**{"label": name.upper(), **recorded, "name": name})


def _read_samples(
    folder: Path, method: MethodRecord, notes: list[str]
) -> dict[str, dict[int, list[Answer]]]:
    samples: dict[str, dict[int, list[Answer]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        stage, _, step = path.stem.rpartition("-")
        if stage in method.stages and step.isdecimal():
            rows = [
                answer_of(row)
                for row in _json_lines(path, notes)
                if isinstance(row.get("instance_id"), str)
            ]
            if rows:
                samples.setdefault(stage, {})[int(step)] = rows
    return samples


def _json_lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file.

    Unreadable lines are counted in ``notes``, except the last, which a kill may have
    truncated.
    """
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    unreadable = 0
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            unreadable += number < len(lines)
            continue
        if isinstance(row, dict):
            yield row
    if unreadable:
        notes.append(f"{path.name}: {unreadable} unreadable lines were skipped.")


def _read_mapping(path: Path, notes: list[str]) -> Mapping[str, Any]:
    """A JSON or YAML file's mapping; empty if the file is absent or damaged."""
    import yaml

    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        content = None
    if isinstance(content, dict):
        return content
    notes.append(f"{path.name}: not readable, skipped.")
    return {}


def _step_log(rows: Mapping[int, Mapping[str, float]]) -> StepLog:
    return StepLog(dict(sorted(rows.items())))


def _numbers(row: object) -> dict[str, float]:
    """The finite numbers of a mapping."""
    if not isinstance(row, Mapping):
        return {}
    return {
        str(key): float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _rows(summary: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = summary.get(key)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _summary_stages(summary: Mapping[str, Any], method: MethodRecord) -> list[StageResult]:
    results = []
    for row in _rows(summary, "stages"):
        if row.get("stage") in method.stages:
            numbers = _numbers(row)
            count = numbers.get("count")
            results.append(
                StageResult(
                    stage=row["stage"],
                    step=int(numbers.get("step", 0)),
                    reward=numbers.get("reward"),
                    similarity=numbers.get("similarity"),
                    format_rate=numbers.get("format_rate"),
                    count=None if count is None else int(count),
                )
            )
    return results


def _summary_differences(summary: Mapping[str, Any]) -> list[Difference]:
    names = ("from", "to", "metric")
    return [
        Difference.from_row({**numbers, **{name: row.get(name) for name in names}})
        for row in _rows(summary, "differences")
        if "difference" in (numbers := _numbers(row))
    ]


def _derived_stages(
    evaluations: Mapping[str, StepLog], samples: Mapping[str, Mapping[int, Sequence[Answer]]]
) -> list[StageResult]:
    """The last validation of each stage, for a run that did not come to write its summary."""
    results = []
    for stage, log in evaluations.items():
        step = log.steps[-1]
        row = log.rows[step]
        count = len(samples.get(stage, {}).get(step, ())) or None
        results.append(
            StageResult(
                stage,
                step,
                row.get("eval_reward"),
                row.get("eval_similarity"),
                row.get("eval_format_rate"),
                count,
            )
        )
    return results


def _derived_differences(
    method: MethodRecord,
    stages: Sequence[StageResult],
    samples: Mapping[str, Mapping[int, Sequence[Answer]]],
) -> list[Difference]:
    """Paired differences of the reward, computed from the samples.

    For a run that was stopped before it wrote its summary.
    """
    rewards: dict[str, dict[str, float]] = {}
    for stage in method.stages:
        rows = final_samples(
            samples.get(stage, {}), [result.step for result in stages if result.stage == stage]
        )
        if known := {
            sample.instance_id: sample.reward for sample in rows if sample.reward is not None
        }:
            rewards[stage] = known
    pairs = list(pairwise(rewards))
    if len(rewards) > 2:
        pairs.append((next(iter(rewards)), list(rewards)[-1]))
    differences = []
    for before, after in pairs:
        shared = [key for key in rewards[before] if key in rewards[after]]
        if shared:
            interval = paired_difference(
                [rewards[before][key] for key in shared], [rewards[after][key] for key in shared]
            )
            differences.append(Difference(before, after, "reward", interval))
    return differences

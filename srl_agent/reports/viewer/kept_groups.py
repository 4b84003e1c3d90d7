"""What evaluations, collections and replays keep, as groups of answers and as episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srl_agent.rollouts.rollout_log import GroupRecord, RolloutRecord
from srl_agent.runs.files import text_hash

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
"""The objects that belong together, by the name of their file."""


_TITLE = 110  # characters


@dataclass(frozen=True, slots=True)
class Listed:
    """A group of answers that a run keeps.

    Attributes:
        part: Of the run: a benchmark and how it is asked, for example.
        record: The group; a reward that is not known is NaN.
    """

    part: str
    record: GroupRecord


# ---------------------------------------------------------------- evaluations


def math_keys(file: str, row: Row) -> Sequence[str]:
    """The problem, asked in each mode, that a line belongs to."""
    if file == "problems.jsonl":
        return tuple(f"{row['benchmark']}\n{mode}\n{row['id']}" for mode in ("greedy", "sampled"))
    return (f"{row['benchmark']}\n{row['mode']}\n{row['problem_id']}",)


def math_group(rows: Rows) -> Listed | None:
    """The answers to a problem in one mode."""
    samples = sorted(rows.get("samples.jsonl", ()), key=lambda row: int(row["number"]))
    if not samples:
        return None
    asked: Row = next(iter(rows.get("problems.jsonl", ())), {})
    text, first = str(asked.get("text", "")), samples[0]
    right, graded = (
        sum(row.get("correct") is True for row in samples),
        sum(row.get("correct") is not None for row in samples),
    )
    record = _group_record(
        id=str(first["problem_id"]),
        title=text,
        prompt=text,
        expert=str(asked.get("answer", "")),
        fate=_share(right, graded, len(samples)),
        why=f"{right} of {graded} answers are correct."
        if graded
        else "The answers are not graded yet.",
        answers=[_math_answer(row) for row in samples],
    )
    return Listed(f"{first['benchmark']}, {first['mode']}", record)


def _math_answer(row: Row) -> RolloutRecord:
    error = None
    if row.get("context_full"):
        error = "context_full"
    elif row.get("truncated"):
        error = "truncated"
    elif row.get("malformed"):
        error = "malformed_steps"
    elif row.get("answer") is None:
        error = "no_answer"
    return _answer(
        str(row["text"]), row.get("correct"), error, int(row["tokens"]), str(row["answer"] or "")
    )


def swebench_keys(file: str, row: Row) -> Sequence[str]:
    """The instance that a line or an answer's file belongs to."""
    return (str(row["instance_id"]),)


def swebench_group(rows: Rows) -> Listed | None:
    """The patches for an issue; None if an agent made it."""
    name, answer = _swebench_answer(rows)
    if "agent" in answer:
        return None
    repair = answer.get("repair") or {}
    samples = repair.get("samples") or [
        {"answer": "", "patch": row["model_patch"], "tokens": 0}
        for row in rows.get("predictions.jsonl", ())
    ]
    if not samples:
        return None
    verdicts = {str(row["patch_sha256"]): row for row in rows.get("judgements.jsonl", ())}
    judged = [verdicts.get(text_hash(str(one["patch"]))) for one in samples]
    chosen = judged[repair.get("chosen") or 0]
    prompt = (repair.get("messages") or [{"content": ""}])[-1]["content"]
    record = _group_record(
        id=name,
        title="",
        prompt=str(prompt),
        expert="",
        fate="open" if chosen is None else _OUTCOMES.get(chosen["outcome"], "failed"),
        why="Not judged." if chosen is None else _swebench_words(chosen),
        answers=[_patch(one, verdict) for one, verdict in zip(samples, judged, strict=True)],
    )
    return Listed("patches", record)


def _patch(sample: Row, verdict: Row | None) -> RolloutRecord:
    outcome = None if verdict is None else str(verdict["outcome"])
    known = None if outcome in (None, "infrastructure_failure") else outcome == "resolved"
    error = "no_patch" if not sample["patch"] else outcome if known is False else None
    error = None if error == "unresolved" else error
    text, patch = str(sample.get("answer", "")), str(sample["patch"])
    return _answer(text or patch, known, error, int(sample.get("tokens") or 0), patch)


def swebench_episode(rows: Rows) -> Row | None:
    """An agent's way through an issue, with the verdict on its patch."""
    name, answer = _swebench_answer(rows)
    if "agent" not in answer:
        return None
    found = {**answer["agent"], "task": name, "correct": None, "reward": None, "failing_tests": []}
    verdict = {str(row["patch_sha256"]): row for row in rows.get("judgements.jsonl", ())}.get(
        text_hash(str(found.get("patch", "")))
    )
    if verdict is not None and verdict["outcome"] != "infrastructure_failure":
        correct = verdict["outcome"] == "resolved"
        found |= {"correct": correct, "reward": float(correct)}
        found["failing_tests"] = list(verdict.get("failing", ()))
    return found


def _swebench_answer(rows: Rows) -> tuple[str, Row]:
    answers = [row for name, found in rows.items() if name.endswith(".json") for row in found]
    name = next(str(row["instance_id"]) for found in rows.values() for row in found)
    return name, answers[0] if answers else {}


_OUTCOMES = {"resolved": "solved", "infrastructure_failure": "open"}


def _swebench_words(verdict: Row) -> str:
    failing = list(verdict.get("failing", ()))
    words = [str(verdict["outcome"]).replace("_", " "), str(verdict.get("reason") or "")]
    words += [f"{len(failing)} tests fail: {', '.join(map(str, failing[:5]))}"] if failing else []
    return ". ".join(word.rstrip(".") for word in words if word).capitalize() + "."


# ---------------------------------------------------------------- collections and replays


def collected_group(rows: Rows) -> Listed | None:
    """A teacher's answers to a problem, and what became of each."""
    drafts = sorted(rows.get("drafts.jsonl", ()), key=lambda row: int(row["number"]))
    rejects = rows.get("rejects.jsonl", ())
    kept: Row | None = next(iter(rows.get("trajectories.jsonl", ())), None)
    why = {int(row["try"]): row for row in rejects if "try" in row}
    refused: Row | None = next((row for row in rejects if "try" not in row), None)
    asked: Row = kept or next(iter(rejects), {})
    first = next(row for found in rows.values() for row in found)
    if kept is not None:
        fate, words = "kept", f"{len(drafts) - len(why)} of {len(drafts)} answers passed."
    elif refused is not None:
        fate, words = "refused", f"It was not asked: {refused['reason']}."
    else:
        fate = "rejected" if drafts and len(why) == len(drafts) else "open"
        reasons = dict.fromkeys(str(row["reason"]) for row in why.values())
        words = f"Rejected: {', '.join(reasons)}." if reasons else "Not judged yet."
    answers = []
    for draft in drafts:
        row = why.get(int(draft["number"]))
        passed = False if row else True if kept is not None else None
        error = str(row["reason"]).replace(" ", "_") if row else None
        detail = str(row["detail"]) if row else ""
        answers.append(_answer(str(draft["text"]), passed, error, int(draft["tokens"]), detail))
    record = _group_record(
        id=str(first["id"]),
        title=str(asked.get("prompt") or asked.get("problem") or ""),
        prompt=str(asked.get("prompt") or asked.get("problem") or ""),
        expert=str(asked.get("answer") or ""),
        fate=fate,
        why=words,
        answers=answers,
    )
    return Listed("answers", record)


def replayed_episode(rows: Rows) -> Row | None:
    """A replay as an episode: its steps are the turns."""
    row = next(found[-1] for found in rows.values())
    solved, steps = row["resolved"], row.get("steps", ())
    return {
        "task": row["id"],
        "number": 0,
        "end": "machinery" if row.get("failure") else "replay",
        "reward": None if solved is None else float(solved),
        "correct": solved,
        "failing_tests": row.get("failing", ()),
        "seconds": row.get("seconds", 0.0),
        "sandbox_seconds": sum(step["seconds"] for step in steps),
        "verification_seconds": 0.0,
        "failure": row.get("failure", ""),
        "drift": row["drift"],
        "turns": [
            {
                "thought": "",
                "action": step["command"],
                "error": None,
                "observation": step["observation"],
                "similarity": None,
                "tokens": 0,
                "seconds": step["seconds"],
                "drift": step["drift"],
                "recorded": step["recorded"],
            }
            for step in steps
        ],
    }


def results_in_words(results: Row) -> list[tuple[str, str]]:
    """The main figures of an evaluation or a collection, with their names."""
    task = results.get("task")
    if task == "math":
        found = []
        for name, each in results["benchmarks"].items():
            if each["greedy"]:
                found.append((f"{name}, greedy", _percent(each["greedy"])))
            if each["sampled"]:
                one = each["sampled"]
                found.append((f"{name}, mean of {one['k']}", _percent(one["average"])))
        return found
    if task == "swebench":
        resolved = "not judged" if results["resolved"] is None else results["resolved"]
        return [("resolved", f"{resolved} of {results['instances']}")]
    if task == "agent":
        return [("solved", _percent(results["rate"]))]
    return [
        ("kept", f"{results['kept']:,} of {results['problems']:,}"),
        ("answers", f"{results['answers']:,}, {results['passed']:,} passed"),
    ]


def _percent(interval: Row) -> str:
    low, high = 100 * interval["low"], 100 * interval["high"]
    return f"{100 * interval['value']:.1f} % ({low:.1f} to {high:.1f})"


# ---------------------------------------------------------------- parts


def _answer(
    text: str, passed: bool | None, error: str | None, tokens: int, action: str
) -> RolloutRecord:
    reward = float("nan") if passed is None else float(passed)
    return RolloutRecord(text, "", action, error, reward, None, 0.0, tokens)


def _group_record(answers: Sequence[RolloutRecord], **more: str) -> GroupRecord:
    title = " ".join(more.pop("title").split())
    title = title if len(title) <= _TITLE else f"{title[:_TITLE].rsplit(' ', 1)[0]} …"
    return GroupRecord(0, 0, title=title, rollouts=tuple(answers), **more)


def _share(right: int, graded: int, count: int) -> str:
    if graded < count:
        return "open"
    return "solved" if right == count else "partly solved" if right else "failed"


def of_id(file: str, row: Row) -> Sequence[str]:
    """What the object names as its id."""
    return (str(row["id"]),)

"""What the record of an instance's answers says of its samples."""

from __future__ import annotations

from collections import Counter
from typing import Any


def sample_patches(answer: dict[str, Any]) -> list[str]:
    """The patches of an instance's samples, in order; empty ones included."""
    return [str(sample["patch"]) for sample in answer.get("repair", {}).get("samples", [])]


def patch_problems(answer: dict[str, Any]) -> list[str]:
    """Why all patches of an answer were rejected.

    It is empty if one was not, or if there was nothing to reject.
    """
    samples = answer.get("repair", {}).get("samples", [])
    if any(sample["patch"] for sample in samples):
        return []
    return [
        f"{problem['path']}: {problem['reason']}"
        for sample in samples
        for problem in sample["problems"]
    ]


def why_empty(answer: dict[str, Any]) -> str:
    """Why no sample of an instance gave a patch; empty if there is no answer of a model.

    It counts what became of the edits of all samples, and the answers that hold none.
    """
    counts: Counter[str] = Counter()
    samples = answer.get("repair", {}).get("samples", [])
    for sample in samples:
        statuses = [edit["status"].replace("_", " ") for edit in sample["edits"]]
        counts.update(statuses or ["no edit in the answer"])
        counts["cut off at max_new_tokens"] += sample["finish"] == "length"
    return ", ".join(
        name if count == 1 else f"{name} ({count})" for name, count in counts.most_common() if count
    )

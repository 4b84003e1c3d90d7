"""What the swebench harness says of one patch, and how its logs are read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal[
    "resolved", "unresolved", "empty_patch", "patch_does_not_apply", "infrastructure_failure"
]
"""The last one is not a verdict on the patch: image or engine failed."""

# What the engine answers to a command for a container that has ended, where the command's output
# should be: errors of containerd end in their kind.
_ENGINE_SPEAKS = (
    r"(?:OCI runtime |cannot exec |[^\n]*: (?:unknown|not found|unavailable|failed precondition)$)"
)
# The log holds the patch too; only the harness's own lines begin with a time. In a container that
# has ended nothing applies: then the engine speaks, not git.
_APPLY_FAILED = re.compile(
    r"^\d{4}-[-0-9:, ]+ - INFO - >>>>> Patch Apply Failed:$(?!\n" + _ENGINE_SPEAKS + ")",
    re.MULTILINE,
)
_TIMED_OUT = re.compile(
    r"^(swebench\.harness\.utils\.)?EvaluationError: .*Test timed out after \d+ seconds",
    re.MULTILINE,
)
# After the tests, anything but a diff: the container has ended. If a patch's own tests killed only
# the script, a diff follows.
_CONTAINER_ENDED = re.compile(
    r"^\d{4}-[-0-9:, ]+ - INFO - Git diff after:\n(?!diff --git )", re.MULTILINE
)
_SCRIPT_ENDED = ">>>>> End Test Output"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the harness says of one patch.

    Attributes:
        instance_id: Of the instance.
        outcome: See :data:`Outcome`.
        reason: Why, where the outcome alone does not say; else empty.
        seconds: How long judging took.
        failing: Names of the tests that should pass and do not, as far as the harness
            told.
        log: Folder with the harness's logs; empty if it was not asked.
        image_id: The engine's id of the image that the tests ran in; empty if none did.
    """

    instance_id: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    failing: tuple[str, ...] = ()
    log: str = ""
    image_id: str = ""


def read_judgement(instance_id: str, logs: Path, error: str) -> Judgement:
    """Read what the harness left behind.

    Args:
        instance_id: Of the instance.
        logs: The harness's folder of this instance.
        error: What the harness raised; empty if nothing.
    """
    log = _text(logs / "run_instance.log")
    if (logs / "report.json").is_file():
        try:
            report = json.loads(_text(logs / "report.json"))[instance_id]
        except (ValueError, KeyError):
            return Judgement(
                instance_id,
                "infrastructure_failure",
                "the harness's report is damaged",
                log=str(logs),
            )
        if report["resolved"]:
            return Judgement(instance_id, "resolved", log=str(logs))
        if report.get("infra_failure"):
            return Judgement(
                instance_id,
                "infrastructure_failure",
                str(report.get("infra_failure_reason", "")),
                log=str(logs),
            )
        tests = report.get("tests_status", {})
        if (
            not tests
            and _CONTAINER_ENDED.search(log)
            and _SCRIPT_ENDED not in _text(logs / "test_output.txt")
        ):
            return Judgement(
                instance_id,
                "infrastructure_failure",
                "the container was ended in the middle of the tests",
                log=str(logs),
            )
        failing = tuple(
            name
            for kind in ("FAIL_TO_PASS", "PASS_TO_PASS")
            for name in tests.get(kind, {}).get("failure", ())
        )
        return Judgement(
            instance_id,
            "unresolved",
            "" if tests else "no test results in the output",
            failing=failing,
            log=str(logs),
        )
    if _APPLY_FAILED.search(log):
        return Judgement(instance_id, "patch_does_not_apply", log=str(logs))
    if _TIMED_OUT.search(log):
        return Judgement(instance_id, "unresolved", "the tests ran past their time", log=str(logs))
    reason = error or next(
        (line for line in reversed(log.splitlines()) if "Error" in line),
        "the harness gave no report",
    )
    return Judgement(instance_id, "infrastructure_failure", reason[:300], log=str(logs))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

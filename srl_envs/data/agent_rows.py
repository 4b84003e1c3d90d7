"""Rows of coding agents' runs -> trajectories, whatever agent wrote them.

How a row's actions are written is seen from its messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from srl_envs.commands import GRAMMARS, SUBMIT_MARKERS, CommandError
from srl_envs.data import atif
from srl_envs.data.agent_environment import environment_of, unreadable_tests
from srl_envs.data.agent_turns import steps_of, with_fences, without_thought
from srl_envs.data.chat import COLUMNS, Message, foreign, messages_of
from srl_envs.data.openhands_events import UnknownFormatError
from srl_envs.trajectory import Trajectory

_ISSUES = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<pr_description>\s*(?:Consider the following PR description:\s*)?(.*?)\s*"
        r"</pr_description>",
        r"<issue_description>\s*(.*?)\s*</issue_description>",
        r"<github_issue>\s*(.*?)\s*</github_issue>",
        r"\A.*?\nISSUE:\n(.*?)\s*\n\s*INSTRUCTIONS:\n",
        r"\APlease solve this issue: (.*?)\s*\n\nYou can execute bash commands",
        r"-+ NEW TASK DESCRIPTION -+\s*(.*?)\s*-+ END OF NEW TASK DESCRIPTION -+",
    )
)
_WORKDIRS = (
    re.compile(r"<uploaded_files>\s*(/\S+)\s*</uploaded_files>"),
    re.compile(r"\(Current directory: (/[^)\n]*)\)"),
)
_REPOSITORY = re.compile(r"([\w.-]+?)__([\w.-]+?)(?:\.[0-9a-f]{8}\..+|-\d+)")
_WINDOW = re.compile(
    r"^```\w*\n(?:open|goto|scroll_up|scroll_down|create|edit|search_dir|search_file|find_file)\b",
    re.MULTILINE,
)
_FOREIGN = {
    "<invoke name=": "Anthropic's <invoke> tags",
    "<execute_": "OpenHands' <execute_bash> tags",
    "<|tool_call_begin|>": "Kimi's tokens",
    "<arg_key>": "GLM's tags",
    "[TOOL_CALLS]": "Mistral's tokens",
    "<|python_tag|>": "Llama's tokens",
    "<\uff5ctool\u2581call": "DeepSeek's tokens",
    "<|start|>assistant<|channel|>": "the harmony format",
    "\nAction Input:": "ReAct's lines",
}
"""A mark of other spellings of calls -> their name. Their turns may have fences of code."""

_BLOCK = re.compile(r"^`{3,}([^\s`]*)[ \t]*\r?\n.*?^`{3,}[ \t]*\r?$", re.MULTILINE | re.DOTALL)
_SHELLS = ("", "bash", "console", "sh", "shell", "text", "zsh")
_IDS = ("traj_id", "trajectory_id", "instance_id", "uuid", "id")
_NO_VERDICT = "no verdict in the row (resolved_only=False takes it all the same)"


def read(
    rows: Iterable[Mapping[str, Any]],
    rejected: Counter[str],
    resolved_only: bool = True,
    resolved: bool = False,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Trajectory]:
    """Rows with a conversation -> trajectories; what is left out is counted in ``rejected``.

    Args:
        rows: As :mod:`srl_envs.data.chat` reads them.
        rejected: Counts by reason.
        resolved_only: Leave out rows that did not solve their issue, and those that do
            not say whether they did.
        resolved: Rows that do not say it did; the data set holds no others.
        tasks: By ``instance_id``, the rows that say what environment a task has; None
            looks into the trajectory's own row.
    """
    seen: Counter[str] = Counter()
    for found in rows:
        row = atif.row_of(found) if atif.is_document(found) else found
        reason = foreign(row) or (unsolved(row) if resolved_only else "")
        task = row if tasks is None else tasks.get(str(row.get("instance_id")))
        if reason and not (resolved and reason == _NO_VERDICT):
            rejected[reason] += 1
        elif task is None:
            rejected["no task of this instance"] += 1
        elif isinstance(read_row := _trajectory(row, task), str):
            rejected[read_row] += 1
        else:
            seen[read_row.id] += 1
            count = seen[read_row.id]
            yield replace(read_row, id=f"{read_row.id}-{count}") if count > 1 else read_row


def _trajectory(row: Mapping[str, Any], task: Mapping[str, Any]) -> Trajectory | str:
    """The trajectory of a row, or why there is none."""
    try:
        messages = messages_of(row)
    except UnknownFormatError as error:
        return str(error)
    if messages is None:
        return f"no messages in a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
    messages = with_fences(messages)
    if column := unreadable_tests(task):
        return f"unreadable {column!r}"
    issue, workdir = task_of(row, messages, task)
    if not issue:
        return "no issue"
    try:
        grammar = grammar_of(messages, row)
        steps, skipped = steps_of(messages, GRAMMARS[grammar])
    except UnknownFormatError as error:
        return str(error)
    except CommandError as error:
        return f"{error.reason} {error.subject}".strip()
    if not steps:
        return "no command"
    if all(GRAMMARS[grammar].parse(step.action).submits for step in steps):
        return "no command but the submission"
    if skipped["no command"] >= len(steps):
        return f"most turns hold no command in the grammar {grammar!r}"
    name = next((row[key] for key in _IDS if isinstance(row.get(key), str) and row[key]), "")
    metadata = {
        **origin_of(row),
        "grammar": grammar,
        "workdir": workdir,
        "skipped_turns": dict(skipped),
        **environment_of(task, workdir),
    }
    return Trajectory(name or "trajectory", issue, steps, domain="swe", metadata=metadata)


def unsolved(row: Mapping[str, Any]) -> str:
    """Why a row does not count as solved; empty if it does.

    A verdict is a column ``resolved``, ``target``, ``verified`` or ``reward``: true or
    false, 1 or 0, or these as text; or the ``report`` of OpenHands' evaluation. An
    agent that does not know the verdict says whether it submitted, with an
    ``exit_status``.
    """
    for column in ("resolved", "target", "verified", "reward"):
        if row.get(column) is not None:
            verdict = _truth(row[column])
            if verdict is None:
                return f"unreadable {column!r}"
            return "" if verdict else "not resolved"
    tested = row.get("test_result")
    for found in (row.get("report"), tested.get("report") if isinstance(tested, dict) else None):
        if isinstance(found, dict) and isinstance(found.get("resolved"), bool):
            return "" if found["resolved"] else "not resolved"
    info = row.get("info")
    status = row.get("exit_status") or (info.get("exit_status") if isinstance(info, dict) else None)
    if isinstance(status, str):
        return "" if status.lower() in ("submitted", "submit") else "not submitted"
    if "resolved" in row:
        return "not resolved"
    return _NO_VERDICT


def _truth(value: object) -> bool | None:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, int | float):
        return value >= 1 if value >= 0 else None
    if isinstance(value, str):
        return {
            **dict.fromkeys(("true", "1", "1.0", "yes", "resolved"), True),
            **dict.fromkeys(("false", "0", "0.0", "no", "unresolved"), False),
        }.get(value.strip().lower())
    return None


def task_of(
    row: Mapping[str, Any], messages: list[Message], task: Mapping[str, Any]
) -> tuple[str, str]:
    """The issue that a row states, and the folder of the repository.

    The issue is the row's column ``problem_statement``; else what agents wrap in tags
    or put between headings in the first user message; else that column of the task;
    else all of the message. The folder is ``/testbed`` unless the message names
    another one.
    """
    asked = next((one["content"] for one in messages if one.get("role") == "user"), "")
    wrapped = (match[1] for pattern in _ISSUES if (match := pattern.search(asked)))
    issue = _statement(row) or next(wrapped, "").strip() or _statement(task) or asked.strip()
    folders = (match[1] for pattern in _WORKDIRS if (match := pattern.search(asked)))
    return issue, next(folders, "/testbed")


def _statement(row: Mapping[str, Any]) -> str:
    statement = row.get("problem_statement")
    return statement.strip() if isinstance(statement, str) else ""


def grammar_of(messages: list[Message], row: Mapping[str, Any]) -> str:
    """The grammar in which most turns are written: a name of :data:`GRAMMARS`.

    Raises:
        UnknownFormatError: They are written in another way that is known by name, or
            have code of other languages in their fences.
    """
    turns = [message for message in messages if message.get("role") == "assistant"]
    texts = [without_thought(turn["content"]) for turn in turns]
    replies = [one["content"] for one in messages if one.get("role") in ("user", "tool")]
    mini = str(row.get("trajectory_format", "")).startswith("mini-swe-agent")
    if any(turn.get("tool_calls") for turn in turns):
        calls = str([turn.get("tool_calls") for turn in turns])
        return "bash_tool" if mini or any(mark in calls for mark in SUBMIT_MARKERS) else "tool"

    def most(mark: str) -> bool:
        return sum(mark in text for text in texts) * 2 > len(texts)

    for mark, name in _FOREIGN.items():
        if most(mark):
            raise UnknownFormatError(f"calls in {name} are not read: export messages")
    if most("<function="):
        r2e = any("<function=search>" in text or "<parameter=cmd>" in text for text in texts)
        return "r2e" if r2e else "xml"
    if most("<tool_call>"):
        return "tool"
    if most("```mswea_bash_command"):
        return "mswea_bash"
    in_tags = any("<returncode>" in reply for reply in replies)
    if most("```bash") and (mini or in_tags):
        return "bash"
    if mini or in_tags:
        raise UnknownFormatError("mini-swe-agent's commands in another fence are not read")
    if sum(map(_is_code, texts)) * 2 > len(texts):
        raise UnknownFormatError("most turns hold code of another language, and no command")
    window = any("\n(Open file: " in reply for reply in replies)
    return "swe_agent_0" if window or any(map(_WINDOW.search, texts)) else "ticks"


def _is_code(text: str) -> bool:
    """Whether the last fenced block, which would be the command, is marked as another language."""
    languages = _BLOCK.findall(text)
    return bool(languages) and languages[-1].lower() not in _SHELLS


def origin_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Where the task comes from, as far as the row or its id says.

    The keys are ``instance_id``, ``repo`` (owner/name), ``base_commit`` and ``model``.

    SWE-smith's ids hold a commit too, but the task's bug was put in after it: that is
    not the ``base_commit``.
    """
    origin = {
        name: row[name]
        for name in ("instance_id", "repo", "base_commit", "model")
        if isinstance(row.get(name), str) and row[name]
    }
    if "repo" not in origin and (match := _REPOSITORY.fullmatch(origin.get("instance_id", ""))):
        origin["repo"] = f"{match[1]}/{match[2]}"
    return origin

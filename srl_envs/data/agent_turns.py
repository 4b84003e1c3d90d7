"""Conversations of coding agents -> trajectories, whatever agent wrote them.

How a row's actions are written is seen from its messages. A turn whose text holds no
command, or several where one is asked for, is left out together with the complaint that
answered it: nothing ran, so the next turn follows as well without it. The metadata
count these, by reason, as ``skipped_turns``. A tool that runs nothing (``think``) is
counted there too, and what it was given is part of the next thought; so is a call that
only waits for a running command or interrupts it. Any other turn that cannot be read
rejects its row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from srl_envs.commands import (
    GRAMMARS,
    SUBMIT_MARKERS,
    TOOL_CALLS,
    CommandError,
    Grammar,
)
from srl_envs.commands.tool_call import name_and_arguments
from srl_envs.data.agent_environment import environment_of
from srl_envs.data.agent_tools import IDLE_TOOLS, own_call, waits
from srl_envs.data.chat import Message, messages_of
from srl_envs.trajectory import ExpertStep, Trajectory

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
_PREFIX = re.compile(
    r"\A(?:(?:OBSERVATION|Observation)|EXECUTION RESULT of \[[\w.-]+\]|"
    r"(?:Exit code: 0\n)?Execution output of \[[\w.-]+\]):[ \n]?"
)
_RESPONSE = re.compile(r"\A\s*<tool_response>\n?(.*?)\n?</tool_response>\s*\Z", re.DOTALL)
_WINDOW = re.compile(
    r"^```\w*\n(?:open|goto|scroll_up|scroll_down|create|edit|search_dir|search_file|find_file)\b",
    re.MULTILINE,
)
_IDS = ("traj_id", "trajectory_id", "instance_id", "uuid", "id")
_STOPPED = re.compile(r"</parameter>\s*(?:</(?:function)?)?\Z")
_MAY_BE_SKIPPED = ("no command", "several commands")


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
        resolved: The data set holds only rows that did, and does not say so in each.
        tasks: By ``instance_id``, the rows that say what environment a task has; None
            looks into the trajectory's own row.
    """
    seen: Counter[str] = Counter()
    for row in rows:
        reason = unsolved(row) if resolved_only and not resolved else ""
        messages = messages_of(row)
        task = row if tasks is None else tasks.get(str(row.get("instance_id")))
        reason = reason or ("no task of this instance" if task is None else "")
        issue, workdir = task_of(row, messages or [], task or {})
        reason = reason or ("no messages" if messages is None else "" if issue else "no issue")
        if reason or messages is None:
            rejected[reason] += 1
            continue
        grammar = grammar_of(messages, row)
        try:
            steps, skipped = steps_of(messages, GRAMMARS[grammar])
        except CommandError as error:
            rejected[f"{error.reason} {error.subject}".strip()] += 1
            continue
        if not steps:
            rejected["no command"] += 1
            continue
        name = next((row[key] for key in _IDS if isinstance(row.get(key), str) and row[key]), "")
        name = name or "trajectory"
        seen[name] += 1
        yield Trajectory(
            name if seen[name] == 1 else f"{name}-{seen[name]}",
            issue,
            steps,
            domain="swe",
            metadata={
                **origin_of(row),
                "grammar": grammar,
                "workdir": workdir,
                "skipped_turns": dict(skipped),
                **environment_of(task or {}, workdir),
            },
        )


def unsolved(row: Mapping[str, Any]) -> str:
    """Why a row does not count as solved; empty if it does.

    A verdict is a column ``resolved``, ``target``, ``verified`` or ``reward``: true or
    false, 1 or 0, or these as text. An agent that does not know the verdict says
    whether it submitted, with an ``exit_status``.
    """
    for column in ("resolved", "target", "verified", "reward"):
        if row.get(column) is not None:
            verdict = _truth(row[column])
            if verdict is None:
                return f"unreadable {column!r}"
            return "" if verdict else "not resolved"
    info = row.get("info")
    status = row.get("exit_status") or (info.get("exit_status") if isinstance(info, dict) else None)
    if isinstance(status, str):
        return "" if status.lower() in ("submitted", "submit") else "not submitted"
    if "resolved" in row:
        return "not resolved"
    return "no verdict in the row (resolved_only=False takes it all the same)"


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
    """The grammar in which most turns are written: a name of :data:`GRAMMARS`."""
    turns = [message for message in messages if message.get("role") == "assistant"]
    texts = [_without_thought(turn["content"]) for turn in turns]
    replies = [one["content"] for one in messages if one.get("role") in ("user", "tool")]
    mini = str(row.get("trajectory_format", "")).startswith("mini-swe-agent")
    if any(turn.get("tool_calls") for turn in turns):
        calls = str([turn.get("tool_calls") for turn in turns])
        return "bash_tool" if mini or any(mark in calls for mark in SUBMIT_MARKERS) else "tool"

    def most(mark: str) -> bool:
        return sum(mark in text for text in texts) * 2 > len(texts)

    if most("<function="):
        r2e = any("<function=search>" in text or "<parameter=cmd>" in text for text in texts)
        return "r2e" if r2e else "xml"
    if most("<tool_call>"):
        return "tool"
    if most("```mswea_bash_command"):
        return "mswea_bash"
    if most("```bash") and (mini or any("<returncode>" in reply for reply in replies)):
        return "bash"
    window = any("\n(Open file: " in reply for reply in replies)
    return "swe_agent_0" if window or any(map(_WINDOW.search, texts)) else "ticks"


def steps_of(
    messages: list[Message], grammar: Grammar
) -> tuple[tuple[ExpertStep, ...], Counter[str]]:
    """The steps of a conversation, and how many turns are no step, by reason.

    Raises:
        CommandError: A turn cannot be read, for another reason than that it holds no
            command, or several.
    """
    steps: list[ExpertStep] = []
    skipped: Counter[str] = Counter()
    carried = ""
    for turn, replies in _turns(messages):
        thought, calls = carried, list[Any]()
        try:
            said, calls = _calls_of(turn, replies, grammar)
            thought = _join(carried, said)
        except CommandError as error:
            if error.reason not in _MAY_BE_SKIPPED:
                raise
            skipped[error.reason] += 1
            continue
        carried = ""
        for (tool, arguments), seen in zip(
            calls, _observations(turn, replies, len(calls)), strict=True
        ):
            if tool in IDLE_TOOLS:
                skipped["idle tool"] += 1
                thought = _join(thought, *arguments.values())
                continue
            if waits(tool, arguments):
                skipped["wait or interrupt"] += 1
                continue
            command = grammar.checked(*own_call(tool, arguments))
            steps.append(ExpertStep(command.text, thought=thought, observation=_seen(seen)))
            thought = ""
        carried = thought
    return tuple(steps), skipped


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


def _turns(messages: list[Message]) -> Iterator[tuple[Message, list[Message]]]:
    """Each message of the agent, and the messages that answer it."""
    starts = [
        number for number, message in enumerate(messages) if message.get("role") == "assistant"
    ]
    for start, end in zip(
        starts, [*starts[1:], len(messages)], strict=False
    ):  # without any start there is one end
        yield messages[start], messages[start + 1 : end]


def _calls_of(
    turn: Message, replies: list[Message], grammar: Grammar
) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """The thought of a turn, and tool and arguments of each of its calls.

    Several tool calls were run only if each was answered, or if the last one ended the
    work.
    """
    calls = turn.get("tool_calls")
    text = turn["content"]
    if grammar.name not in TOOL_CALLS or not isinstance(calls, list) or not calls:
        answer = _closed(_without_thought(text))
        start, tool, arguments = grammar.find(answer)
        before = text.rpartition("</think>")[0] + answer[:start].removesuffix("<tool_call>\n")
        return _join(turn.get("reasoning", ""), before), [(tool, arguments)]
    answered = sum(reply.get("role") == "tool" for reply in replies)
    ended = any(reply.get("role") == "exit" for reply in replies) or not replies
    if len(calls) > 1 and answered < len(calls) and not ended:
        raise CommandError("several commands", f"There are {len(calls)} tool calls.")
    return _join(turn.get("reasoning", ""), text), [name_and_arguments(call) for call in calls]


def _observations(turn: Message, replies: list[Message], count: int) -> list[str]:
    """The reply to each command of the turn: by the call's id if replies name it, else in order."""
    if count == 1:
        return ["\n\n".join(reply["content"] for reply in replies)]
    by_id = {
        name: reply["content"] for reply in replies if (name := _name(reply.get("tool_call_id")))
    }
    in_order = [*(reply["content"] for reply in replies), *[""] * count]
    return [
        by_id.get(_name(call.get("id")), "") if by_id else in_order[number]
        for number, call in enumerate(turn["tool_calls"])
    ]


def _name(value: object) -> str:
    """The id of a tool call; empty if it is none, as any other value than text is."""
    return value if isinstance(value, str) else ""


def _seen(text: str) -> str:
    """An observation without the words with which an agent hands it over."""
    response = _RESPONSE.match(text)
    return _PREFIX.sub("", response[1] if response else text, count=1)


def _closed(text: str) -> str:
    """A text with the ``</function>`` at which its agent stopped the model, and which it lacks."""
    call = text.rfind("<function=")
    if call < 0 or "</function>" in text[call:] or not (end := _STOPPED.search(text, call)):
        return text
    return f"{text[: end.start()]}</parameter>\n</function>"


def _without_thought(text: str) -> str:
    """What follows ``</think>``: a thought may mention commands."""
    return text.rpartition("</think>")[2]


def _join(*parts: str) -> str:
    return "\n\n".join(stripped for part in parts if (stripped := part.strip()))

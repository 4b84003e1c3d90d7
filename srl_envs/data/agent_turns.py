"""Chat messages of a coding agent -> trajectories, for SWE-smith and mini-swe-agent alike.

A turn whose text holds no command of its grammar is left out together with the
complaint that answered it: nothing ran, so the next turn follows as well without it.
How many were left out stands in the metadata as ``skipped_turns``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from srl_envs.commands import GRAMMARS, TOOL_CALLS, Command, CommandError
from srl_envs.trajectory import ExpertStep, Trajectory

Message = Mapping[str, Any]

_ISSUE = re.compile(
    r"<pr_description>\s*(?:Consider the following PR description:\s*)?(.*?)\s*</pr_description>",
    re.DOTALL,
)
_WORKDIR = re.compile(r"<uploaded_files>\s*(/\S+)\s*</uploaded_files>")
_REPOSITORY = re.compile(r"([\w.-]+?)__([\w.-]+?)(?:\.[0-9a-f]{8}\..+|-\d+)")


def read_conversations(
    rows: Iterable[Mapping[str, Any]],
    rejected: Counter[str],
    *,
    unsolved: Callable[[Mapping[str, Any]], str],
    id_columns: tuple[str, ...],
    fenced: str,
    tool_calls: str,
    observation: Callable[[str], str] = str,
    parallel: bool = False,
) -> Iterator[Trajectory]:
    """Rows with a column ``messages`` -> trajectories; what is left out is counted in ``rejected``.

    Args:
        rows: See the sources.
        rejected: Counts by reason.
        unsolved: Why a row is to be left out; empty if it is not.
        id_columns: The first of these that a row has is the trajectory's id, with a
            count where it comes again.
        fenced: The grammar of a row that has neither tool calls nor XML.
        tool_calls: The grammar of a row that has tool calls.
        observation: See :func:`steps_of`, as ``parallel``.
        parallel: See there.
    """
    seen: Counter[str] = Counter()
    for row in rows:
        messages = messages_of(row.get("messages"))
        issue, workdir = task_of(messages or [])
        if reason := unsolved(row) or (
            "no messages" if messages is None else "" if issue else "no issue"
        ):
            rejected[reason] += 1
            continue
        grammar = grammar_of(messages or [], fenced, tool_calls)
        steps, skipped = steps_of(messages or [], grammar, observation, parallel)
        if not steps:
            rejected["no command"] += 1
            continue
        name = next(
            (
                row[column]
                for column in id_columns
                if isinstance(row.get(column), str) and row[column]
            ),
            "trajectory",
        )
        seen[name] += 1
        metadata = {
            **origin_of(row),
            "grammar": grammar,
            "workdir": workdir,
            "skipped_turns": skipped,
        }
        yield Trajectory(
            name if seen[name] == 1 else f"{name}-{seen[name]}",
            issue,
            steps,
            domain="swe",
            metadata=metadata,
        )


def messages_of(value: object) -> list[Message] | None:
    """A column ``messages``, a list or the JSON of one, as a list; None if it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return (
        value
        if isinstance(value, list) and value and all(isinstance(message, dict) for message in value)
        else None
    )


def text_of(message: Message) -> str:
    """The text of a message: its content, or the text parts of it."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def task_of(messages: list[Message]) -> tuple[str, str]:
    """The issue that the first user message states, and the folder of the repository.

    The issue is what stands inside ``<pr_description>``, without the line that
    introduces it; else the whole message. The folder is ``/testbed`` unless the message
    names another one.
    """
    task = next((text_of(message) for message in messages if message.get("role") == "user"), "")
    issue, workdir = _ISSUE.search(task), _WORKDIR.search(task)
    return (issue[1] if issue else task.strip()), (workdir[1] if workdir else "/testbed")


def grammar_of(messages: list[Message], fenced: str, tool_calls: str) -> str:
    """The grammar of most turns: XML, or the agent's for tool calls, or else for fenced blocks."""
    turns = [message for message in messages if message.get("role") == "assistant"]
    if any(message.get("tool_calls") for message in turns):
        return tool_calls
    return (
        "xml"
        if sum("<function=" in text_of(message) for message in turns) * 2 > len(turns)
        else fenced
    )


def steps_of(
    messages: list[Message],
    grammar: str,
    observation: Callable[[str], str] = str,
    parallel: bool = False,
) -> tuple[tuple[ExpertStep, ...], int]:
    """The steps of a conversation, and how many turns were left out because they hold no command.

    Args:
        messages: The whole conversation.
        grammar: A name of :data:`srl_envs.commands.GRAMMARS`.
        observation: Makes the observation of the text that answered a command.
        parallel: The agent runs all tool calls of a message; each is then a step of its
            own. Otherwise such a turn is left out.
    """
    steps: list[ExpertStep] = []
    skipped = 0
    for turn, replies in _turns(messages):
        try:
            thought, commands = _commands(turn, grammar, parallel)
        except CommandError:
            skipped += 1
            continue
        for command, seen in zip(
            commands, _observations(turn, replies, len(commands)), strict=True
        ):
            steps.append(ExpertStep(command.text, thought=thought, observation=observation(seen)))
            thought = ""
    return tuple(steps), skipped


def origin_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Where the task comes from, as far as the row or its id says.

    The keys are ``instance_id``, ``repo`` (owner/name), ``base_commit`` and ``model``.


    SWE-smith's ids hold a commit too, but the task's bug was put in after it: that is
    no ``base_commit``.
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


def _commands(turn: Message, grammar: str, parallel: bool) -> tuple[str, list[Command]]:
    calls = turn.get("tool_calls")
    if grammar not in TOOL_CALLS or not isinstance(calls, list) or not calls:
        thought, command = GRAMMARS[grammar].split(text_of(turn))
        return thought, [command]
    if len(calls) > 1 and not parallel:
        raise CommandError("several commands", f"There are {len(calls)} tool calls.")
    return text_of(turn).strip(), [TOOL_CALLS[grammar].of_call(call) for call in calls]


def _observations(turn: Message, replies: list[Message], count: int) -> list[str]:
    """The reply to each command of the turn: by the call's id if replies name it, else in order."""
    if count == 1:
        return ["\n\n".join(map(text_of, replies))]
    by_id = {
        name: text_of(reply) for reply in replies if (name := _name(reply.get("tool_call_id")))
    }
    in_order = [*map(text_of, replies), *[""] * count]
    return [
        by_id.get(_name(call.get("id")), "") if by_id else in_order[number]
        for number, call in enumerate(turn["tool_calls"])
    ]


def _name(value: object) -> str:
    """The id of a tool call; empty if it is none, as any other value than text is."""
    return value if isinstance(value, str) else ""

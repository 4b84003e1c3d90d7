"""The turns of a coding agent's conversation -> steps.

A turn whose text holds no command, or several where one is asked for, is left out
together with the complaint that answered it: nothing ran, so the next turn follows as
well without it. A tool that runs nothing (``think``) is left out, and what it was given
is part of the next thought; so is a call that only waits for a running command or
interrupts it. All of these are counted. Any other turn that cannot be read rejects its
row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from srl_envs.commands import (
    TOOL_CALLS,
    CommandError,
    Grammar,
)
from srl_envs.commands.tool_call import ToolCalls, name_and_arguments
from srl_envs.data.agent_tools import IDLE_TOOLS, own_call, waits
from srl_envs.data.chat import Message
from srl_envs.trajectory import ExpertStep

_PREFIX = re.compile(
    r"\A(?:(?:OBSERVATION|Observation)|EXECUTION RESULT of \[[\w.-]+\]|"
    r"(?:Exit code: 0\n)?Execution output of \[[\w.-]+\]):[ \n]?"
)
_RESPONSES = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
_RESPONSE = re.compile(r"\A\s*<tool_response>\n?(.*?)\n?</tool_response>\s*\Z", re.DOTALL)
_STOPPED = re.compile(r"</parameter>\s*(?:</(?:function)?)?\Z")
_COMMAND = re.compile(r"(.*)<command>(.*?)</command>(.*)", re.DOTALL)
_TICKS = re.compile(r"^`{3,}", re.MULTILINE)
_MAY_BE_SKIPPED = ("no command", "several commands")


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


def with_fences(messages: list[Message]) -> list[Message]:
    """Messages whose commands in ``<command>`` tags, as early SWE-agents wrote them, are fenced.

    The last command of a turn counts. They are left as they are if most turns have none.
    """
    turns = [one["content"] for one in messages if one.get("role") == "assistant"]
    if sum(_COMMAND.fullmatch(without_thought(text)) is not None for text in turns) * 2 <= len(
        turns
    ):
        return messages
    return [
        {**one, "content": _fenced(one["content"])} if one.get("role") == "assistant" else one
        for one in messages
    ]


def _fenced(text: str) -> str:
    answer = without_thought(text)
    if not (found := _COMMAND.fullmatch(answer)):
        return text
    command = found[2].strip()
    fence = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(command))])
    said = _join(found[1], found[3])
    return f"{text[: len(text) - len(answer)]}{said}\n\n{fence}\n{command}\n{fence}"


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
    if isinstance(grammar, ToolCalls) and not calls:
        answer = without_thought(text)
        written = grammar.find_all(answer)
        answered = sum(reply["content"].count("<tool_response>") for reply in replies)
        if 1 < len(written) == answered:
            before = text.rpartition("</think>")[0] + answer[: written[0][0]]
            thought = _join(turn.get("reasoning", ""), before.removesuffix("<tool_call>\n"))
            return thought, [(tool, arguments) for _, tool, arguments in written]
    if grammar.name not in TOOL_CALLS or not isinstance(calls, list) or not calls:
        answer = _closed(without_thought(text))
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
    if not turn.get("tool_calls"):
        return _RESPONSES.findall("\n".join(reply["content"] for reply in replies))
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


def without_thought(text: str) -> str:
    """What follows ``</think>``: a thought may mention commands."""
    return text.rpartition("</think>")[2]


def _join(*parts: str) -> str:
    return "\n\n".join(stripped for part in parts if (stripped := part.strip()))

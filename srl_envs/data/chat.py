"""Conversations of coding agents as people publish them -> chat messages in one shape.

What is read:

* chat messages (``role``, ``content``, ``tool_calls``, ``tool_call_id``), also with a
  single ``function_call``, and ShareGPT's ``from`` and ``value``;
* nebius' ``role`` and ``text``, where the agent is ``ai``;
* Anthropic's content parts ``tool_use`` and ``tool_result``;
* items of OpenAI's Responses API (``function_call``, ``function_call_output``), flat or
  inside a ``response``, as mini-swe-agent 2 saves them;
* OpenHands' events (:mod:`srl_envs.data.openhands_events`);
* SWE-agent's ``.traj``: its ``history`` without demonstrations, else its steps.

A column may be a list, or the JSON of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from srl_envs.data.openhands_events import are_events, messages_of_events

Message = Mapping[str, Any]
"""``role``, ``content`` (text), and where there are any ``reasoning`` (text), ``tool_calls``
(a list) and ``tool_call_id``."""

COLUMNS = ("messages", "history", "trajectory", "conversations")
"""Where a row has its conversation: the first of these that holds one."""

_FOREIGN = (
    ({"sessionId", "type", "uuid"}, "a line of a Claude Code session"),
    ({"timestamp", "type", "payload"}, "a line of a Codex session"),
    ({"responses_create_params"}, "a row of NeMo Gym"),
    ({"id", "content", "details"}, "a row of the agent data protocol"),
)
"""Records of other programs, by their keys."""

_ROLES = {
    "ai": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "model": "assistant",
    "human": "user",
    "function": "tool",
    "observation": "tool",
}


def foreign(row: Mapping[str, Any]) -> str:
    """What a row is that belongs to a format which is not read; empty if it is not known."""
    if any(column in row for column in COLUMNS):
        return ""
    return next((f"{name} is not read" for keys, name in _FOREIGN if keys <= row.keys()), "")


def messages_of(row: Mapping[str, Any]) -> list[Message] | None:
    """The conversation of a row; None if it holds none.

    Raises:
        UnknownFormatError: It is in a format that is not read (see
            :mod:`srl_envs.data.openhands_events`).
    """
    for column in COLUMNS:
        value = _parsed(row.get(column))
        if isinstance(value, list) and are_events(value):
            value = list(messages_of_events([item for item in value if isinstance(item, dict)]))
        if (
            isinstance(value, list)
            and all(isinstance(item, dict) for item in value)
            and (messages := _joined(value))
        ):
            return messages
    return None


def text_of(content: object) -> str:
    """The text of a message's content: the content itself, or its text parts."""
    if isinstance(content, list):
        return "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _joined(items: list[dict[str, Any]]) -> list[Message]:
    """The messages of all items; a call that follows its agent's message belongs to it."""
    messages: list[Message] = []
    for item in items:
        for message in _messages(item):
            last = messages[-1] if messages else {}
            if "joins" in message and last.get("role") == "assistant":
                messages[-1] = {
                    "role": "assistant",
                    "content": "".join((last["content"], message["content"])),
                    "reasoning": "".join((last.get("reasoning", ""), message.get("reasoning", ""))),
                    "tool_calls": [*last.get("tool_calls", ()), *message.get("tool_calls", ())],
                }
            else:
                messages.append(message)
    return messages


def _messages(item: Mapping[str, Any]) -> Iterator[Message]:
    """The messages of one item; those with the key ``joins`` continue the agent's turn."""
    if item.get("is_demo"):
        return
    kind = item.get("type")
    if item.get("object") == "response" and isinstance(item.get("output"), list):
        for part in item["output"]:
            if isinstance(part, dict):
                yield from _messages(part)
    elif kind == "function_call":
        call = {"id": item.get("call_id"), "function": _named(item, ("name", "arguments"))}
        yield {"role": "assistant", "content": "", "tool_calls": [call], "joins": True}
    elif kind == "function_call_output":
        yield {
            "role": "tool",
            "content": text_of(item.get("output")),
            "tool_call_id": item.get("call_id"),
        }
    elif kind == "reasoning":
        text = text_of(item.get("summary")) or text_of(item.get("content"))
        yield {"role": "assistant", "content": "", "reasoning": text, "joins": True}
    elif "role" not in item and "from" not in item and "response" in item:
        yield from _step_of_traj(item)
    else:
        yield from _chat_message(item)


def _chat_message(item: Mapping[str, Any]) -> Iterator[Message]:
    role = item.get("role") or item.get("from")
    role = _ROLES.get(role.lower(), role.lower()) if isinstance(role, str) else ""
    content = next(
        (item[key] for key in ("content", "text", "value", "system_prompt") if item.get(key)), ""
    )
    parts = [part for part in content if isinstance(part, dict)] if type(content) is list else []
    for part in parts:
        if part.get("type") == "tool_result":
            seen = text_of(part.get("content"))
            yield {"role": "tool", "content": seen, "tool_call_id": part.get("tool_use_id")}
    text = text_of(content)
    if any(part.get("type") == "tool_result" for part in parts) and not text:
        return
    message: dict[str, Any] = {"role": role, "content": text}
    if reasoning := text_of(item.get("reasoning_content")):
        message["reasoning"] = reasoning
    if calls := [
        *_calls(item),
        *(_tool_use(part) for part in parts if part.get("type") == "tool_use"),
    ]:
        message["tool_calls"] = calls
    if isinstance(item.get("tool_call_id"), str):
        message["tool_call_id"] = item["tool_call_id"]
    if item.get("type") == "message" and role == "assistant":
        message["joins"] = True
    yield message


def _calls(item: Mapping[str, Any]) -> list[Any]:
    calls = _parsed(item.get("tool_calls"))
    if isinstance(calls, list) and calls:
        return calls
    call = item.get("function_call")
    return [{"function": call}] if isinstance(call, dict) and call.get("name") else []


def _tool_use(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": part.get("id"),
        "function": {"name": part.get("name"), "arguments": part.get("input")},
    }


def _step_of_traj(step: Mapping[str, Any]) -> Iterator[Message]:
    """A step of a ``.traj`` without history: its first one holds what the agent was asked."""
    query = step.get("query")
    if isinstance(query, list) and not any(
        isinstance(message, dict) and message.get("role") == "assistant" for message in query
    ):
        for message in query:
            if isinstance(message, dict):
                yield from _messages(message)
    yield {"role": "assistant", "content": text_of(step.get("response"))}
    yield {"role": "user", "content": text_of(step.get("observation"))}


def _named(item: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: item.get(name) for name in names}

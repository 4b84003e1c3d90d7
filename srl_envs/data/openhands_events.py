"""OpenHands' own records: a list of events -> chat messages.

Its evaluations write one row for each instance, with the events as ``history``; a saved
trajectory is the bare list. Each action of the agent holds the model's whole response,
and each observation the id of the tool call that it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NOT_THE_MODELS = ("system", "recall", "change_agent_state", "condensation", "null")


class UnknownFormatError(ValueError):
    """A conversation is in a format that is known by name, and not read."""


def are_events(items: Iterable[Any]) -> bool:
    """Whether items are OpenHands' events and not messages.

    Raises:
        UnknownFormatError: They are, of a version whose events do not hold the model's
            calls.
    """
    if any(_has_one(item, "kind") and _has_one(item, "source") for item in items):
        raise UnknownFormatError("events of OpenHands' SDK are not read: export messages")
    pairs = (one for item in items if isinstance(item, list) for one in item)
    kinds = ("action", "observation")
    if any(_has_one(one, kind) for one in pairs for kind in kinds):
        raise UnknownFormatError("OpenHands' events in pairs are not read: export messages")
    return any(_has_one(item, kind) and "role" not in item for item in items for kind in kinds)


def messages_of_events(events: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The conversation that the model had.

    Raises:
        UnknownFormatError: An action of the agent does not hold the model's call.
    """
    seen = set()
    for event in events:
        call = event.get("tool_call_metadata")
        arguments = event.get("args")
        arguments = arguments if isinstance(arguments, dict) else {}
        if isinstance(event.get("observation"), str):
            if isinstance(call, dict):
                yield {
                    "role": "tool",
                    "content": _observed(event),
                    "tool_call_id": call.get("tool_call_id"),
                }
        elif event.get("action") == "message":
            role = "assistant" if event.get("source") == "agent" else "user"
            yield {"role": role, "content": str(arguments.get("content") or "")}
        elif event.get("source") == "user" or event.get("action") in _NOT_THE_MODELS:
            continue
        elif (response := _response(call)) is None:
            raise UnknownFormatError(
                "OpenHands' events without tool_call_metadata are not read: export messages"
            )
        elif response[0] not in seen:  # calls of one response are an event each
            seen.add(response[0])
            yield response[1]


def _response(call: object) -> tuple[object, dict[str, Any]] | None:
    """Id and message of the model's response; None if the event does not hold it."""
    response = call.get("model_response") if isinstance(call, dict) else None
    try:
        message = response["choices"][0]["message"]  # type: ignore[index]
        return response["id"], {**message, "role": "assistant"}  # type: ignore[index]
    except (TypeError, KeyError, IndexError):
        return None


def _observed(event: Mapping[str, Any]) -> str:
    """What the model was shown of an observation."""
    extras = event.get("extras")
    extras = extras if isinstance(extras, dict) else {}
    content = str(event.get("content") or "")
    if event["observation"] == "edit":
        return str(extras.get("formatted_output_and_error") or content)
    told = extras.get("metadata")
    if event["observation"] != "run" or not isinstance(told, dict):
        return content
    lines = [f"{told.get('prefix') or ''}{content}{told.get('suffix') or ''}"]
    if folder := told.get("working_dir"):
        lines.append(f"[Current working directory: {folder}]")
    if python := told.get("py_interpreter_path"):
        lines.append(f"[Python interpreter: {python}]")
    if told.get("exit_code", -1) != -1:
        lines.append(f"[Command finished with exit code {told['exit_code']}]")
    return "\n".join(lines)


def _has_one(item: object, key: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get(key), str)

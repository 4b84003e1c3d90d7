"""Tool calls as JSON: SWE-smith's split ``tool``, mini-swe-agent 2, and native tool calls.

    {"name": "str_replace_editor", "arguments": {"command": "view", "path":
    "/testbed/setup.py", "view_range": [1, 40]}}

* This is the canonical text. OpenAI's form (``{"type": "function", "function": {"name":
  ..., "arguments": "<JSON>"}}``) and tags around the object (``<tool_call>``) are read
  as well.
* ``tool`` has all tools, ``bash_tool`` only ``bash``, as in mini-swe-agent.
* A text must hold exactly one call, as SWE-agent asks for; a message may carry more,
  each of which :meth:`ToolCalls.of_call` reads.
* Lists and numbers become text in a :class:`~srl_envs.commands.Command` (``"[1, 40]"``)
  and are lists and numbers again in its canonical text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from srl_envs.commands.command import TOOLS, Command, CommandError, Grammar

_START = re.compile(r'\{\s*"(?:name|arguments|type|function|id)"\s*:')
# Bounds the work of a text with thousands of starts of objects: each may be read to the text's end.
_MAX_INCOMPLETE = 50
_NOT_TEXT = ("insert_line", "view_range")
_TEXT = ("command", "path", "file_text", "old_str", "new_str", "insert_text")
_DECODER = json.JSONDecoder()
_INSTRUCTIONS = """Format: one JSON object,
{"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}
with view_range as a list of two numbers and insert_line as a number."""
_SHELL_INSTRUCTIONS = """Format: one JSON object,
{"name": "bash", "arguments": {"command": "SHELL COMMAND"}}"""


class ToolCalls(Grammar):
    """See the module.

    Args:
        name: ``"tool"`` (SWE-agent) or ``"bash_tool"`` (mini-swe-agent).
    """

    def __init__(self, name: Literal["tool", "bash_tool"]) -> None:
        super().__init__(name, {"bash": TOOLS["bash"]} if name == "bash_tool" else TOOLS)
        self.fresh_shell = name == "bash_tool"
        self.instructions = _SHELL_INSTRUCTIONS if name == "bash_tool" else _INSTRUCTIONS

    def find(self, text: str) -> tuple[int, str, dict[str, str]]:
        """See :meth:`Grammar.find`."""
        found = self.find_all(text)
        if len(found) > 1:
            raise CommandError(
                "several commands", f"There are {len(found)} tool calls: write exactly one."
            )
        if not found:
            raise CommandError(
                "no command", 'There is no tool call: write {"name": ..., "arguments": {...}}.'
            )
        return found[0]

    def find_all(self, text: str) -> list[tuple[int, str, dict[str, str]]]:
        """Where each tool call of a text starts, its tool and its arguments, unchecked.

        Raises:
            CommandError: A call has no name or no arguments, or too many are not
                complete, or the only one is not.
        """
        found: list[tuple[int, str, dict[str, str]]] = []
        position, incomplete = 0, 0
        while (start := _START.search(text, position)) is not None:
            try:
                value, position = _DECODER.raw_decode(text, start.start())
            except (ValueError, RecursionError):
                position, incomplete = start.end(), incomplete + 1
                if incomplete > _MAX_INCOMPLETE:
                    raise CommandError(
                        "unclosed",
                        f"More than {_MAX_INCOMPLETE} tool calls begin that are not complete "
                        "JSON objects.",
                    ) from None
                continue
            found.append((start.start(), *name_and_arguments(value)))
        if not found and incomplete:
            raise CommandError("unclosed", "A tool call is not a complete JSON object.")
        return found

    def of_call(self, call: object) -> Command:
        """The command of one entry of a chat message's ``tool_calls``.

        Raises:
            CommandError: It has another shape, or names an unknown tool or argument.
        """
        return self.checked(*name_and_arguments(call))

    def write(self, tool: str, arguments: Mapping[str, str]) -> str:
        """See :meth:`Grammar.write`."""
        values = {name: _json_value(name, value) for name, value in arguments.items()}
        return json.dumps({"name": tool, "arguments": values}, ensure_ascii=False)


def name_and_arguments(call: object) -> tuple[str, dict[str, str]]:
    """Tool and arguments, unchecked, of an entry of a chat message's ``tool_calls``.

    Raises:
        CommandError: It has another shape.
    """
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise CommandError("malformed", "A tool call has no name.")
    arguments: Any = function.get("arguments", {})
    try:
        if isinstance(arguments, str):
            arguments = json.loads(arguments) if arguments.strip() else {}
        if isinstance(arguments, dict):
            if wrong := [one for one in _TEXT if isinstance(arguments.get(one), list | dict)]:
                raise CommandError(
                    "malformed",
                    f"{wrong[0]} of {function['name'][:80]} must be text.",
                    f"{function['name'][:80]}.{wrong[0]}",
                )
            return function["name"], {
                name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for name, value in arguments.items()
                if value is not None  # as a table's rows write an argument that is not given
            }
    except CommandError:  # a ValueError too
        raise
    except (ValueError, RecursionError):
        pass
    raise CommandError(
        "malformed",
        f"The arguments of the tool call {function['name'][:80]!r} are not a JSON object.",
    )


def _json_value(name: str, value: str) -> Any:
    """The value as JSON has it, where that gives the same text back."""
    if name in _NOT_TEXT:
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if not isinstance(read, str) and json.dumps(read, ensure_ascii=False) == value:
            return read
    return value

r"""SWE-agent's XML function calls: the grammar of SWE-smith's split ``xml``.

    <function=str_replace_editor>
    <parameter=command>view</parameter>
    <parameter=path>/testbed/setup.py</parameter>
    </function>

* Of several calls in one text the first complete one counts, as in SWE-agent; a mention
  of a tag in the prose is not a call.
* A value ends at the first ``</parameter>`` that another ``<parameter=NAME>`` or
  ``</function>`` follows, so that values may hold such tags. A value that holds
  just this end cannot be written, and :meth:`~srl_envs.commands.Grammar.command` says
  so.
* One newline after ``<parameter=NAME>`` and one before ``</parameter>`` belong to the
  scaffold (``\r\n`` where both are); further ones to the value. Canonically they stand
  around ``old_str``, ``new_str`` and ``file_text``, as in SWE-smith, and around a value
  that itself has newlines at its ends.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal

from srl_envs.commands.command import TOOLS, CommandError, Grammar, Tool

_START = re.compile(r"<function=([\w.-]+)>\s*")
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>")
_VALUE_END = re.compile(r"</parameter>\s*(?=<parameter=[\w.-]+>|</function>)")
_MAX_PARAMETERS = (
    20  # more than any tool has: a bound on the work that each start of a call in a text can cause
)
_BLOCKS = ("old_str", "new_str", "file_text")

SEARCH = Tool(
    required=("search_term",),
    optional=("path", "python_only"),
    description="finds a text. Arguments: search_term, and optionally path: in a file the lines "
    "with it are shown, in a folder (without a path the one you are in) how many lines of each "
    "Python file have it.",
)
"""R2E-Gym's search. Whatever ``python_only`` is, that tool looks into Python files alone."""

_INSTRUCTIONS = """Format:
<function=TOOL>
<parameter=ARGUMENT>VALUE</parameter>
</function>
with one parameter line for each argument; a value may have several lines."""


class XmlFunctionCalls(Grammar):
    """See the module.

    Args:
        name: ``"xml"`` (SWE-agent, OpenHands) or ``"r2e"`` (R2E-Gym, which has the tool
            ``search`` as well).
    """

    instructions = _INSTRUCTIONS

    def __init__(self, name: Literal["xml", "r2e"] = "xml") -> None:
        super().__init__(name, TOOLS if name == "xml" else {**TOOLS, "search": SEARCH})

    def find(self, text: str) -> tuple[int, str, dict[str, str]]:
        """See :meth:`Grammar.find`."""
        first_error: CommandError | None = None
        tags = _Tags(text)
        for start in _START.finditer(text):
            try:
                return start.start(), start[1], _arguments(tags, start.end())
            except CommandError as error:
                first_error = first_error or error
        raise first_error or CommandError(
            "no command",
            "There is no function call: write <function=NAME>, its parameters, </function>.",
        )

    def write(self, tool: str, arguments: Mapping[str, str]) -> str:
        """See :meth:`Grammar.write`."""
        lines = [
            f"<parameter={name}>{_scaffolded(name, value)}</parameter>\n"
            for name, value in arguments.items()
        ]
        return f"<function={tool}>\n{''.join(lines)}</function>"


class _Tags:
    """Where the tags of a text are, found once.

    A search from each of thousands of starts would take quadratic time.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.parameters = {match.start(): match for match in _PARAMETER.finditer(text)}
        self.value_ends = [(match.start(), match.end()) for match in _VALUE_END.finditer(text)]
        self.last_close = text.rfind("</function>")

    def value_end(self, position: int) -> tuple[int, int] | None:
        """Start and end of the first end of a value from a position on."""
        index = bisect_left(self.value_ends, (position, 0))
        return self.value_ends[index] if index < len(self.value_ends) else None


def _arguments(tags: _Tags, position: int) -> dict[str, str]:
    values: dict[str, slice] = {}
    while not tags.text.startswith("</function>", position):
        parameter = tags.parameters.get(position)
        if parameter is None:
            if tags.last_close >= position:
                raise CommandError(
                    "malformed", "A function call holds something other than parameters."
                )
            raise CommandError("unclosed", "A function call is not closed by </function>.")
        end = tags.value_end(parameter.end())
        if end is None:
            raise CommandError(
                "unclosed",
                f"The parameter {parameter[1][:80]!r} is not closed by </parameter> and a further "
                "parameter or </function>.",
            )
        if parameter[1] in values:
            raise CommandError("malformed", f"The parameter {parameter[1][:80]!r} is given twice.")
        if len(values) == _MAX_PARAMETERS:
            raise CommandError(
                "malformed", f"A function call has more than {_MAX_PARAMETERS} parameters."
            )
        values[parameter[1]] = slice(parameter.end(), end[0])
        position = end[1]
    return {name: _value(tags.text[span]) for name, span in values.items()}


def _value(raw: str) -> str:
    newline = "\r\n" if raw.startswith("\r\n") else "\n"
    return raw.removeprefix(newline).removesuffix(newline)


def _scaffolded(name: str, value: str) -> str:
    at_ends = value.startswith(("\n", "\r\n")) or value.endswith("\n")
    return f"\n{value}\n" if name in _BLOCKS or at_ends else value

r"""SWE-agent's XML function calls: the grammar of SWE-smith's split ``xml``.

    <function=str_replace_editor>
    <parameter=command>view</parameter>
    <parameter=path>/testbed/setup.py</parameter>
    </function>

* Of several calls in one text the first complete one counts, as in SWE-agent; a mention of a tag in the prose is no call.
* A value ends at the first ``</parameter>`` that another ``<parameter=NAME>`` or ``</function>`` follows, so that such tags may stand inside values.
  A value that holds just this end cannot be written, and :meth:`~srl_envs.commands.Grammar.command` says so.
* One newline after ``<parameter=NAME>`` and one before ``</parameter>`` belong to the scaffold (``\r\n`` where both are); further ones to the value.
  Canonically they stand around ``old_str``, ``new_str`` and ``file_text``, as in SWE-smith, and around a value that itself has newlines at its ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from srl_envs.commands.command import TOOLS, CommandError, Grammar

_START = re.compile(r"<function=([\w.-]+)>\s*")
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>")
_VALUE_END = re.compile(r"</parameter>\s*(?=<parameter=[\w.-]+>|</function>)")
_BLOCKS = ("old_str", "new_str", "file_text")


class XmlFunctionCalls(Grammar):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("xml", TOOLS)

    def find(self, text: str) -> tuple[int, str, dict[str, str]]:
        """See :meth:`Grammar.find`."""
        first_error: CommandError | None = None
        for start in _START.finditer(text):
            try:
                return start.start(), start[1], _arguments(text, start.end())
            except CommandError as error:
                first_error = first_error or error
        raise first_error or CommandError("no command", "There is no function call: write <function=NAME>, its parameters, </function>.")

    def write(self, tool: str, arguments: Mapping[str, str]) -> str:
        """See :meth:`Grammar.write`."""
        lines = [f"<parameter={name}>{_scaffolded(name, value)}</parameter>\n" for name, value in arguments.items()]
        return f"<function={tool}>\n{''.join(lines)}</function>"


def _arguments(text: str, position: int) -> dict[str, str]:
    arguments: dict[str, str] = {}
    while not text.startswith("</function>", position):
        parameter = _PARAMETER.match(text, position)
        if parameter is None:
            if "</function>" in text[position:]:
                raise CommandError("malformed", "A function call holds something else than parameters.")
            raise CommandError("unclosed", "A function call is not closed by </function>.")
        end = _VALUE_END.search(text, parameter.end())
        if end is None:
            raise CommandError("unclosed", f"The parameter {parameter[1]!r} is not closed by </parameter> and a further parameter or </function>.")
        if parameter[1] in arguments:
            raise CommandError("malformed", f"The parameter {parameter[1]!r} is given twice.")
        arguments[parameter[1]] = _value(text[parameter.end() : end.start()])
        position = end.end()
    return arguments


def _value(raw: str) -> str:
    newline = "\r\n" if raw.startswith("\r\n") else "\n"
    return raw.removeprefix(newline).removesuffix(newline)


def _scaffolded(name: str, value: str) -> str:
    at_ends = value.startswith(("\n", "\r\n")) or value.endswith("\n")
    return f"\n{value}\n" if name in _BLOCKS or at_ends else value

r"""The action grammars of software-engineering agents: each reads one :class:`Command` from a text, and writes it.

>>> GRAMMARS["bash"].parse("Let us look.\n```bash\nls\n```").arguments
{'command': 'ls'}
"""

from collections.abc import Mapping

from srl_envs.commands.command import (
    SUBMIT_MARKERS,
    TOOLS,
    Command,
    CommandError,
    Grammar,
    Scored,
    Tool,
)
from srl_envs.commands.fenced import FencedBlocks
from srl_envs.commands.tool_call import ToolCalls
from srl_envs.commands.xml import XmlFunctionCalls
from srl_envs.errors import ConfigError

TOOL_CALLS: Mapping[str, ToolCalls] = {
    "tool": ToolCalls("tool"),
    "bash_tool": ToolCalls("bash_tool"),
}
"""Those of :data:`GRAMMARS` that read the entries of a chat message's ``tool_calls``, too."""

GRAMMARS: Mapping[str, Grammar] = {
    "xml": XmlFunctionCalls(),
    "tool": TOOL_CALLS["tool"],
    "ticks": FencedBlocks("ticks"),
    "bash": FencedBlocks("bash"),
    "bash_tool": TOOL_CALLS["bash_tool"],
}
"""By name: SWE-smith's three splits, then mini-swe-agent's fenced bash (version 1) and tool calls (version 2)."""

__all__ = [
    "GRAMMARS",
    "SUBMIT_MARKERS",
    "TOOLS",
    "TOOL_CALLS",
    "Command",
    "CommandError",
    "Grammar",
    "Scored",
    "Tool",
    "grammar_named",
    "scored_text",
]


def grammar_named(name: str) -> Grammar:
    """A grammar of :data:`GRAMMARS`.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in GRAMMARS:
        raise ConfigError(f"grammar is {name!r}: use one of {', '.join(map(repr, GRAMMARS))}.")
    return GRAMMARS[name]


def scored_text(text: str, grammar: str, scored: Scored = "action") -> str:
    """What of a text is compared: the command in it, without prose; the text itself if it holds none.

    Apply it to the expert's action and to the model's alike, so that spelling (white
    space of the scaffold, key order of an outer JSON object) costs nothing.

    Args:
        text: An action: the answer after ``</think>``.
        grammar: A name of :data:`GRAMMARS`.
        scored: See :meth:`Command.scored`.

    Raises:
        ConfigError: There is no such grammar.
    """
    try:
        return grammar_named(grammar).parse(text).scored(scored)
    except CommandError:
        return text

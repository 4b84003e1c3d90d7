r"""Grammars of actions: each reads one :class:`Command` from a text, and writes it.

>>> GRAMMARS["bash"].parse("Let us look.\n```bash\nls\n```").arguments
{'command': 'ls'}
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
from srl_envs.registry import Registry

GrammarT = TypeVar("GrammarT", bound=type[Grammar])


def _grammar(name: str, given: Any) -> Grammar:
    grammar = given() if isinstance(given, type) else given
    if not isinstance(grammar, Grammar) or grammar.name != name:
        raise ConfigError(f"The grammar {name!r} is {given!r}: give a Grammar of that name.")
    if not getattr(grammar, "instructions", ""):
        raise ConfigError(f"The grammar {name!r} has no instructions: say how to write a command.")
    return grammar


GRAMMARS: Registry[Grammar] = Registry("grammar", "srl_envs.grammars", _grammar)
"""By name: those of SWE-smith's three splits (``xml``, ``tool``, ``ticks``), of mini-swe-agent
(``bash`` and ``mswea_bash`` in text, ``bash_tool`` in tool calls), of R2E-Gym (``r2e``) and of
SWE-agent before 1.0 (``swe_agent_0``), then registered ones."""


def register_grammar(name: str) -> Callable[[GrammarT], GrammarT]:
    """Register a grammar: a decorator of a :class:`Grammar` that is made without arguments.

    A trajectory says with ``metadata["grammar"]`` in which grammar its actions are
    written.

    Args:
        name: A new name; the grammar's own is the same.

    Raises:
        ConfigError: The name is taken.
    """

    def decorated(grammar: GrammarT) -> GrammarT:
        GRAMMARS.register(name, grammar)
        return grammar

    return decorated


TOOL_CALLS: Mapping[str, ToolCalls] = {
    "tool": ToolCalls("tool"),
    "bash_tool": ToolCalls("bash_tool"),
}
"""Those of :data:`GRAMMARS` that read the entries of a chat message's ``tool_calls``, too."""

for _ours in (
    XmlFunctionCalls(),
    TOOL_CALLS["tool"],
    FencedBlocks("ticks"),
    FencedBlocks("bash"),
    FencedBlocks("mswea_bash"),
    TOOL_CALLS["bash_tool"],
    XmlFunctionCalls("r2e"),
    FencedBlocks("swe_agent_0"),
):
    GRAMMARS.register(_ours.name, _ours)

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
    "register_grammar",
    "scored_text",
]


def grammar_named(name: str) -> Grammar:
    """A grammar of :data:`GRAMMARS`.

    Raises:
        ConfigError: There is none of this name.
    """
    return GRAMMARS.named(name)


def scored_text(text: str, grammar: str, scored: Scored = "action") -> str:
    """The part of a text that is compared: the command in it, or all of it if it holds none.

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

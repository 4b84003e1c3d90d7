"""The system prompts of software-engineering steps, one a grammar: task, tools, format.

Neither paper nor data fix the words: these are this project's own.
"""

from __future__ import annotations

from srl_envs.commands import Tool, grammar_named

_TASK = (
    "You fix an issue in a source code repository, one command at a time. You see "
    "the issue, the latest commands, and what each printed. "
    "First think inside <think> </think>, freely and as long as you like. After </think>, write "
    "exactly one command in the format below and nothing else."
)

_SHELL_ONLY = """There is one tool, the shell. {shell} To hand in the changes once the issue is \
solved, start a command with \
`echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`."""

_LASTING = "The folder and the variables of the shell last from one command to the next."
_FRESH = (
    "Each command runs in a new shell in the repository's folder: folder and variables do not "
    "last, so join what belongs together with `&&`."
)


def swe_system_prompt(grammar: str) -> str:
    """The system prompt for a grammar: the task, its tools, and its own instructions.

    Raises:
        ConfigError: There is no such grammar.
    """
    named = grammar_named(grammar)
    if "submit" in named.tools:
        tools = "\n".join(
            ["Tools:", *(_described(name, tool) for name, tool in named.tools.items())]
        )
    else:
        tools = _SHELL_ONLY.format(shell=_FRESH if named.fresh_shell else _LASTING)
    return "\n\n".join((_TASK, tools, named.instructions))


def _described(name: str, tool: Tool) -> str:
    arguments = ", ".join((*tool.required, *tool.optional)) or "none"
    return f"- {name}: {tool.description or f'Arguments: {arguments}.'}"

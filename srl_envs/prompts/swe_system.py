"""The system prompts of software-engineering steps, one a grammar: task, tools, format.

Neither paper nor data fix the words: these are this project's own.
"""

from __future__ import annotations

from srl_envs.commands import grammar_named

_TASK = (
    "You fix an issue in a source code repository, one command at a time. You see "
    "the issue, the latest commands, and what each printed. "
    "First think inside <think> </think>, freely and as long as you like. After </think>, write "
    "exactly one command in the format below and nothing else."
)

_TOOLS = """Tools:
- bash: runs a shell command. Argument: command. The folder and the variables of the \
shell last from one command to the next.
- str_replace_editor: shows or edits a file. Arguments: command (view, create, str_replace, insert \
or undo_edit) and path (absolute); for view \
optionally view_range (first and last line); for create file_text; for str_replace \
old_str, which must occur exactly once, and new_str; for insert \
insert_line and new_str, which goes after that line.
- submit: hands in the changes once the issue is solved. No arguments."""

_SHELL_ONLY = """There is one tool, the shell. To hand in the changes once the issue is \
solved, start a command with \
`echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`."""


def swe_system_prompt(grammar: str) -> str:
    """The system prompt for a grammar: the task, its tools, and its own instructions.

    Raises:
        ConfigError: There is no such grammar.
    """
    named = grammar_named(grammar)
    tools = _TOOLS if "submit" in named.tools else _SHELL_ONLY
    return "\n\n".join((_TASK, tools, named.instructions))

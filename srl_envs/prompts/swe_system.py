"""The system prompts of software-engineering steps, one a grammar: what to do, which tools there are, how an answer looks.

Neither paper nor data fix the words: these are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping

_TASK = (
    "You fix an issue in a source code repository, one command at a time. You see the issue, the latest commands, and what each printed. "
    "First think inside <think> </think>, freely and as long as you like. After </think>, write exactly one command in the format below and nothing else."
)

_TOOLS = """Tools:
- bash: runs a shell command. Argument: command. The folder and the variables of the shell last from one command to the next.
- str_replace_editor: shows or edits a file. Arguments: command (view, create, str_replace, insert or undo_edit) and path (absolute); for view \
optionally view_range (first and last line); for create file_text; for str_replace old_str, which must occur exactly once, and new_str; for insert \
insert_line and new_str, which goes after that line.
- submit: hands in the changes once the issue is solved. No arguments."""

_XML = """Format:
<function=TOOL>
<parameter=ARGUMENT>VALUE</parameter>
</function>
with one parameter line for each argument; a value may have several lines."""

_TOOL_CALL = """Format: one JSON object,
{"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}
with view_range as a list of two numbers and insert_line as a number."""

_TICKS = """Format:
```
COMMAND LINE
```
The line is a shell command for bash as it stands, or `str_replace_editor COMMAND PATH` followed by `--ARGUMENT 'VALUE'` for each further argument \
(`--view_range 1 40`), quoted as in a shell, or `submit`. If the command has a line of backticks itself, use a longer fence."""

_SHELL_ONLY = """There is one tool, the shell. To hand in the changes once the issue is solved, start a command with \
`echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`."""

_BASH = """Format:
```bash
SHELL COMMAND
```
If the command has a line of backticks itself, use a longer fence."""

_BASH_TOOL = """Format: one JSON object,
{"name": "bash", "arguments": {"command": "SHELL COMMAND"}}"""

SWE_SYSTEM_PROMPTS: Mapping[str, str] = {
    "xml": "\n\n".join((_TASK, _TOOLS, _XML)),
    "tool": "\n\n".join((_TASK, _TOOLS, _TOOL_CALL)),
    "ticks": "\n\n".join((_TASK, _TOOLS, _TICKS)),
    "bash": "\n\n".join((_TASK, _SHELL_ONLY, _BASH)),
    "bash_tool": "\n\n".join((_TASK, _SHELL_ONLY, _BASH_TOOL)),
}
"""By the name of the grammar (:data:`srl_envs.commands.GRAMMARS`)."""

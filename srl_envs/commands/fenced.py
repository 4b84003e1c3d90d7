r"""Commands in a fenced block: SWE-agent's ``ticks`` and mini-swe-agent's ``bash``.

    ```bash
    ls -la
    ```

* ``bash``: a line of three backticks and ``bash`` opens a command, and there must be
  exactly one, as mini-swe-agent asks for; other blocks are prose. ``mswea_bash`` is the
  same with the word ``mswea_bash_command``, as its version 2 writes in text.
* ``ticks``: any fence opens a block, and the last block counts, as in SWE-agent. It
  holds a shell command, ``submit``, or ``str_replace_editor`` with its arguments in
  shell quotes (``--old_str '...'``).
* ``swe_agent_0`` is read like ``ticks``, but all of a block is one command line, for
  which SWE-agent before 1.0 had commands of its own (``open``, ``edit 3:9``). They
  cannot be run here.
* A fence starts its line and is alone in it. Inside a command, a fence in a heredoc
  or in a quoted value of ``str_replace_editor`` is text, and a fence with a language
  opens a block that the next bare fence closes.
* Canonically the fence is longer than any run of backticks that starts a line of the
  command (Markdown's own rule), so that every command can be written.
* The newlines beside the fences are scaffold (``\r\n`` where the opening line ends so),
  all others belong to the command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Literal

from srl_envs.commands.command import TOOLS, CommandError, Grammar

_FENCE = re.compile(r"(`{3,})([^\s`]*)[ \t]*\r?")
_TICKS = re.compile(r"^`{3,}", re.MULTILINE)
_INTEGER = re.compile(r"-?\d+")
_MARK = {"": re.compile(r"\\.|['\"]"), "'": re.compile("'"), '"': re.compile(r'\\.|"')}
_HEREDOC = re.compile(r"(?<!<)<<-?[ \t]*(['\"]?)([A-Za-z_]\w*)\1")
_TICKS_INSTRUCTIONS = """Format:
```
COMMAND LINE
```
The line is a shell command for bash as it stands, or `str_replace_editor COMMAND PATH` followed \
by `--ARGUMENT 'VALUE'` for each further argument (`--view_range 1 40`), quoted as in a shell, or \
`submit`. If the command has a line of backticks itself, use a longer fence."""
_BASH_INSTRUCTIONS = """Format:
```{language}
SHELL COMMAND
```
If the command has a line of backticks itself, use a longer fence."""
_WINDOW_INSTRUCTIONS = """The shell has further commands for a window of 100 lines on one file:
open PATH [LINE], goto LINE, scroll_up, scroll_down, create PATH, search_dir TERM [FOLDER],
search_file TERM [FILE], find_file NAME [FOLDER], and
edit FIRST:LAST
NEW LINES
end_of_edit
which replaces these lines of the open file. `submit` is a command of its own.
Format:
```
COMMAND LINE
```"""
_LANGUAGES = {"bash": "bash", "mswea_bash": "mswea_bash_command"}
_SHELL = {"bash": TOOLS["bash"]}
_TOOLS_OF = {
    "bash": _SHELL,
    "mswea_bash": _SHELL,
    "ticks": TOOLS,
    "swe_agent_0": {**_SHELL, "submit": TOOLS["submit"]},
}


class FencedBlocks(Grammar):
    """See the module.

    Args:
        name: ``"bash"`` (mini-swe-agent 1), ``"mswea_bash"`` (mini-swe-agent 2 in text),
            ``"ticks"`` (SWE-agent 1) or ``"swe_agent_0"`` (SWE-agent before 1.0).
    """

    def __init__(self, name: Literal["bash", "mswea_bash", "ticks", "swe_agent_0"]) -> None:
        super().__init__(name, _TOOLS_OF[name])
        self.language = _LANGUAGES.get(name, "")
        self.fresh_shell = bool(self.language)
        self.runs = name != "swe_agent_0"
        self.instructions = {
            "ticks": _TICKS_INSTRUCTIONS,
            "swe_agent_0": _WINDOW_INSTRUCTIONS,
        }.get(name) or _BASH_INSTRUCTIONS.format(language=self.language)

    def find(self, text: str) -> tuple[int, str, dict[str, str]]:
        """See :meth:`Grammar.find`."""
        blocks = list(_blocks(text, self.language))
        complete = [(start, value) for start, value in blocks if value is not None]
        if not complete:
            if blocks:
                raise CommandError(
                    "unclosed",
                    "The fenced block is not closed: end it with a line of as many backticks.",
                )
            raise CommandError(
                "no command",
                f"There is no command: write it between a line ```{self.language} and a line ```.",
            )
        if self.language and len(complete) > 1:
            raise CommandError(
                "several commands",
                f"There are {len(complete)} ```{self.language} blocks: write exactly one.",
            )
        start, value = complete[-1]
        return (start, "bash", {"command": value}) if self.language else (start, *_read_line(value))

    def write(self, tool: str, arguments: Mapping[str, str]) -> str:
        """See :meth:`Grammar.write`."""
        command = arguments.get("command", "") if tool == "bash" else _write_line(tool, arguments)
        fence = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(command))])
        return f"{fence}{self.language}\n{command}\n{fence}"


def _blocks(text: str, language: str) -> Iterator[tuple[int, str | None]]:
    """Start and contents of each block that a fence with ``language`` opens.

    An empty ``language`` allows any. The contents are None if the block is not closed.
    """
    lines = text.split("\n")
    last_fence = max(
        (
            number
            for number, line in enumerate(lines)
            if (fence := _FENCE.fullmatch(line)) and not fence[2]
        ),
        default=-1,
    )
    last_line_of = {
        line.strip(): number for number, line in enumerate(lines[: last_fence + 1])
    }  # where a heredoc may end
    opened: tuple[int, int, re.Match[str]] | None = None  # offset, line number, fence
    inner, heredocs, quote, offset = 0, list[str](), "", 0
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence is not None and language in ("", fence[2]):
                opened, inner, heredocs, quote = (offset, number, fence), 0, [], ""
        elif heredocs:
            if line.strip() == heredocs[0]:
                heredocs.pop(0)
        elif quote:
            quote = _open_quote(line, quote)
        elif fence is not None and len(fence[1]) >= len(opened[2][1]):
            if fence[2]:
                inner += 1
            elif inner:
                inner -= 1
            else:
                yield (
                    opened[0],
                    _contents(lines[opened[1] + 1 : number], crlf=opened[2][0].endswith("\r")),
                )
                opened = None
        elif not language and lines[opened[1] + 1].startswith("str_replace_editor "):
            quote = _open_quote(line, "")
        else:  # a heredoc that is never ended is none: it would hide the closing fence
            heredocs = [
                match[2]
                for match in _HEREDOC.finditer(line)
                if last_line_of.get(match[2], -1) > number
            ]
        offset += len(line) + 1
    if opened is not None:
        yield opened[0], None


def _open_quote(line: str, quote: str) -> str:
    """The shell quote open at the end of a line, given the one at its start; empty if none is."""
    position = 0
    while (mark := _MARK[quote].search(line, position)) is not None:
        position = mark.end()
        if mark[0] in ("'", '"'):
            quote = "" if quote else mark[0]
    return quote


def _contents(lines: list[str], crlf: bool) -> str:
    contents = "\n".join(lines)
    return contents.removesuffix("\r") if crlf else contents


def _read_line(line: str) -> tuple[str, dict[str, str]]:
    """A command line of ``ticks`` -> tool and arguments."""
    words = line.split(maxsplit=1)
    if words[:1] == ["submit"] and len(words) == 1:
        return "submit", {}
    if words[:1] != ["str_replace_editor"]:
        return "bash", {"command": line}
    try:
        tool, *rest = shlex.split(line)
    except ValueError as error:
        raise CommandError(
            "malformed", f"The quotes of a str_replace_editor command do not fit ({error})."
        ) from None
    arguments = dict(zip(("command", "path"), rest, strict=False))
    options = rest[2:]
    while options:
        name = options.pop(0)
        count = 2 if name == "--view_range" else 1
        if not name.startswith("--") or len(options) < count or name[2:] in arguments:
            raise CommandError(
                "malformed",
                f"str_replace_editor does not take {name[:80]!r} here: give COMMAND PATH, then "
                "--NAME VALUE.",
            )
        values, options = options[:count], options[count:]
        if count == 2 and not all(_INTEGER.fullmatch(value) for value in values):
            raise CommandError(
                "malformed", "--view_range of str_replace_editor takes two whole numbers."
            )
        arguments[name[2:]] = values[0] if count == 1 else f"[{', '.join(values)}]"
    return tool, arguments


def _write_line(tool: str, arguments: Mapping[str, str]) -> str:
    words = [
        tool,
        *(shlex.quote(arguments[name]) for name in ("command", "path") if name in arguments),
    ]
    for name, value in arguments.items():
        if name == "view_range":
            words += ["--view_range", *value.strip("[]").split(", ")]
        elif name not in ("command", "path"):
            words += [f"--{name}", shlex.quote(value)]
    return " ".join(words)

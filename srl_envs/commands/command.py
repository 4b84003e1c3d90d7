"""What an agent does in one turn: a command, and the grammars in which models write it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from srl_envs.errors import SRLError

Scored = Literal["action", "arguments"]
"""What of a command is compared: its whole text, or tool and argument values without scaffold."""

Reason = Literal[
    "no command",
    "several commands",
    "unclosed",
    "malformed",
    "unknown tool",
    "unknown argument",
    "missing argument",
    "not expressible",
]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that commands may name.

    Attributes:
        required: The arguments it must have.
        optional: Those it may have.
        description: What it does, for the system prompt.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    description: str = ""


TOOLS: Mapping[str, Tool] = {
    "bash": Tool(
        required=("command",),
        description="runs a shell command. Argument: command. The folder and the variables of the "
        "shell last from one command to the next.",
    ),
    "str_replace_editor": Tool(
        required=("command", "path"),
        optional=("file_text", "old_str", "new_str", "insert_line", "view_range"),
        description="shows or edits a file. Arguments: command (view, create, str_replace, insert "
        "or undo_edit) and path (absolute); for view optionally view_range (first and last line); "
        "for create file_text; for str_replace old_str, which must occur exactly once, and "
        "new_str; for insert insert_line and new_str, which goes after that line.",
    ),
    "submit": Tool(
        description="hands in the changes once the issue is solved. No arguments.",
    ),
}
"""The tools of SWE-agent that the published trajectories use. mini-swe-agent has ``bash`` only."""

SUBMIT_MARKERS = ("COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "MINI_SWE_AGENT_FINAL_OUTPUT")
"""What mini-swe-agent prints to end: its present marker, and that of its first versions."""


class CommandError(SRLError, ValueError):
    """A text holds no command of its grammar, or a command cannot be written in it.

    Attributes:
        reason: Which of the kinds of :data:`Reason`; the message says more.
        subject: The tool or argument that it is about (``"bash.is_input"``); else empty.
    """

    def __init__(self, reason: Reason, message: str, subject: str = "") -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Command:
    """One call of one tool.

    Attributes:
        tool: A name of :data:`TOOLS`.
        arguments: Name -> value, in the order written; every value is text ("[10, 20]"
            for a range of lines).
        text: The command as its grammar prints it, the same for every spelling of the
            same call. Two commands are equal only if their texts are.
    """

    tool: str
    arguments: Mapping[str, str] = field(hash=False)
    text: str

    @property
    def submits(self) -> bool:
        """Whether it ends the work.

        That is the tool ``submit``, or a shell command that first prints
        mini-swe-agent's marker; only a ``cd`` may come before.
        """
        if self.tool != "bash":
            return self.tool == "submit"
        command = self.arguments["command"].lstrip()
        if command.startswith("cd "):
            command = command.partition("&&")[2].lstrip()
        words = command.replace(";", " ").replace("&", " ").split(maxsplit=2)
        return len(words) > 1 and words[0] == "echo" and words[1].strip("'\"") in SUBMIT_MARKERS

    def scored(self, scored: Scored = "action") -> str:
        """The text that is compared with the expert's.

        Args:
            scored: ``"action"``: the canonical text. ``"arguments"``: the tool's name
                and the values of the arguments, a line each: tags that every command of
                a grammar shares lift the similarity of commands that have nothing in
                common.
        """
        return self.text if scored == "action" else "\n".join((self.tool, *self.arguments.values()))


class Grammar(ABC):
    """A way to write one command in a text: :meth:`parse` reads it, :meth:`render` writes it.

    ``parse(render(c))`` gives ``c`` back, and ``render(parse(t))`` gives ``t`` back if
    ``t`` was rendered. Prose before the command is the thought and no part of it; so is
    what follows it.

    Args:
        name: Under which :data:`~srl_envs.commands.GRAMMARS` has it.
        tools: The tools that it can call.
    """

    instructions: str
    """What a model reads about how to write a command: the end of the system message."""

    fresh_shell = False
    """Whether each command runs in a new shell in the repository's folder, as in mini-swe-agent.

    Its output is then shown in tags and clipped, as there. Otherwise one shell lasts."""

    runs = True
    """Whether its commands can be run here; what cannot be run is shown as recorded."""

    def __init__(self, name: str, tools: Mapping[str, Tool]) -> None:
        self.name = name
        self.tools = tools

    @abstractmethod
    def find(self, text: str) -> tuple[int, str, dict[str, str]]:
        """Where the command starts, its tool and its arguments, unchecked.

        Raises:
            CommandError: There is none, or not exactly one where that is asked for.
        """

    @abstractmethod
    def write(self, tool: str, arguments: Mapping[str, str]) -> str:
        """The canonical text of a command, without a check that it can be read back."""

    def parse(self, text: str) -> Command:
        """The command in a text.

        Raises:
            CommandError: See :data:`Reason`.
        """
        return self.split(text)[1]

    def split(self, text: str) -> tuple[str, Command]:
        """The prose before the command, without outer white space, and the command.

        Raises:
            CommandError: See :data:`Reason`.
        """
        start, tool, arguments = self.find(text)
        return text[:start].strip(), self.checked(tool, arguments)

    def render(self, command: Command) -> str:
        """A command, of whatever grammar, as this grammar writes it.

        Raises:
            CommandError: This grammar lacks the tool, or has no way to write a value.
        """
        return self.command(command.tool, **command.arguments).text

    def command(self, tool: str, **arguments: str) -> Command:
        """A command made from its parts.

        Raises:
            CommandError: Unknown tool or argument, a missing argument, or a value that
                this grammar has no way to write.
        """
        made = self.checked(tool, arguments)
        try:
            same = self.parse(made.text) == made
        except CommandError:
            same = False
        if not same:
            raise CommandError(
                "not expressible",
                f"A value of this {tool} command cannot be written in the grammar {self.name!r}: "
                "it would be read as its end.",
            )
        return made

    def checked(self, tool: str, arguments: Mapping[str, str]) -> Command:
        """A command whose tool and arguments are known; its values are trusted.

        Raises:
            CommandError: Unknown tool or argument, or a missing argument.
        """
        if tool not in self.tools:
            raise CommandError(
                "unknown tool",
                f"There is no tool {tool[:80]!r}: use {', '.join(self.tools)}.",
                tool[:80],
            )
        known = (*self.tools[tool].required, *self.tools[tool].optional)
        for name in arguments:
            if name not in known:
                raise CommandError(
                    "unknown argument",
                    f"{tool} has no argument {name[:80]!r}: "
                    f"{'use ' + ', '.join(known) if known else 'it takes none'}.",
                    f"{tool}.{name[:80]}",
                )
        for name in self.tools[tool].required:
            if name not in arguments:
                raise CommandError(
                    "missing argument", f"{tool} needs the argument {name!r}.", f"{tool}.{name}"
                )
        return Command(tool, dict(arguments), self.write(tool, arguments))

"""An agent's stay in a sandbox: its commands go in, what it sees comes out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from srl_envs.commands import SUBMIT_MARKERS, Command, CommandError, grammar_named
from srl_envs.errors import ConfigError, DataError
from srl_envs.reward import sequence_similarity
from srl_envs.sandbox.editor import EditTool
from srl_envs.sandbox.protocol import ExecResult, Sandbox
from srl_envs.trajectory import Trajectory

NO_OUTPUT = "Your command ran successfully and did not produce any output."

LONGEST_OUTPUT = 10_000
"""Characters from which on mini-swe-agent shows the two ends of an output only."""

_WARNING = (
    "This output is too long: only its beginning and its end are shown. Print less, with head, "
    "tail, sed -n or a narrower pattern, or write it to a file and search there."
)
_CLIPPED = re.compile(r"(\A<returncode>-?\d+</returncode>\n)<warning>.*?</warning>\n?", re.DOTALL)

# As in mini-swe-agent's settings for SWE-bench: nothing waits for a key or draws a bar.
_FRESH_SHELL = "cd {folder} && env LESS=-R PIP_PROGRESS_BAR=off TQDM_DISABLE=1 bash -c {command}"


class AgentSession:
    """Runs the commands of one agent, from a clean sandbox to its end.

    Args:
        sandbox: Where they run; it stays its caller's to close.
        grammar: A name of :data:`srl_envs.commands.GRAMMARS`. Its ``fresh_shell``
            decides whether a command gets a new shell, and how its output is shown.
        command_timeout: Seconds that a shell command may take.

    Attributes:
        submitted: Whether the last command handed in the work.
        result: What the last command did in the shell; None if it was a call of the file
            tool, or handed in the work without running anything.

    Raises:
        ConfigError: Commands of this grammar cannot be run.
    """

    def __init__(
        self, sandbox: Sandbox, grammar: str = "xml", command_timeout: float = 60.0
    ) -> None:
        require_runnable(grammar)
        self.sandbox = sandbox
        self.submitted = False
        self.result: ExecResult | None = None
        self._fresh_shell = grammar_named(grammar).fresh_shell
        self._timeout = command_timeout
        self._editor = EditTool(sandbox)

    def observe(self, command: Command) -> str:
        """Run a command and give the agent's view of it.

        The tool ``submit`` runs nothing. With a fresh shell, whatever prints
        mini-swe-agent's marker first and ends well is the submission; the rest of its
        output is seen.

        Raises:
            SandboxError: The machinery failed.
        """
        self.submitted, self.result = command.tool == "submit", None
        if self.submitted:
            return ""
        if command.tool == "str_replace_editor":
            return self._editor.run(command.arguments)
        if command.tool == "search":
            return self._run(search_command(command.arguments)).output.rstrip()
        if not self._fresh_shell:
            result = self._run(command.arguments["command"])
            self.submitted = command.submits
            output = "\n".join(
                [*([result.output.rstrip()] if result.output.strip() else []), *self._notes(result)]
            )
            return output or NO_OUTPUT
        result = self._run(
            _FRESH_SHELL.format(
                folder=shlex.quote(self.sandbox.workdir),
                command=shlex.quote(command.arguments["command"]),
            )
        )
        first, _, rest = result.output.lstrip().partition("\n")
        if first.strip() in SUBMIT_MARKERS and result.exit_code == 0:
            self.submitted = True
            return rest
        notes = "".join(f"{note}\n" for note in self._notes(result))
        return tagged(result.exit_code, result.output + notes)

    def _run(self, command: str) -> ExecResult:
        self.result = self.sandbox.run(command, timeout=self._timeout)
        return self.result

    def _notes(self, result: ExecResult) -> list[str]:
        if result.timed_out:
            return [
                f"[The command took longer than {self._timeout:g} s and was ended, with all that "
                "it had started. The shell is a new one.]"
            ]
        if result.disk_full:
            return [
                "[The command wrote more than the disk may hold and was ended. The shell is a new "
                "one.]"
            ]
        if result.restarted:
            return [
                "[The shell ended. A new one starts in the same folder, without the old one's "
                "variables.]"
            ]
        return []


def require_runnable(grammar: str) -> None:
    """Refuse a grammar whose commands cannot be run.

    Raises:
        ConfigError: It is one of those, or there is no such grammar.
    """
    if not grammar_named(grammar).runs:
        raise ConfigError(
            f"Commands of the grammar {grammar!r} are those of a tool that is not here: they "
            "cannot be run. Use observations='recorded' with follow='expert'."
        )


def tagged(exit_code: int, output: str) -> str:
    """Exit code and output as mini-swe-agent shows them; of a long output, the two ends."""
    head = f"<returncode>{exit_code}</returncode>\n"
    if len(output) < LONGEST_OUTPUT:
        return f"{head}<output>\n{output}</output>"
    half = LONGEST_OUTPUT // 2
    return (
        f"{head}<warning>\n{_WARNING}\n</warning><output_head>\n{output[:half]}\n</output_head>\n"
        f"<elided_chars>\n{len(output) - LONGEST_OUTPUT} characters elided\n</elided_chars>\n"
        f"<output_tail>\n{output[-half:]}\n</output_tail>"
    )


def search_command(arguments: Mapping[str, str]) -> str:
    """R2E-Gym's ``search`` as a shell command: lines of a file, or counts by Python file."""
    term, path = shlex.quote(arguments["search_term"]), shlex.quote(arguments.get("path") or ".")
    return (
        f"if [ -f {path} ]; then grep -n -e {term} -- {path} || echo 'No line has it.'; "
        f"else find {path} -name '.?*' -prune -o -type f -name '*.py' "
        f"-exec grep -HcF -e {term} -- {{}} + | grep -v ':0$' || "
        "echo 'No Python file has it.'; fi"
    )


def expert_commands(trajectory: Trajectory, count: int | None = None) -> list[Command]:
    """The commands of a trajectory's first ``count`` steps, or of all.

    Raises:
        DataError: A step holds no command of the trajectory's grammar.
        ConfigError: There is no such grammar.
    """
    grammar = grammar_named(trajectory.grammar)
    commands = []
    for number, step in enumerate(trajectory.steps[:count], start=1):
        try:
            commands.append(grammar.parse(step.action))
        except CommandError as error:
            raise unreadable(trajectory, number, error) from None
    return commands


def unreadable(trajectory: Trajectory, number: int, error: CommandError) -> DataError:
    """What is raised where step ``number`` (from 1) of an expert holds no command."""
    return DataError(
        f"Trajectory {trajectory.id!r}, step {number}: the action holds no command of the grammar "
        f"{trajectory.grammar!r} ({error}) Mend it, or name its grammar in the metadata."
    )


def drift(command: Command, seen: str, recorded: str, max_characters: int) -> float:
    """How far what came back is from the recording: 0 the same, 1 nothing in common.

    Args:
        command: What was run. Agents record nothing after a submission: then there is
            nothing to differ from.
        seen: The observation now.
        recorded: The observation then.
        max_characters: How much of each is compared.
    """
    if command.submits and not recorded.strip():
        return 0.0
    return 1.0 - sequence_similarity(
        _plain_lines(seen)[:max_characters], _plain_lines(recorded)[:max_characters]
    )


def _plain_lines(text: str) -> str:
    """An observation without what a terminal adds, and without the warning that it is clipped.

    Recordings hold carriage returns, pipes none. How the warning is worded is an agent's
    own affair.
    """
    return _CLIPPED.sub(r"\1", text.replace("\r\n", "\n").strip())

"""An agent's stay in a sandbox: its commands go in, what it sees comes out."""

from __future__ import annotations

from srl_envs.commands import Command, CommandError, grammar_named
from srl_envs.errors import DataError
from srl_envs.reward import sequence_similarity
from srl_envs.sandbox.editor import EditTool
from srl_envs.sandbox.protocol import ExecResult, Sandbox
from srl_envs.trajectory import Trajectory

NO_OUTPUT = "Your command ran successfully and did not produce any output."


class AgentSession:
    """Runs the commands of one agent, from a clean sandbox to its end.

    Args:
        sandbox: Where they run; it stays its caller's to close.
        grammar: A name of :data:`srl_envs.commands.GRAMMARS`; mini-swe-agent's show
            exit code and output in tags, the others the output alone.
        command_timeout: Seconds that a shell command may take.
    """

    def __init__(
        self, sandbox: Sandbox, grammar: str = "xml", command_timeout: float = 60.0
    ) -> None:
        self.sandbox = sandbox
        self._tagged = grammar in ("bash", "bash_tool")
        self._timeout = command_timeout
        self._editor = EditTool(sandbox)

    def observe(self, command: Command) -> str:
        """Run a command and give the agent's view of it.

        The tool ``submit`` runs nothing. A submission in bash is run like any command:
        what follows mini-swe-agent's marker in it is work.

        Raises:
            SandboxError: The machinery failed.
        """
        if command.tool == "submit":
            return ""
        if command.tool == "str_replace_editor":
            return self._editor.run(command.arguments)
        return self._view(self.sandbox.run(command.arguments["command"], timeout=self._timeout))

    def _view(self, result: ExecResult) -> str:
        notes = []
        if result.timed_out:
            notes.append(
                f"[The command took longer than {self._timeout:g} s and was ended, with all that "
                "it had started. The shell is a new one.]"
            )
        elif result.disk_full:
            notes.append(
                "[The command wrote more than the disk may hold and was ended. The shell is a new "
                "one.]"
            )
        elif result.restarted:
            notes.append(
                "[The shell ended. A new one stands in the same folder, without the old one's "
                "variables.]"
            )
        output = "\n".join([*([result.output.rstrip()] if result.output.strip() else []), *notes])
        if self._tagged:
            shown = f"{output}\n" if output else ""
            return f"<returncode>{result.exit_code}</returncode>\n<output>\n{shown}</output>"
        return output or NO_OUTPUT


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
    """An observation without what a terminal adds: recordings hold carriage returns, pipes none."""
    return text.replace("\r\n", "\n").strip()

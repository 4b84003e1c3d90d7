"""An agent's stay in a sandbox: its commands go in, what it sees comes out."""

from __future__ import annotations

from srl_envs.commands import Command
from srl_envs.sandbox.edit_tool import EditTool
from srl_envs.sandbox.protocol import ExecResult, Sandbox

NO_OUTPUT = "Your command ran successfully and did not produce any output."


class AgentSession:
    """Runs the commands of one agent, from a clean sandbox to its end.

    Args:
        sandbox: Where they run; it stays its caller's to close.
        grammar: A name of :data:`srl_envs.commands.GRAMMARS`; mini-swe-agent's show exit code and output in tags, the others the output alone.
        command_timeout: Seconds that a shell command may take.
    """

    def __init__(self, sandbox: Sandbox, grammar: str = "xml", command_timeout: float = 60.0) -> None:
        self.sandbox = sandbox
        self._tagged = grammar in ("bash", "bash_tool")
        self._timeout = command_timeout
        self._editor = EditTool(sandbox)

    def observe(self, command: Command) -> str:
        """Run a command and give the agent's view of it; a submission runs nothing.

        Raises:
            SandboxError: The machinery failed.
        """
        if command.submits:
            return ""
        if command.tool == "str_replace_editor":
            return self._editor.run(command.arguments)
        return self._view(self.sandbox.run(command.arguments["command"], timeout=self._timeout))

    def _view(self, result: ExecResult) -> str:
        notes = []
        if result.timed_out:
            notes.append(f"[The command took longer than {self._timeout:g} s and was ended, with all that it had started. The shell is a new one.]")
        elif result.disk_full:
            notes.append("[The command wrote more than the disk may hold and was ended. The shell is a new one.]")
        elif result.restarted:
            notes.append("[The shell ended. A new one stands in the same folder, without the old one's variables.]")
        output = "\n".join([*([result.output.rstrip()] if result.output.strip() else []), *notes])
        if self._tagged:
            return f"<returncode>{result.exit_code}</returncode>\n<output>\n{output}{chr(10) * bool(output)}</output>"
        return output or NO_OUTPUT


def plain_lines(text: str) -> str:
    """An observation without what a terminal adds: recordings hold carriage returns that a pipe does not."""
    return text.replace("\r\n", "\n").strip()

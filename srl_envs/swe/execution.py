"""The reward ``"execution"``: two commands are the same if the same comes of them.

The model's command and the expert's run in twin sandboxes: both are in the state that the
expert's earlier steps made. Compared are the output, the exit code, the shell's folder and
variables (where one shell lasts), and the files.

* The same outcome gives 1.
* Another outcome, or a command that cannot be read, gives half the similarity of the
  texts: always below what the same outcome gets, and still better the nearer it is.
* Where the expert's command printed nothing and changed nothing, ran out of time, or where
  the model's text holds the output that it should find (``echo 5`` for ``wc -l``), the
  outcome does not decide: only the same text gives 1, another half its similarity.

Output that changes from run to run (durations, addresses, times in ``ls -l``, names of
temporary files) is masked, and so is the acknowledgement of the file tool. Files are
compared in the repository, ``/tmp``, ``/root`` and ``/home``, without caches; of git's own
folder the index and the commit's tree count.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from srl_envs.commands import Command, CommandError, Grammar, grammar_named
from srl_envs.errors import ConfigError
from srl_envs.reward import RewardSettings, bounded_similarities
from srl_envs.rewards import Attempt
from srl_envs.sandbox import Sandbox, SandboxError
from srl_envs.sandboxes import SANDBOXES
from srl_envs.swe.agent_session import AgentSession, expert_commands, require_runnable
from srl_envs.swe.tasks.checks import end_shell, set_up
from srl_envs.swe.tasks.images import sandbox_of
from srl_envs.trajectory import Trajectory

OTHER_OUTCOME = 0.5
"""What the similarity of a command with another outcome is multiplied by."""

_TRIES = 2  # of the machinery, for one state

_VOLATILE = re.compile(
    r"\b\d+(?:\.\d+)?(?= ?(?:s|ms|sec|seconds?|milliseconds?)\b)|0x[0-9a-f]{6,16}\b"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d (?:\d\d:\d\d| \d{4})\b"
    r"|(?<=/tmp/)tmp\w{6,12}\b|\bpytest-\d+\b"
)
_VIEWED = re.compile(  # the file tool's heading, and its number of the line after the last
    r"\AHere's the result of running `cat -n` on [^\n]*:\n(.*?)(?:\n +\d+\s*)?\Z", re.DOTALL
)
_CACHES = ("__pycache__", "*.pyc", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".cache")
_DYNAMIC = (  # variables that differ from run to run or container, or say what was run
    "HOSTNAME|BASH.*|EPOCH.*|RANDOM|SRANDOM|SECONDS|LINENO|PPID|HISTCMD|OLDPWD|PIPESTATUS"
    "|FUNCNAME|DIRSTACK|GROUPS|COLUMNS|LINES|_"
)
_SHELL = (  # names that begin with __srl_ are the sandbox's own
    "{ builtin pwd; builtin alias; builtin set +o; builtin declare -F; builtin declare -p; } 2>&1"
    f" | grep -vE '^declare -[^ ]+ (__srl_.*|{_DYNAMIC})(=|$)' | sha256sum"
)
_WRITES_OUT = re.compile(r"\b(?:echo|printf|print|say|puts)\b|<<")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one command.

    Attributes:
        output: What it printed, without what changes from run to run.
        exit_code: Of a command of the shell; None of another.
        submitted: It handed in the work.
        timed_out: It was ended for its time.
        by_file_tool: It was a call of the file tool.
        shell: A hash of the shell's folder and variables; empty where none lasts.
        files: A hash of the files.
    """

    output: str
    exit_code: int | None
    submitted: bool
    timed_out: bool
    by_file_tool: bool
    shell: str
    files: str


def check(trajectories: Sequence[Trajectory], settings: RewardSettings) -> None:
    """Check that the steps of these trajectories can be scored by what comes of them.

    Raises:
        ConfigError: One holds no commands, commands of a tool that is not here, or names
            no image; or there is no such sandbox.
        DataError: A step holds no command that can be read.
    """
    SANDBOXES.named(settings.sandbox)
    for trajectory in trajectories:
        if trajectory.domain != "swe":
            raise ConfigError(
                f"The reward 'execution' runs commands, and trajectory {trajectory.id!r} is of the "
                f"domain {trajectory.domain!r}: use --reward similarity."
            )
        require_runnable(trajectory.grammar)
        expert_commands(trajectory)
        if not {"image", "task"} & set(trajectory.metadata):
            raise ConfigError(
                f"The reward 'execution' runs commands, and trajectory {trajectory.id!r} names no "
                "image: put one into its metadata as 'image', or join the tasks that name it "
                "(tasks=..., --tasks)."
            )


def execution_rewards(attempts: Sequence[Attempt], settings: RewardSettings) -> list[float]:
    """The reward of each attempt; those at the same step share their sandboxes.

    Raises:
        ConfigError: See :func:`check`.
        DataError: A step of the expert holds no command that can be read.
        SandboxError: The machinery failed, a second time too.
    """
    steps: dict[tuple[str, int], list[int]] = {}
    for number, attempt in enumerate(attempts):
        steps.setdefault((attempt.trajectory.id, attempt.index), []).append(number)
    first = {key: attempts[numbers[0]] for key, numbers in steps.items()}
    check([one.trajectory for one in first.values()], settings)
    texts = {key: {attempts[number].action for number in numbers} for key, numbers in steps.items()}
    with ThreadPoolExecutor(max_workers=max(1, min(os.cpu_count() or 1, len(first)))) as pool:
        found = pool.map(
            lambda key: same_outcomes(
                first[key].trajectory, first[key].index, texts[key], settings
            ),
            first,
        )
        same = dict(zip(first, found, strict=True))
    similar = bounded_similarities([(one.scored, one.expert) for one in attempts], settings)
    return [
        1.0 if same[one.trajectory.id, one.index][one.action] else OTHER_OUTCOME * similarity
        for one, similarity in zip(attempts, similar, strict=True)
    ]


def same_outcomes(
    trajectory: Trajectory, index: int, actions: set[str], settings: RewardSettings
) -> dict[str, bool]:
    """Whether each action is known to do what the expert's step does, in the state before it.

    Args:
        trajectory: The expert's.
        index: Of the step, from 0.
        actions: Texts with a command in the trajectory's grammar, or without.
        settings: Where commands run, and how long.

    Raises:
        SandboxError: The machinery failed, a second time too.
    """
    for attempt in range(_TRIES):
        try:
            return _same_outcomes(trajectory, index, actions, settings)
        except SandboxError as error:
            if attempt + 1 == _TRIES:
                raise SandboxError(f"Step {trajectory.id}/{index + 1}: {error}") from error
    raise AssertionError("unreachable")


def _same_outcomes(
    trajectory: Trajectory, index: int, actions: set[str], settings: RewardSettings
) -> dict[str, bool]:
    *before, expert = expert_commands(trajectory, index + 1)
    grammar = grammar_named(trajectory.grammar)
    commands = {action: _command(action, grammar) for action in actions}
    others = {one.text: one for one in commands.values() if one is not None and one != expert}
    same = {expert.text: True}
    if others:
        maker = SANDBOXES.named(settings.sandbox)
        with closing(sandbox_of(trajectory, maker)) as sandbox:
            twin = _Twin(sandbox, trajectory, before, settings.command_timeout)
            start = twin.state()
            wanted = twin.run(expert)
            decided = _decides(wanted, start)
            for text, command in others.items():
                same[text] = decided and _same(twin.run_anew(command), wanted, start)
                if same[text] and (wanted.shell, wanted.files) == start:
                    same[text] = not _recites(command, expert, wanted.output)
    return {
        action: command is not None and same[command.text] for action, command in commands.items()
    }


def _command(action: str, grammar: Grammar) -> Command | None:
    try:
        return grammar.parse(action)
    except CommandError:
        return None


class _Twin:
    """A sandbox that is put into one state again and again.

    Args:
        sandbox: A clean one.
        trajectory: Whose commands run.
        before: Those that make the state.
        command_timeout: Seconds that a command may take.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        trajectory: Trajectory,
        before: Sequence[Command],
        command_timeout: float,
    ) -> None:
        self._sandbox, self._trajectory, self._before = sandbox, trajectory, before
        self._timeout = command_timeout
        self._lasting = not grammar_named(trajectory.grammar).fresh_shell
        self._session = self._made()

    def run(self, command: Command) -> Outcome:
        """What comes of a command in the present state."""
        session = self._session
        seen = session.observe(command)
        result = session.result
        shell, files = self.state(end_first=True)
        return Outcome(
            output=_repeatable(seen if result is None else result.output),
            exit_code=None if result is None else result.exit_code,
            submitted=session.submitted,
            timed_out=result is not None and (result.timed_out or result.disk_full),
            by_file_tool=command.tool == "str_replace_editor",
            shell=shell,
            files=files,
        )

    def run_anew(self, command: Command) -> Outcome:
        """The same in the state that was made at first."""
        self._sandbox.reset()
        self._session = self._made()
        return self.run(command)

    def state(self, *, end_first: bool = False) -> tuple[str, str]:
        """Hashes of the shell's folder and variables, and of the files.

        Args:
            end_first: End the shell before files are read, so that nothing which a
                command left in it, or left running, has a part in it.
        """
        shell = _digest(self._sandbox.run(_SHELL).output) if self._lasting else ""
        if end_first:
            end_shell(self._sandbox)
        return shell, _digest(self._sandbox.run(_files_command(self._sandbox.workdir)).output)

    def _made(self) -> AgentSession:
        set_up(self._trajectory, self._sandbox)
        session = AgentSession(self._sandbox, self._trajectory.grammar, self._timeout)
        for command in self._before:
            session.observe(command)
        return session


def _files_command(workdir: str) -> str:
    """A shell command that prints one hash of all files, modes and links that are compared."""
    folder = shlex.quote(workdir)
    roots = f"{folder} /tmp /root /home"
    skipped = " -o ".join(f"-name {shlex.quote(name)}" for name in (".git", *_CACHES))
    found = f"find {roots} -xdev \\( {skipped} \\) -prune -o"
    return (
        f"(cd / && {{ {found} -printf '%y %m %p %l\\n' | LC_ALL=C sort; "
        f"{found} -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum; "
        f"if [ -e {folder}/.git ]; then cd {folder}; git ls-files -s; "
        "git rev-parse 'HEAD^{tree}'; git symbolic-ref -q HEAD; git stash list; fi; "
        "} 2>&1 | sha256sum)"
    )


def _digest(output: str) -> str:
    """The hash that was printed; another text where tools were destroyed, which differs."""
    found = _DIGEST.search(output)
    return found[0] if found else f"none: {output}"


def _repeatable(output: str) -> str:
    """An output without what changes from run to run, and without white space at line ends."""
    text = _VOLATILE.sub("*", _VIEWED.sub(r"\1", output.replace("\r\n", "\n")))
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip()


def _decides(wanted: Outcome, start: tuple[str, str]) -> bool:
    """Whether the expert's outcome tells one command from another."""
    changed = (wanted.shell, wanted.files) != start
    return not wanted.timed_out and (changed or wanted.submitted or bool(wanted.output))


def _same(one: Outcome, wanted: Outcome, start: tuple[str, str]) -> bool:
    if (one.shell, one.files, one.submitted) != (wanted.shell, wanted.files, wanted.submitted):
        return False
    if wanted.files != start[1] and (one.by_file_tool or wanted.by_file_tool):
        return True  # the file tool only confirms what it did
    codes = {one.exit_code, wanted.exit_code} - {None}  # the file tool has none
    return one.output == wanted.output and len(codes) <= 1 and not one.timed_out


def _recites(command: Command, expert: Command, output: str) -> bool:
    """Whether a command writes out what it should find, and the expert's does not."""
    if not _WRITES_OUT.search(command.text):
        return False
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return all(line in command.text for line in lines) and not all(
        line in expert.text for line in lines
    )

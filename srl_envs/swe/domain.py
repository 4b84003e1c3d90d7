"""The domain of software engineering: an action is a command, which runs in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from srl_envs.commands import Command, CommandError, Grammar, grammar_named
from srl_envs.domain import Follow, Reading
from srl_envs.errors import ConfigError
from srl_envs.fleet import Fleet
from srl_envs.prompts.step import Message, PromptSettings
from srl_envs.prompts.swe import swe_step_messages
from srl_envs.response import Response
from srl_envs.reward import RewardSettings
from srl_envs.sandbox import DamagedRepositoryError, Sandbox
from srl_envs.sandbox.output import valid_unicode
from srl_envs.sandboxes import SANDBOXES
from srl_envs.swe.agent_session import AgentSession, drift, require_runnable, unreadable
from srl_envs.swe.tasks.checks import checks_of, failing_checks, set_up
from srl_envs.swe.tasks.hidden_tests import require_tests_that_run
from srl_envs.swe.tasks.images import images_at_hand, sandbox_of
from srl_envs.swe.tasks.verification import patch_verdict
from srl_envs.trajectory import Trajectory

Observations = Literal["live", "recorded"]
"""Where observations come from: the expert's commands, run in a sandbox now, or the recording."""

MakeSandbox = Callable[[Trajectory], Sandbox]
"""Gives a clean sandbox of a trajectory: of the image that
:func:`~srl_envs.swe.tasks.images.image_of` says."""

Verify = Callable[[Trajectory, str, MakeSandbox], bool | None]
"""Judges a patch in a fresh sandbox; None if the trajectory has no tests."""


class SWEDomain:
    """A :class:`~srl_envs.domain.Domain`; see :class:`~srl_envs.swe.env.SWEEnv` for arguments."""

    def __init__(
        self,
        prompt: PromptSettings = PromptSettings(),
        observations: Observations | None = None,
        make_sandbox: MakeSandbox | None = None,
        verify: Verify | None = None,
        command_timeout: float = 60.0,
        sandbox: str = "docker",
        fleet: Fleet | None = None,
    ) -> None:
        if observations not in (None, *get_args(Observations)):
            raise ConfigError(f"observations is {observations!r}: use 'live', 'recorded' or None.")
        if not isinstance(prompt, PromptSettings):
            raise ConfigError(f"prompt is {prompt!r}: give PromptSettings.")
        if not isinstance(command_timeout, int | float) or not command_timeout > 0:
            raise ConfigError(f"command_timeout is {command_timeout!r}: give seconds above 0.")
        if make_sandbox is not None and sandbox != "docker":
            raise ConfigError(f"sandbox={sandbox!r} and make_sandbox exclude each other.")
        if fleet is not None and make_sandbox is not None:
            raise ConfigError("fleet and make_sandbox exclude each other: the fleet makes them.")
        self.prompt = prompt
        self.observations = observations
        self.session: AgentSession | None = None
        self.observation = ""
        self._given_make_sandbox = make_sandbox
        self._maker = SANDBOXES.named(sandbox)
        self._verify = verify
        self._fleet = fleet
        self._timeout = command_timeout
        self._expert: list[Reading] = []
        self._turns: list[tuple[str, str]] = []

    def prepare(
        self, trajectories: Sequence[Trajectory], follow: Follow, reward: RewardSettings
    ) -> None:
        """See :meth:`Domain.prepare`; decides where observations come from, if that is open."""
        if follow == "agent" and self.observations == "recorded":
            raise ConfigError(
                "follow='agent' runs the model's own commands: its observations are 'live'."
            )
        others = {trajectory.domain for trajectory in trajectories} - {"swe"}
        if others:
            raise ConfigError(
                f"{trajectories!r} holds trajectories of the domain {others.pop()!r}: SRL-SWE-v0 "
                "needs 'swe'."
            )
        grammars = {trajectory.grammar for trajectory in trajectories}
        if self.observations is None:
            live = (
                follow == "agent"
                or self._given_make_sandbox is not None
                or self._maker is not SANDBOXES.named("docker")  # chosen, so wanted
                or self._fleet is not None
                or (
                    all(grammar_named(name).runs for name in grammars)
                    and images_at_hand(trajectories)
                )
            )
            self.observations = "live" if live else "recorded"
        if self.observations == "live":
            for grammar in sorted(grammars):
                require_runnable(grammar)
        if follow == "agent":
            for trajectory in trajectories:
                if not checks_of(trajectory):
                    require_tests_that_run(trajectory)
        self._follow, self._compared = follow, reward.max_characters

    def begin(self, trajectory: Trajectory, start: int, targets: int) -> Sequence[str]:
        """See :meth:`Domain.begin`; live, the commands before the start are run first.

        Raises:
            DataError: A command of the expert that is to be run cannot be read.
            SandboxError: The machinery failed.
        """
        self.close()
        self._trajectory = trajectory
        self._grammar: Grammar = grammar_named(trajectory.grammar)
        self._expert = [self.read(step.action) for step in trajectory.steps]
        self._turns, self.observation = [], ""
        if self.observations == "live":
            to_run = targets if self._follow == "expert" else start
            for number, reading in enumerate(self._expert[:to_run], start=1):
                if isinstance(reading.meaning, CommandError):
                    raise unreadable(trajectory, number, reading.meaning)
            sandbox = self._make_sandbox(trajectory)
            self.session = AgentSession(sandbox, trajectory.grammar, self._timeout)
            set_up(trajectory, sandbox)
        for index in range(start):
            self._run_expert(index)
        return [reading.scored for reading in self._expert]

    def messages(self, index: int, finished: bool) -> list[Message]:
        """See :meth:`Domain.messages`."""
        return swe_step_messages(
            self._trajectory.prompt, self._turns, self.prompt, grammar=self._grammar.name
        )

    def read(self, action: str) -> Reading:
        """See :meth:`Domain.read`: the command, or why there is none."""
        try:
            command = self._grammar.parse(action)
        except CommandError as error:
            return Reading(action, error)
        return Reading(command.scored(self.prompt.scored), command)

    def follow_expert(self, index: int) -> dict[str, Any]:
        """See :meth:`Domain.follow_expert`; live, ``info`` says how far the recording is away."""
        seen = self._run_expert(index)
        if self.session is None:
            return {}
        command, recorded = self._expert[index].meaning, self._trajectory.steps[index].observation
        assert isinstance(command, Command)
        return {"drift": drift(command, seen, recorded, self._compared)}

    def act(self, index: int, response: Response, reading: Reading) -> bool:
        """See :meth:`Domain.act`: run the model's command, or say why nothing was run."""
        command = reading.meaning
        if response.error is not None:
            said = "(no command)"
            self.observation = f"Your answer was malformed ({response.error}): nothing was run."
        elif not isinstance(command, Command):
            said = valid_unicode(response.action)
            self.observation = valid_unicode(f"{command} Nothing was run.")
        else:
            assert self.session is not None
            said, self.observation = valid_unicode(command.text), self.session.observe(command)
        self._turns.append((said, self.observation))
        return isinstance(command, Command) and self.session is not None and self.session.submitted

    def outcome(self, response: Response) -> tuple[bool | None, dict[str, Any]]:
        """See :meth:`Domain.outcome`: the hidden tests judge the patch, in a fresh sandbox.

        Or the task's checks judge what is in the episode's own.
        """
        assert self.session is not None
        if checks := checks_of(self._trajectory):
            failing = failing_checks(checks, self.session.sandbox)
            return not failing, {"failing_tests": failing}
        info: dict[str, Any] = {}
        try:
            info["patch"] = self.session.sandbox.diff()
        except DamagedRepositoryError as error:  # the model's doing, which solves nothing
            info.update(patch="", patch_error=str(error))
        self.close()  # its place may be the one that the tests wait for
        if self._verify is not None:
            return self._verify(self._trajectory, info["patch"], self._make_sandbox), info
        verdict = patch_verdict(self._trajectory, info["patch"], self._make_sandbox)
        if verdict is None:
            return None, info
        return verdict.resolved, info | {"failing_tests": verdict.failing}

    def close(self) -> None:
        """Give the sandbox back; a second call does nothing."""
        if self.session is not None:
            session, self.session = self.session, None
            session.sandbox.close()

    def _run_expert(self, index: int) -> str:
        """Add the expert's command to the turns, with its observation, which is returned."""
        step, command = self._trajectory.steps[index], self._expert[index].meaning
        if self.session is None:
            seen = step.observation
        else:
            assert isinstance(command, Command)
            seen = self.session.observe(command)
        self._turns.append((step.action, seen))
        return seen

    def _make_sandbox(self, trajectory: Trajectory) -> Sandbox:
        if self._given_make_sandbox is not None:
            return self._given_make_sandbox(trajectory)
        if self._fleet is not None:
            name = f"The sandbox of {trajectory.id}"
            return self._fleet.open(name, sandbox_of, trajectory, self._maker)
        return sandbox_of(trajectory, self._maker)

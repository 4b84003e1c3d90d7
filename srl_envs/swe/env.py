"""The software-engineering environment: an episode is one issue in a real repository, and commands run in a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import gymnasium as gym

from srl_envs.commands import Command, CommandError, grammar_named
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import Message, PromptSettings
from srl_envs.prompts.swe import swe_step_messages
from srl_envs.response import Response
from srl_envs.reward import StepReward
from srl_envs.sandbox import DamagedRepositoryError, DockerSandbox, Sandbox
from srl_envs.swe.agent_session import AgentSession, drift, expert_commands
from srl_envs.swe.tasks.images import image_of, images_at_hand, workdir_of
from srl_envs.swe.tasks.verification import verify_patch
from srl_envs.trajectory import Trajectory
from srl_envs.vector import ExpertStepVectorEnv

Observations = Literal["live", "recorded"]
"""Where observations come from: the expert's commands, run in a sandbox now, or what the trajectory recorded."""

MakeSandbox = Callable[[str], Sandbox]
"""Gives a clean sandbox of an image."""

Verify = Callable[[Trajectory, str, MakeSandbox], bool | None]
"""Judges a patch in a fresh sandbox; None if the trajectory has no tests."""


class SWEEnv(ExpertStepEnv):
    """``SRL-SWE-v0``: see :class:`~srl_envs.env.ExpertStepEnv` for what the three environments share. Only commands are compared, without prose.

    With ``follow="expert"`` the expert's command is the state's next one, whatever was
    answered. ``observations="live"`` runs it in a sandbox, and ``info["drift"]`` says
    how far what came back is from the recording: 0 the same, 1 nothing in common.
    ``"recorded"`` needs no sandbox.

    With ``follow="agent"`` the model's own commands run. A malformed answer, or one
    without a command, changes nothing but is told to the model as its observation. The
    episode terminates with a submission and is truncated after ``max_steps``; then the
    changes are taken out as ``info["patch"]`` and verified by the hidden tests in a
    fresh sandbox, which the model never touched: reward 1 or 0, verdict in
    ``info["correct"]``. Where the trajectory has no tests there is no verdict, as in
    math.

    A failure of the machinery raises :class:`~srl_envs.sandbox.SandboxError`; it is
    never a reward.

    Args:
        source: ``"builtin_swe"`` (recorded with this package), ``"swe_smith"``,
            ``"mini_swe_agent"`` or ``"jsonl"``.
        prompt: How prompts are rendered.
        observations: None takes ``"live"`` where an engine and the images are at hand
            (or can be built from the base image), else ``"recorded"``.
            ``follow="agent"`` is always live.
        make_sandbox: Gives a clean sandbox of an image, which the environment closes;
            None makes a :class:`~srl_envs.sandbox.DockerSandbox` in the trajectory's
            ``workdir``. Where all trajectories share an image a pool serves:
            ``make_sandbox=lambda image: pool.acquire()``.
        verify: Judges a patch; None runs the hidden tests of built-in tasks.
        command_timeout: Seconds that a shell command may take.
        max_steps: Most turns of an episode with ``follow="agent"``.
        settings: Of :class:`~srl_envs.env.ExpertStepEnv`.
    """

    def __init__(
        self,
        *,
        source: str = "builtin_swe",
        prompt: PromptSettings = PromptSettings(),
        observations: Observations | None = None,
        make_sandbox: MakeSandbox | None = None,
        verify: Verify | None = None,
        command_timeout: float = 60.0,
        max_steps: int = 50,
        **settings: Any,
    ) -> None:
        if observations not in (None, *get_args(Observations)):
            raise ConfigError(f"observations is {observations!r}: use 'live', 'recorded' or None.")
        if not isinstance(prompt, PromptSettings):
            raise ConfigError(f"prompt is {prompt!r}: give PromptSettings.")
        if not isinstance(command_timeout, int | float) or not command_timeout > 0:
            raise ConfigError(f"command_timeout is {command_timeout!r}: give seconds above 0.")
        for name in {"title_hint", "system_prompt"} & set(settings):
            raise ConfigError(
                f"SRL-SWE-v0 takes no {name}: give prompt=PromptSettings(...), whose system message is swe_system_prompt."
            )
        super().__init__(source=source, max_steps=max_steps, **settings)
        if self.follow == "agent" and observations == "recorded":
            raise ConfigError(
                "follow='agent' runs the model's own commands: its observations are 'live'."
            )
        others = {trajectory.domain for trajectory in self.trajectories} - {"swe"}
        if others:
            raise ConfigError(
                f"{self.trajectories!r} holds trajectories of the domain {others.pop()!r}: SRL-SWE-v0 needs 'swe'."
            )
        self.prompt = prompt
        if observations is None:
            live = (
                self.follow == "agent"
                or make_sandbox is not None
                or images_at_hand(self.trajectories)
            )
            observations = "live" if live else "recorded"
        self.observations: Observations = observations
        self._given_make_sandbox = make_sandbox
        self._verify = verify or verify_patch
        self._timeout = command_timeout
        self._session: AgentSession | None = None
        self._turns: list[tuple[str, str]] = []
        self._expert_commands: list[Command] = []
        self._submitted = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode; live, the commands before the step that it starts at are run first.

        Raises:
            DataError: A command of the expert that is to be run cannot be read.
            SandboxError: The machinery failed.
        """
        gym.Env.reset(self, seed=seed)
        self._in_episode = False  # until all that follows has worked
        chosen, self._index = self._chosen(options or {})
        self._trajectory = self.trajectories[chosen]
        self._last, self._submitted = None, False
        self._close_sandbox()
        steps = self._trajectory.steps[: self._index]
        if self.observations == "recorded":
            self._turns = [(step.action, step.observation) for step in steps]
        else:
            last = self._length(self._trajectory) if self.follow == "expert" else self._index
            self._expert_commands = expert_commands(self._trajectory, last)
            sandbox = self._make_sandbox(image_of(self._trajectory))
            self._session = AgentSession(sandbox, self._trajectory.grammar, self._timeout)
            self._turns = [
                (step.action, self._session.observe(command))
                for step, command in zip(steps, self._expert_commands, strict=False)
            ]
        return self._state({})

    def advance(
        self, action: str, score: StepReward
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """See :meth:`~srl_envs.env.ExpertStepEnv.advance`.

        Raises:
            SandboxError: The machinery failed; that ends the episode.
        """
        self._in_episode = False  # until all that follows has worked
        return super().advance(action, score)

    def close(self) -> None:
        """Give the sandbox back; a second call does nothing."""
        self._close_sandbox()
        super().close()

    def _follow_expert(self) -> dict[str, Any]:
        step = self._trajectory.steps[self._index]
        if self._session is None:
            self._turns.append((step.action, step.observation))
            return {}
        command = self._expert_commands[self._index]
        seen = self._session.observe(command)
        self._turns.append((step.action, seen))
        return {
            "drift": drift(command, seen, step.observation, self.reward_settings.max_characters)
        }

    def _follow_agent(self, response: Response) -> bool:
        assert self._session is not None
        if response.error is not None:
            self._turns.append(
                ("(no command)", f"Your answer was malformed ({response.error}): nothing was run.")
            )
            return False
        try:
            command = grammar_named(self._trajectory.grammar).parse(response.action)
        except CommandError as error:
            self._turns.append((response.action, f"{error} Nothing was run."))
            return False
        self._turns.append((command.text, self._session.observe(command)))
        self._submitted = command.submits
        return command.submits

    def _outcome(self, response: Response) -> bool | None:
        assert self._session is not None
        try:
            self._patch = self._session.sandbox.diff()
        except DamagedRepositoryError:
            self._patch = ""  # the model destroyed the repository: that solves nothing
        return self._verify(self._trajectory, self._patch, self._make_sandbox)

    def _state(self, info: dict[str, Any], finished: bool = False) -> tuple[str, dict[str, Any]]:
        if finished and self.follow == "agent":
            info["patch"] = self._patch
        return super()._state(info, finished)

    def _messages(self, finished: bool) -> list[Message]:
        return swe_step_messages(
            self._trajectory.prompt, self._turns, self.prompt, grammar=self._trajectory.grammar
        )

    def _make_sandbox(self, image: str) -> Sandbox:
        if self._given_make_sandbox is not None:
            return self._given_make_sandbox(image)
        return DockerSandbox(image, workdir=workdir_of(self._trajectory))

    def _close_sandbox(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.sandbox.close()


class SWEVectorEnv(ExpertStepVectorEnv):
    """``SRL-SWE-v0`` in its batched form: one batch scores all answers, then the sandboxes work side by side."""

    environment = SWEEnv
    threads = 32

"""The software-engineering environment: an episode is one issue in a real repository."""

from __future__ import annotations

from typing import Any

from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError
from srl_envs.fleet import Fleet
from srl_envs.prompts.step import PromptSettings
from srl_envs.swe.domain import MakeSandbox, Observations, SWEDomain, Verify
from srl_envs.vector import ExpertStepVectorEnv


class SWEEnv(ExpertStepEnv):
    """``SRL-SWE-v0``: :class:`~srl_envs.env.ExpertStepEnv` where commands run in a sandbox.

    Only commands are compared, without prose.

    With ``follow="expert"`` the expert's command is the state's next one, whatever was
    answered. ``observations="live"`` runs it in a sandbox, and ``info["drift"]`` says
    how far what came back is from the recording: 0 the same, 1 nothing in common.
    ``"recorded"`` needs no sandbox.

    With ``follow="agent"`` the model's own commands run. A malformed answer, or one
    without a command, changes nothing; the model's observation says so. The
    episode terminates with a submission and is truncated after ``max_steps``; then the
    changes are taken out as ``info["patch"]`` and verified by the hidden tests in a
    fresh sandbox, which the model never touched: reward 1 or 0, verdict in
    ``info["correct"]``. If they cannot be taken out, the patch is empty and
    ``info["patch_error"]`` says why: the repository is gone, or more than 64 MiB
    changed. Where the trajectory has no tests there is no verdict, as in math.

    A failure of the machinery raises :class:`~srl_envs.sandbox.SandboxError`; it is
    never a reward.

    Args:
        source: ``"builtin_swe"`` (recorded with this package), ``"swe_smith"``,
            ``"mini_swe_agent"`` or ``"jsonl"``.
        prompt: How prompts are rendered.
        observations: None takes ``"live"`` where a sandbox is given, or an engine and
            the images are at hand (or can be built from the base image), else
            ``"recorded"``.
            ``follow="agent"`` is always live.
        make_sandbox: Gives a clean sandbox of a trajectory, which the environment
            closes; None makes one of the kind ``sandbox``, of the trajectory's
            ``image``, in its ``workdir``.
        verify: Judges a patch; None runs the trajectory's hidden tests.
        command_timeout: Seconds that a shell command may take.
        sandbox: A name of :data:`srl_envs.sandboxes.SANDBOXES`.
        fleet: Several Docker engines, or Ray, on which sandboxes are made
            (:func:`~srl_envs.fleet.open_fleet`); environments may share it, and wait for
            a place. None: the engine of ``DOCKER_HOST``.
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
        sandbox: str = "docker",
        fleet: Fleet | None = None,
        max_steps: int = 50,
        **settings: Any,
    ) -> None:
        for name in {"title_hint", "system_prompt"} & set(settings):
            raise ConfigError(
                f"SRL-SWE-v0 takes no {name}: give prompt=PromptSettings(...), whose system "
                "message is swe_system_prompt."
            )
        self._swe = SWEDomain(
            prompt, observations, make_sandbox, verify, command_timeout, sandbox, fleet
        )
        super().__init__(self._swe, source=source, max_steps=max_steps, **settings)

    @property
    def observations(self) -> Observations | None:
        """Where observations come from: ``"live"`` or ``"recorded"``."""
        return self._swe.observations


class SWEVectorEnv(ExpertStepVectorEnv):
    """``SRL-SWE-v0`` in its batched form: scored together, with sandboxes side by side."""

    environment = SWEEnv
    threads = 32

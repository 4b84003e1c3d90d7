"""Domains in text, and the environment of any domain: steps are compared as they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srl_envs.answers.verifier import final_answer, same_text
from srl_envs.commands import scored_text
from srl_envs.data import load_trajectories
from srl_envs.domain import DOMAINS, Domain, Follow, Reading, check_domains, register_domain
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError
from srl_envs.prompts.step import (
    STEPS_SYSTEM_PROMPT,
    Message,
    PromptSettings,
    shown_step,
    step_messages,
)
from srl_envs.response import Response
from srl_envs.reward import RewardSettings
from srl_envs.trajectory import Trajectory


@register_domain("steps")
class TextDomain:
    r"""Solutions in text; a marked final answer ends an agent's episode.

    Args:
        prompt: How prompts are rendered.
        is_correct: Whether a final answer equals the reference; the default compares text.
        when_closed: Called by :meth:`close`.
    """

    def __init__(
        self,
        prompt: PromptSettings,
        is_correct: Callable[[str, str], bool] = same_text,
        when_closed: Callable[[], None] | None = None,
    ) -> None:
        self.prompt = prompt
        self._is_correct, self._when_closed = is_correct, when_closed
        self._whole_at_end = True
        self._grammar = ""
        self._texts: list[str] = []
        self._shown: list[str] = []
        self._written: list[str] = []
        self.observation = ""

    def prepare(
        self, trajectories: Sequence[Trajectory], follow: Follow, reward: RewardSettings
    ) -> None:
        """See :meth:`Domain.prepare`; commands of software engineering are not text."""
        if any(trajectory.domain == "swe" for trajectory in trajectories):
            raise ConfigError(
                f"{trajectories!r} holds trajectories of the domain 'swe': use SRL-SWE-v0."
            )
        self._whole_at_end = follow == "expert"

    def begin(self, trajectory: Trajectory, start: int, targets: int) -> Sequence[str]:
        """See :meth:`Domain.begin`; with the title hint on, a step's heading is not asked for."""
        self._trajectory = trajectory
        self._grammar = trajectory.grammar if trajectory.has_commands else ""
        self._texts = [step.text for step in trajectory.steps]
        self._shown = [shown_step(step, self.prompt) for step in trajectory.steps]
        self._written = self._shown[:start]
        self.observation = ""
        if self._grammar:
            return [self.read(step.action).scored for step in trajectory.steps]
        return [step.action for step in trajectory.steps] if self.prompt.title_hint else self._texts

    def messages(self, index: int, finished: bool) -> list[Message]:
        """See :meth:`Domain.messages`; the expert's whole solution is shown at its end."""
        trajectory = self._trajectory
        messages = step_messages(
            trajectory.prompt,
            self._shown if finished and self._whole_at_end else self._written,
            title="" if finished or index >= len(self._texts) else trajectory.steps[index].title,
            settings=self.prompt,
        )
        if self.observation and not finished:
            last = messages[-1]
            messages[-1] = {**last, "content": f"{last['content']}\n\n{self.observation}"}
        return messages

    def read(self, action: str) -> Reading:
        """See :meth:`Domain.read`; where steps are commands, without the prose around them."""
        if not self._grammar:
            return Reading(action)
        return Reading(scored_text(action, self._grammar, self.prompt.scored))

    def follow_expert(self, index: int) -> dict[str, Any]:
        """See :meth:`Domain.follow_expert`."""
        self._written.append(self._shown[index])
        return {}

    def act(self, index: int, response: Response, reading: Reading) -> bool:
        """See :meth:`Domain.act`.

        With the title hint on, the expert's heading goes before the step: a model need not
        write it, yet every step of the prompt has it. After a malformed answer the next
        prompt says so.
        """
        self.observation = ""
        if response.error is not None:
            self.observation = malformed_note(response.error)
        else:
            shown = self.prompt.title_hint and index < len(self._texts)
            heading = self._trajectory.steps[index].heading if shown else ""
            self._written.append(heading + response.action)
        return final_answer(response.action) is not None

    def outcome(self, response: Response) -> tuple[bool | None, dict[str, Any]]:
        """See :meth:`Domain.outcome`; without a reference answer nobody can tell."""
        reference = self._trajectory.answer
        if not reference:
            return None, {}
        answer = final_answer(response.action)
        return answer is not None and self._is_correct(answer, reference), {}

    def close(self) -> None:
        """See :meth:`Domain.close`."""
        if self._when_closed is not None:
            self._when_closed()


def malformed_note(error: str) -> str:
    """What the next prompt says of a malformed answer."""
    return f"Your last answer was malformed ({error}) and does not count. Write this step again."


class StepsEnv(ExpertStepEnv):
    """``SRL-Steps-v0``: :class:`~srl_envs.env.ExpertStepEnv` for any domain.

    The trajectories' own domain is used where :func:`~srl_envs.domain.register_domain`
    knows it; those of a domain that a source declares are taken as text.

    Args:
        source: The default ``"jsonl"`` needs ``path``.
        path: See :class:`~srl_envs.env.ExpertStepEnv`, as the next four.
        split: Which part.
        limit: Most trajectories.
        held_out: How many are held out.
        split_seed: Seeds the split.
        trajectories: Ready trajectories; the source is then not read.
        title_hint: Show the title of the step to be written.
        system_prompt: The system message; empty sends none.
        settings: Of :class:`~srl_envs.env.ExpertStepEnv`.
    """

    def __init__(
        self,
        *,
        source: str = "jsonl",
        path: str | Path | None = None,
        split: Any = None,
        limit: int | None = None,
        held_out: int = 60,
        split_seed: int = 0,
        trajectories: Sequence[Trajectory] | None = None,
        title_hint: bool = True,
        system_prompt: str = STEPS_SYSTEM_PROMPT,
        **settings: Any,
    ) -> None:
        prompt = text_prompt(title_hint, system_prompt)
        if trajectories is None:
            trajectories = load_trajectories(
                source, path=path, split=split, limit=limit, held_out=held_out, seed=split_seed
            )
        super().__init__(_domain_of(trajectories, prompt), trajectories=trajectories, **settings)


def text_prompt(title_hint: bool, system_prompt: str) -> PromptSettings:
    """The prompt of a domain in text.

    Raises:
        ConfigError: An argument is of another type.
    """
    for name, value, wanted in (
        ("title_hint", title_hint, bool),
        ("system_prompt", system_prompt, str),
    ):
        if not isinstance(value, wanted):
            raise ConfigError(f"{name} is {value!r}: it must be of the type {wanted.__name__}.")
    return PromptSettings(title_hint, system_prompt)


def _domain_of(trajectories: Sequence[Trajectory], prompt: PromptSettings) -> Domain:
    check_domains(trajectories)
    names = {trajectory.domain for trajectory in trajectories}
    known = sorted(name for name in names if name in DOMAINS)
    if len(names) > 1 and set(known) - {"steps"}:
        raise ConfigError(
            f"The trajectories are of the domains {', '.join(map(repr, sorted(names)))}: "
            "give those of one domain."
        )
    return DOMAINS.named(known[0])(prompt) if known else TextDomain(prompt)

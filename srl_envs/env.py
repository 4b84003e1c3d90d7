"""The one episode loop that all environments share: walk an expert's solution, one model answer a step.

What is trained is what is scored here: prompts come from :mod:`srl_envs.prompts.step`,
rewards from :mod:`srl_envs.reward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded

from srl_envs.answers.verifier import final_answer, same_text
from srl_envs.data import load_trajectories
from srl_envs.errors import ConfigError
from srl_envs.instances import StepInstance, TrajectorySet
from srl_envs.matching import LazyBlocks
from srl_envs.prompts.step import (
    MATH_SYSTEM_PROMPT,
    Message,
    PromptSettings,
    as_text,
    step_messages,
)
from srl_envs.response import Response
from srl_envs.reward import RewardSettings, StepReward, step_reward
from srl_envs.spaces import UnicodeText
from srl_envs.trajectory import Targets, Trajectory

Follow = Literal["expert", "agent"]
"""Whose steps become the state: the expert's, whatever the model answers, or the model's own."""

_NO_STEP = ""  # an expert action to which every non-empty answer has similarity 0


class ExpertStepEnv(gym.Env[str, str]):
    r"""An episode is one expert solution; an action is the model's raw answer, think block included.

    With ``follow="expert"`` the reward is the similarity to the expert's step (-1 if
    malformed), the expert's step becomes the state whatever was answered, and the
    episode terminates after the last target; the last observation shows the whole
    solution.

    With ``follow="agent"`` the model's own well-formed actions become the state; the
    title hint is the expert's of that index while there is one. The reward is the
    similarity while an expert step of that index exists, 0 beyond, -1 if malformed. The
    episode terminates with an answer that holds a final answer (``\boxed{}`` or ``####
    N``) and is truncated after ``max_steps``; the reward of its last step is the
    outcome, 1 or 0 (still -1 if that step is malformed), and ``info["correct"]`` the
    verdict. Without a reference answer there is no verdict: the reward stays the
    similarity and ``info`` has no ``correct``.

    ``info`` describes the state that is returned by ``messages``, ``expert_action``
    (None where there is none), ``step`` (from 0) and ``instance_id``; after a step it
    describes the answer just scored by ``similarity`` (None if malformed), ``response``
    and ``matching_blocks``. ``reset(options=...)`` takes ``{"trajectory": index}`` or
    ``{"instance_id": id}`` (of a trajectory, or of one of its steps to start there);
    without it a trajectory is drawn at random. A step before the first ``reset``, or
    after the end of an episode, raises :class:`gymnasium.error.ResetNeeded`, an action
    that is no text :class:`gymnasium.error.InvalidAction`.

    Args:
        source: A source of :func:`~srl_envs.data.load_trajectories`; ``path``,
            ``split``, ``limit``, ``held_out``, ``split_seed`` go there too.
        trajectories: Ready trajectories; the source is then not read.
        targets: Which steps are asked for: the paper's ``"all_but_last"`` or ``"all"``.
            Only for ``follow="expert"``.
        title_hint: Show the title of the step to be written.
        system_prompt: The system message; empty sends none.
        reward: How answers are scored.
        follow: ``"expert"`` or ``"agent"``.
        max_steps: Most steps of an episode with ``follow="agent"``; at least 1.
        render_mode: None or ``"ansi"``.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        *,
        source: str = "builtin",
        path: str | Path | None = None,
        split: Literal["train", "validation", "test"] | None = None,
        limit: int | None = None,
        held_out: int = 60,
        split_seed: int = 0,
        trajectories: Sequence[Trajectory] | None = None,
        targets: Targets = "all_but_last",
        title_hint: bool = True,
        system_prompt: str = MATH_SYSTEM_PROMPT,
        reward: RewardSettings = RewardSettings(),
        follow: Follow = "expert",
        max_steps: int = 30,
        render_mode: str | None = None,
    ) -> None:
        _check("targets", targets, get_args(Targets))
        _check("follow", follow, get_args(Follow))
        _check("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        _check_type("title_hint", title_hint, bool)
        _check_type("system_prompt", system_prompt, str)
        _check_type("reward", reward, RewardSettings)
        _check_type("max_steps", max_steps, int)
        if max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}: it must be at least 1.")
        if trajectories is None:
            trajectories = load_trajectories(
                source, path=path, split=split, limit=limit, held_out=held_out, seed=split_seed
            )
        self.trajectories = (
            trajectories
            if isinstance(trajectories, TrajectorySet)
            else TrajectorySet(trajectories, "trajectories")
        )
        self.targets, self.follow, self.max_steps, self.render_mode = (
            targets,
            follow,
            max_steps,
            render_mode,
        )
        self.prompt, self.reward_settings = PromptSettings(title_hint, system_prompt), reward
        self._usable = [
            i for i, trajectory in enumerate(self.trajectories) if self._length(trajectory)
        ]
        if not self._usable:
            raise ConfigError(
                f"{self.trajectories!r}: no trajectory has a target step; with targets='all' the last step is one too."
            )
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self._trajectory = self.trajectories[self._usable[0]]
        self._index = 0
        self._own_steps: list[str] = []
        self._last: tuple[int, str, str, StepReward] | None = (
            None  # step, what was written, what the expert wrote, score
        )
        self._in_episode = False

    @property
    def expert_action(self) -> str | None:
        """What the next answer is compared with; None where the expert has no further step to give."""
        if self._index >= min(self._length(self._trajectory), len(self._trajectory.steps)):
            return None
        return self._instance(self._index).expert_action

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode; see the class for the options."""
        super().reset(seed=seed)
        chosen, self._index = self._chosen(options or {})
        self._trajectory = self.trajectories[chosen]
        self._own_steps = [step.text for step in self._trajectory.steps[: self._index]]
        self._last = None
        return self._state({})

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score one answer and go on to the next step."""
        self.check_action(action)
        return self.advance(
            action,
            step_reward(
                action, self.expert_action or _NO_STEP, self.reward_settings, scored=self.scored
            ),
        )

    def check_action(self, action: str) -> None:
        """Refuse what :meth:`step` cannot score.

        Raises:
            ResetNeeded: No episode is under way.
            InvalidAction: The action is no text.
        """
        if not self._in_episode:
            raise ResetNeeded(
                "No episode is under way, or it has ended: call reset() before step()."
            )
        if not isinstance(action, str):
            raise InvalidAction(
                f"An action is the model's answer, a text, not {type(action).__name__}."
            )

    def scored(self, action: str) -> str:
        """What of the model's action is compared with :attr:`expert_action`."""
        return self._instance(min(self._index, len(self._trajectory.steps) - 1)).scored(action)

    def advance(
        self, action: str, score: StepReward
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """What :meth:`step` does with an answer that is scored already: the batched form scores all its environments' answers at once."""
        expert, response = self.expert_action or _NO_STEP, score.response
        limit = self.reward_settings.max_characters
        blocks = LazyBlocks(
            self.scored(response.action)[:limit],
            expert.strip()[:limit],
            self.reward_settings.autojunk,
        )
        self._last = (self._index, action, expert, score)
        info: dict[str, Any] = {
            "similarity": score.similarity,
            "response": response,
            "matching_blocks": blocks,
        }
        value, truncated = score.value, False
        if self.follow == "expert":
            info |= self._follow_expert()
            self._index += 1
            terminated = self._index >= self._length(self._trajectory)
        else:
            terminated = self._follow_agent(response)
            self._index += 1
            truncated = not terminated and self._index >= self.max_steps
            if terminated or truncated:
                correct = self._outcome(response)
                if (
                    correct is not None
                ):  # left out otherwise: the array of a vector environment would make a None False
                    info["correct"] = correct
                    value = float(correct) if response.error is None else value
        observation, info = self._state(info, finished=terminated or truncated)
        return observation, value, terminated, truncated, info

    def is_correct(self, answer: str, reference: str) -> bool:
        """Whether a final answer is right: here, the same text; a domain that knows better overrides it."""
        return same_text(answer, reference)

    def render(self) -> str | None:
        """With ``render_mode="ansi"``: the last answer beside the expert's step, or the prompt if nothing was answered yet."""
        if self.render_mode is None:
            return None
        from srl_envs.rendering import side_by_side

        if self._last is None:
            return as_text(self._messages(finished=False))
        index, action, expert, score = self._last
        said = (
            f"malformed: {score.response.error}\n\n{action}"
            if score.response.error
            else score.response.action
        )
        return side_by_side(
            f"{self._trajectory.id}, step {index + 1}, reward {score.value:.3f}", said, expert
        )

    def close(self) -> None:
        """End the episode; a second call does nothing."""
        self._in_episode = False
        super().close()

    def _state(self, info: dict[str, Any], finished: bool = False) -> tuple[str, dict[str, Any]]:
        self._in_episode = not finished
        messages = self._messages(finished)
        info |= {
            "messages": messages,
            "expert_action": None if finished else self.expert_action,
            "step": self._index,
            "instance_id": f"{self._trajectory.id}/{self._index + 1}",
        }
        return as_text(messages), info

    def _messages(self, finished: bool) -> list[Message]:
        steps = self._trajectory.steps
        expert = steps if finished else steps[: self._index]
        previous = self._own_steps if self.follow == "agent" else [step.text for step in expert]
        title = "" if finished or self._index >= len(steps) else steps[self._index].title
        return step_messages(self._trajectory.prompt, previous, title=title, settings=self.prompt)

    def _heading(self) -> str:
        """What the expert wrote in front of the step: with the title hint a model need not write it, yet every step of the prompt has it."""
        steps = self._trajectory.steps
        return (
            steps[self._index].heading
            if self.prompt.title_hint and self._index < len(steps)
            else ""
        )

    def _length(self, trajectory: Trajectory) -> int:
        """How many expert steps an episode compares with."""
        return (
            trajectory.target_count(self.targets)
            if self.follow == "expert"
            else len(trajectory.steps)
        )

    def _instance(self, index: int) -> StepInstance:
        return StepInstance(self._trajectory, index, self.prompt)

    def _follow_expert(self) -> dict[str, Any]:
        """Make the expert's step the state; what it adds to ``info``."""
        return {}

    def _follow_agent(self, response: Response) -> bool:
        """Make the model's own step the state; whether it ends the episode."""
        if response.error is None:
            self._own_steps.append(self._heading() + response.action)
        return final_answer(response.action) is not None

    def _outcome(self, response: Response) -> bool | None:
        """Whether the episode that ended with this answer reached its goal; None if nobody can tell."""
        if not self._trajectory.answer:
            return None
        answer = final_answer(response.action)
        return answer is not None and self.is_correct(answer, self._trajectory.answer)

    def _chosen(self, options: dict[str, Any]) -> tuple[int, int]:
        """Which trajectory, and at which step it starts."""
        _check_options(options)
        if "instance_id" in options:
            return self._found(options["instance_id"])
        if "trajectory" not in options:
            return self._usable[int(self.np_random.integers(len(self._usable)))], 0
        given = options["trajectory"]
        index = int(given) if isinstance(given, np.integer) else given
        if (
            not isinstance(index, int)
            or index not in range(len(self.trajectories))
            or not self._length(self.trajectories[index])
        ):
            raise ConfigError(
                f"trajectory is {index!r}: use 0 to {len(self.trajectories) - 1}, one that has a target step."
            )
        return index, 0

    def _found(self, instance_id: str) -> tuple[int, int]:
        for which in self._usable:
            trajectory = self.trajectories[which]
            if trajectory.id == instance_id:
                return which, 0
            name, _, number = str(instance_id).rpartition("/")
            if (
                trajectory.id == name
                and number.isdecimal()
                and 1 <= int(number) <= self._length(trajectory)
            ):
                return which, int(number) - 1
        raise ConfigError(
            f"instance_id is {instance_id!r}: {self.trajectories!r} has no such trajectory or target step."
        )


def _check(name: str, value: object, valid: Sequence[object]) -> None:
    if value not in valid:
        raise ConfigError(f"{name} is {value!r}: use one of {', '.join(map(repr, valid))}.")


def _check_type(name: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise ConfigError(f"{name} is {value!r}: it must be of the type {wanted.__name__}.")


def _check_options(options: dict[str, Any]) -> None:
    unknown = set(options) - {"trajectory", "instance_id"}
    if unknown or len(options) > 1:
        raise ConfigError(
            f"The options of reset are {options!r}: use one of 'trajectory', 'instance_id'."
        )

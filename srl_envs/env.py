"""The one episode loop: walk an expert's solution, one model answer a step.

:meth:`ExpertStepEnv.step` reads from top to bottom; what differs between math, software
engineering and the rest is a :class:`~srl_envs.domain.Domain` that it is given. Prompts
and rewards are those of training: what is trained is what is scored here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded

from srl_envs.data import load_trajectories
from srl_envs.domain import Domain, Follow, Reading, check_domains
from srl_envs.errors import ConfigError
from srl_envs.instances import TrajectorySet
from srl_envs.matching import LazyBlocks
from srl_envs.prompts.step import PromptSettings, as_text
from srl_envs.response import ModelAnswer, Response, parse_response, whole_text
from srl_envs.reward import RewardSettings, StepReward, response_rewards
from srl_envs.rewards import needs_state
from srl_envs.spaces import AnswerSpace, UnicodeText
from srl_envs.trajectory import Targets, Trajectory

_NO_STEP = ""  # an expert action to which every non-empty answer has similarity 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One model answer, read once.

    Attributes:
        text: What the model wrote, its thought in a block.
        response: Its thought and action.
        reading: What the domain reads in the action.
        expert: What it is compared with; empty where the expert has no such step.
        at: The expert's trajectory, and the step's index in it.
    """

    text: str
    response: Response
    reading: Reading
    expert: str
    at: tuple[Trajectory, int]


class ExpertStepEnv(gym.Env[str, ModelAnswer]):
    r"""An episode is one expert solution; an action is the model's raw answer with its thought.

    The answer is one text, or a :class:`~srl_envs.SplitAnswer` where the thought came
    apart from it.

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
    that is not an answer :class:`gymnasium.error.InvalidAction`.

    Args:
        domain: What differs by domain; it serves this environment alone.
        source: A source of :func:`~srl_envs.data.load_trajectories`; ``path``,
            ``split``, ``limit``, ``held_out``, ``split_seed`` go there too.
        trajectories: Ready trajectories; the source is then not read.
        targets: Which steps are asked for: the paper's ``"all_but_last"`` or ``"all"``.
            Only for ``follow="expert"``.
        reward: How answers are scored.
        follow: ``"expert"`` or ``"agent"``.
        max_steps: Most steps of an episode with ``follow="agent"``; at least 1.
        render_mode: None or ``"ansi"``.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        domain: Domain,
        *,
        source: str = "builtin",
        path: str | Path | None = None,
        split: Literal["train", "validation", "test"] | None = None,
        limit: int | None = None,
        held_out: int = 60,
        split_seed: int = 0,
        trajectories: Sequence[Trajectory] | None = None,
        targets: Targets = "all_but_last",
        reward: RewardSettings = RewardSettings(),
        follow: Follow = "expert",
        max_steps: int = 30,
        render_mode: str | None = None,
    ) -> None:
        _check("targets", targets, get_args(Targets))
        _check("follow", follow, get_args(Follow))
        _check("render_mode", render_mode, (None, *self.metadata["render_modes"]))
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
        self.domain, self.reward_settings = domain, reward
        self._usable = [
            i for i, trajectory in enumerate(self.trajectories) if self._length(trajectory)
        ]
        if not self._usable:
            raise ConfigError(
                f"{self.trajectories!r}: no trajectory has a target step; with targets='all' the "
                "last step is one too."
            )
        check_domains(self.trajectories)
        if follow == "agent" and needs_state(reward.name):
            raise ConfigError(
                f"The reward {reward.name!r} compares in the expert's state: use follow='expert'."
            )
        reward.check(self.trajectories)
        domain.prepare(self.trajectories, follow, reward)
        self.observation_space = UnicodeText()
        self.action_space = AnswerSpace()
        self._trajectory = self.trajectories[self._usable[0]]
        self._expert_actions: Sequence[str] = ()
        self._targets = 0
        self._index = 0
        self._last: tuple[int, Answer, StepReward] | None = None
        self._in_episode = False

    @property
    def prompt(self) -> PromptSettings:
        """How prompts are rendered."""
        return self.domain.prompt

    @property
    def expert_action(self) -> str | None:
        """What the next answer is compared with; None where the expert has no further step."""
        return self._expert_actions[self._index] if self._index < self._targets else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode; see the class for the options.

        Raises:
            ConfigError: An option fits no trajectory.
            DataError: A step of the expert that is to be followed cannot be read.
            SandboxError: The machinery of the domain failed.
        """
        super().reset(seed=seed)
        chosen, self._index = self._chosen(options or {})
        self._in_episode = False  # until all that follows has worked
        self._trajectory = self.trajectories[chosen]
        self._targets, self._last = self._length(self._trajectory), None
        self._expert_actions = self.domain.begin(self._trajectory, self._index, self._targets)
        return self._state({}, finished=False)

    def step(self, action: ModelAnswer) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score one answer and go on to the next step.

        Raises:
            ResetNeeded: No episode is under way.
            InvalidAction: The action is neither a text nor thought and action.
            SandboxError: The machinery of the domain failed; that ends the episode.
        """
        answer = self.read(action)
        return self.advance(answer, self.score(answer))

    def read(self, action: ModelAnswer, *, truncated: bool = False) -> Answer:
        """The first part of :meth:`step`: read the answer, once.

        Args:
            action: What the model wrote.
            truncated: It hit the token limit, and so is malformed.

        Raises:
            ResetNeeded: No episode is under way.
            InvalidAction: The action is neither a text nor thought and action.
        """
        if not self._in_episode:
            raise ResetNeeded(
                "No episode is under way, or it has ended: call reset() before step()."
            )
        try:
            text = whole_text(action)
        except TypeError as error:
            raise InvalidAction(str(error)) from None
        response = parse_response(action, self.reward_settings.format, truncated=truncated)
        reading = self.domain.read(response.action) if response.error is None else Reading("")
        expert = self.expert_action or _NO_STEP
        return Answer(text, response, reading, expert, (self._trajectory, self._index))

    def score(self, answer: Answer) -> StepReward:
        """The second part of :meth:`step`: what the answer earns."""
        (score,) = response_rewards(
            [answer.response],
            [answer.reading.scored],
            [answer.expert],
            self.reward_settings,
            [answer.at],
        )
        return score

    def advance(
        self, answer: Answer, score: StepReward, *, verify: bool = True
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """The last part of :meth:`step`, apart for those who score many answers at once.

        Args:
            answer: Of :meth:`read`.
            score: Of this answer.
            verify: With False the end of an agent's episode is not verified here:
                :meth:`outcome` does it.
        """
        self._in_episode = False  # until all that follows has worked
        self._last = (self._index, answer, score)
        settings, response = self.reward_settings, answer.response
        info: dict[str, Any] = {
            "similarity": score.similarity,
            "response": response,
            "matching_blocks": LazyBlocks(
                answer.reading.scored[: settings.max_characters],
                answer.expert.strip()[: settings.max_characters],
                settings.autojunk,
            ),
        }
        value, truncated = score.value, False
        if self.follow == "expert":
            info |= self.domain.follow_expert(self._index)
            self._index += 1
            terminated = self._index >= self._targets
        else:
            terminated = self.domain.act(self._index, response, answer.reading)
            self._index += 1
            truncated = not terminated and self._index >= self.max_steps
            if verify and (terminated or truncated):
                info |= self.outcome()
                if "correct" in info:
                    value = float(info["correct"]) if response.error is None else value
        observation, info = self._state(info, finished=terminated or truncated)
        return observation, value, terminated, truncated, info

    def outcome(self) -> dict[str, Any]:
        """Verify an agent's episode as it stands, which ends it.

        Returns:
            What the domain says of the end; ``correct`` is the verdict, and left out
            where nobody can tell.

        Raises:
            ResetNeeded: There was no episode yet.
            SandboxError: The machinery of the domain failed.
        """
        if self._last is None and not self._in_episode:
            raise ResetNeeded("There is nothing to verify yet: call reset() first.")
        response = Response("", "", "empty_action")
        if self._last is not None:
            response = self._last[1].response
        self._in_episode = False
        correct, info = self.domain.outcome(response)
        # Left out if unknown: the array of a vector environment makes a None False.
        return info if correct is None else info | {"correct": correct}

    def render(self) -> str | None:
        """With ``render_mode="ansi"``: the last answer beside the expert's step.

        Where nothing was answered yet it is the prompt.

        Raises:
            ResetNeeded: There was no episode yet.
        """
        if self.render_mode is None:
            return None
        from srl_envs.rendering import side_by_side

        if self._last is None:
            if not self._in_episode:
                raise ResetNeeded("There is nothing to show yet: call reset() before render().")
            return as_text(self.domain.messages(self._index, finished=False))
        index, answer, score = self._last
        response = answer.response
        said = (
            f"malformed: {response.error}\n\n{answer.text}" if response.error else response.action
        )
        heading = f"{self._trajectory.id}, step {index + 1}, reward {score.value:.3f}"
        return side_by_side(heading, said, answer.expert)

    def close(self) -> None:
        """End the episode; a second call does nothing."""
        self._in_episode = False
        self.domain.close()
        super().close()

    def _state(self, info: dict[str, Any], finished: bool) -> tuple[str, dict[str, Any]]:
        messages = self.domain.messages(self._index, finished)
        info |= {
            "messages": messages,
            "expert_action": None if finished else self.expert_action,
            "step": self._index,
            "instance_id": f"{self._trajectory.id}/{self._index + 1}",
        }
        self._in_episode = not finished
        return as_text(messages), info

    def _length(self, trajectory: Trajectory) -> int:
        """How many expert steps an episode compares with."""
        return (
            trajectory.target_count(self.targets)
            if self.follow == "expert"
            else len(trajectory.steps)
        )

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
                f"trajectory is {index!r}: use 0 to {len(self.trajectories) - 1}, one that has a "
                "target step."
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
            f"instance_id is {instance_id!r}: {self.trajectories!r} has no such trajectory or "
            "target step."
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

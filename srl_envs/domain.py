"""What an environment asks of a domain: :class:`Domain`, stated once, and the domains by name.

The episode loop is :class:`srl_envs.env.ExpertStepEnv`, the same for all. A domain of your
own needs no environment of its own:

    @register_domain("chess")
    class Chess: ...          # made of PromptSettings, has the methods of Domain

    gym.make("SRL-Steps-v0", source="openings")      # whose trajectories have domain="chess"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from srl_envs.errors import ConfigError
from srl_envs.prompts.step import STEPS_SYSTEM_PROMPT, Message, PromptSettings
from srl_envs.registry import Registry
from srl_envs.response import Response
from srl_envs.reward import RewardSettings
from srl_envs.trajectory import Trajectory

Follow = Literal["expert", "agent"]
"""Whose steps become the state: the expert's, whatever the model answers, or the model's own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a domain reads in an action. Each action is read once, and this is passed on.

    Attributes:
        scored: The part that is compared with the expert's.
        meaning: For the domain's own use in :meth:`Domain.act`: the command, say.
    """

    scored: str
    meaning: object = None


class Domain(Protocol):
    """What differs between math, software engineering and the rest; one object an environment.

    Attributes:
        prompt: How prompts are rendered.
    """

    prompt: PromptSettings

    def prepare(
        self, trajectories: Sequence[Trajectory], follow: Follow, reward: RewardSettings
    ) -> None:
        """Called once, before the first episode, with the settings of the environment.

        Raises:
            ConfigError: They do not fit this domain.
        """

    def begin(self, trajectory: Trajectory, start: int, targets: int) -> Sequence[str]:
        """Begin an episode at the step ``start``: the expert's steps before it are the state.

        Args:
            trajectory: The expert's solution.
            start: The index of the first step to be written.
            targets: How many of the first steps are compared.

        Returns:
            The expert's action of each step, as :attr:`Reading.scored` is compared with it.
        """

    def messages(self, index: int, finished: bool) -> list[Message]:
        """The prompt that asks for the step ``index``, or the whole episode if it has ended."""

    def read(self, action: str) -> Reading:
        """Read a model's action; nothing is malformed here, what has no meaning is compared."""

    def follow_expert(self, index: int) -> dict[str, Any]:
        """Make the expert's step the state; returns what this adds to ``info``."""

    def act(self, index: int, response: Response, reading: Reading) -> bool:
        """Make the model's own step, malformed or not, the state; whether that ends the episode."""

    def outcome(self, response: Response) -> tuple[bool | None, dict[str, Any]]:
        """Whether the episode that this answer ended reached its goal, and an addition to ``info``.

        The first is None where nobody can tell.
        """

    def close(self) -> None:
        """Give back what the domain holds; a second call does nothing."""


DomainT = TypeVar("DomainT", bound=Callable[[PromptSettings], Domain])


def _checked(name: str, made: Any) -> Callable[[PromptSettings], Domain]:
    if not callable(made):
        raise ConfigError(f"The domain {name!r} is {made!r}: give a class or a function.")
    return made  # type: ignore[no-any-return]


DOMAINS: Registry[Callable[[PromptSettings], Domain]] = Registry(
    "domain", "srl_envs.domains", _checked
)
"""What ``SRL-Steps-v0`` makes of a trajectory's domain name; other known names are text."""

OURS = ("math", "steps", "swe")
_declared = set(OURS)


def register_domain(name: str) -> Callable[[DomainT], DomainT]:
    """Register a domain: a decorator of what makes one of :class:`PromptSettings`.

    Args:
        name: A new name, :attr:`Trajectory.domain <srl_envs.Trajectory.domain>` of its
            trajectories.

    Raises:
        ConfigError: The name is taken.
    """

    def decorated(made: DomainT) -> DomainT:
        declare_domain(name)
        DOMAINS.register(name, made)
        return made

    return decorated


def declare_domain(name: str) -> None:
    """Let trajectories be of this domain, whose steps are text until it is registered.

    Raises:
        ConfigError: The name is empty, or is a known one in another spelling.
    """
    spelled = str(name).strip().casefold()
    same = [other for other in _declared if spelled == other.casefold()]
    if not isinstance(name, str) or not spelled or (same and name not in same):
        raise ConfigError(
            f"The domain is {name!r}: use one of {', '.join(known_domains())}, or a new name."
        )
    _declared.add(name)


def known_domains() -> list[str]:
    """All domains: ours, those that sources declare, and registered ones."""
    return sorted({*_declared, *DOMAINS.names()})


def check_domains(trajectories: Iterable[Trajectory]) -> None:
    """Check that each trajectory is of a known domain.

    Raises:
        ConfigError: Nothing has declared or registered one: it may be misspelt.
    """
    for trajectory in trajectories:
        name = trajectory.domain
        if name not in _declared and name not in DOMAINS:
            raise ConfigError(
                f"Trajectory {trajectory.id!r} has the unknown domain {name!r}. Use one of "
                f"{', '.join(known_domains())}, or register it: register_source(...,"
                f" domain={name!r}) or register_domain({name!r})."
            )


@contextmanager
def domain_at(
    trajectory: Trajectory, index: int, prompt: PromptSettings
) -> Iterator[tuple[Domain, Sequence[str]]]:
    """A trajectory's registered domain, with the expert's first ``index`` steps as its state.

    So a step is trained on the prompt that its environment shows.

    Args:
        trajectory: Of a domain in :data:`DOMAINS`.
        index: Of the step that is to be written.
        prompt: How prompts are rendered.

    Yields:
        The domain, and what each step is compared with.
    """
    if prompt.system_prompt is None:
        prompt = replace(prompt, system_prompt=STEPS_SYSTEM_PROMPT)
    domain = DOMAINS.named(trajectory.domain)(prompt)
    try:
        domain.prepare([trajectory], "expert", RewardSettings())
        yield domain, domain.begin(trajectory, index, len(trajectory.steps))
    finally:
        domain.close()

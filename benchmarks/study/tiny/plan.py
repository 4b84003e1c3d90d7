"""The tiny study's settings, and its arms as trainings of ``srl_agent``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from srl_envs.errors import ConfigError

Settings = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """A part of the pretraining.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Its peak; it rises for 100 steps and falls over the last 40%.
        share_of_working: How often a thought holds the working.
    """

    steps: int
    learning_rate: float
    share_of_working: float


@dataclass(frozen=True)
class BaseSettings:
    """The base model, its pretraining, and what it must be.

    Attributes:
        hidden_size: Width, a multiple of 4.
        layers: Depth.
        batch: Examples a step.
        lengths: How often chains of 1, 2, ... operations are drawn.
        phases: In order; the last makes the working rare.
        check: Problems that it is checked on; none of them is a problem of the test.
        solved_at_least: Share solved greedily before the last phase.
        pass_at_8_below: Share solved in at least one of 8 samples, after it.
    """

    hidden_size: int
    layers: int
    batch: int
    lengths: list[float]
    phases: list[Phase]
    check: int
    solved_at_least: float
    pass_at_8_below: float


@dataclass(frozen=True)
class Tiny:
    """The tiny study; ``benchmarks/study/tiny.yaml`` says what each setting is."""

    bases: int
    seeds: int
    length: int
    train: int
    test: int
    test_passk: int
    curve: int
    steps: int
    training: Settings
    base: BaseSettings

    def __post_init__(self) -> None:
        for name in ("bases", "seeds", "length", "train", "test", "test_passk", "curve"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.steps < 3 or self.steps % 3:
            raise ConfigError(
                f"steps is {self.steps}: it must be a multiple of 3, for a curriculum takes two"
                " thirds of them for its first method."
            )

    @property
    def step_tokens(self) -> int:
        """Enough for a step with its working and the answer in a box."""
        return 40

    @property
    def whole_tokens(self) -> int:
        """Enough for a whole solution with all of its workings."""
        return 33 * self.length + 8

    def plain(self) -> Settings:
        """All of it, as JSON and YAML can hold it."""
        return asdict(self)


def tiny_settings(path: Path, seeds: int | None = None) -> Tiny | None:
    """The settings of a YAML file; None if it is a size of another kind, or not there.

    Args:
        path: The file.
        seeds: Replaces the file's, unless None.

    Raises:
        ConfigError: They are not those of :class:`Tiny`.
    """
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(settings, dict) or "base" not in settings:
        return None
    try:
        base = dict(settings["base"])
        base["phases"] = [Phase(**phase) for phase in base["phases"]]
        tiny = Tiny(**{**settings, "base": BaseSettings(**base)})
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: settings are missing or wrong: {error}.") from None
    return tiny if seeds is None else replace(tiny, seeds=seeds)

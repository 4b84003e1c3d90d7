"""The settings of an evaluation of agents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from srl_agent.inference.generator import GenerationSettings
from srl_agent.rollouts.episode_settings import EpisodeSettings
from srl_agent.rollouts.source_settings import SourceSettings
from srl_envs.data import SOURCES
from srl_envs.data.registry import Split
from srl_envs.data.splits import check_whole_number
from srl_envs.errors import require
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.sandboxes import SANDBOXES

SPLITS = ("all", *get_args(Split))


@dataclass
class AgentConfig(EpisodeSettings, SourceSettings):
    """Tasks, how they are tried, and where the results go."""

    source: str = field(
        default="builtin_swe",
        metadata={
            "help": (
                f"Whose tasks: {', '.join(SOURCES.names())}; or a hub name of one of them, or the"
                " path of a .jsonl in our schema. Those without hidden tests or a reference answer"
                " are left out."
            )
        },
    )
    split: str = field(
        default="all",
        metadata={
            "help": (
                "Which of them. all: every task that the source trains on; validation: the held_out"
                " questions that a training run with this split_seed never saw; train: the others;"
                " test: the source's own test set."
            ),
            "choices": list(SPLITS),
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Run folder; rerun the same command to resume. None: runs/agent-<source>-<model>."
            )
        },
    )
    num_samples: int = field(
        default=1,
        metadata={
            "help": "Episodes of each task: n of pass@k. More than 1 needs a temperature above 0."
        },
    )
    temperature: float = field(default=0.0, metadata={"help": "Of every answer; 0 is greedy."})
    top_p: float = field(
        default=1.0,
        metadata={"help": "Nucleus of sampled answers, in (0, 1]; 1 keeps every token."},
    )
    max_new_tokens: int = field(
        default=2048, metadata={"help": "Most tokens of one answer, the thought included."}
    )
    seed: int = field(
        default=0, metadata={"help": "Decides sampled answers, and the resamples of intervals."}
    )
    require_think: bool = field(
        default=True,
        metadata={
            "help": (
                "An answer without a think block is malformed. False accepts it: for models that"
                " were not trained to think so."
            )
        },
    )
    page_episodes: int = field(
        default=300,
        metadata={
            "help": (
                "Most episodes that report.html shows, spread over the tasks; episodes.jsonl has"
                " all. At least 1."
            )
        },
    )

    def __post_init__(self) -> None:
        self.check_episodes()
        SANDBOXES.named(self.sandbox)
        require(self.split in SPLITS, "split", self.split, f"one of {', '.join(SPLITS)}")
        self.check_source()
        for name in ("num_samples", "max_new_tokens", "page_episodes"):
            check_whole_number(name, getattr(self, name), 1)
        require(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or above")
        require(
            self.num_samples == 1 or self.temperature > 0,
            "num_samples",
            self.num_samples,
            "1 at temperature 0, where every episode of a task would be the same",
        )

    @property
    def generation(self) -> GenerationSettings:
        """How answers are drawn."""
        return GenerationSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    @property
    def prompt_settings(self) -> PromptSettings:
        """How prompts are rendered."""
        return PromptSettings(
            title_hint=False,
            system_prompt=self.system_prompt,
            history_turns=self.history_turns,
            observation_characters=self.observation_characters or None,
            swe_system_prompt=self.system_prompt,
        )

    @property
    def reward_settings(self) -> RewardSettings:
        """Which shape answers must have."""
        return RewardSettings(format=ResponseFormat(require_think=self.require_think))

    def identity(self) -> dict[str, Any]:
        """The settings on which episodes depend: all of a folder have the same."""
        names = (
            *("source", "dataset_path", "dataset_config", "dataset_revision", "tasks"),
            "hub_split",
            *("temperature", "top_p", "max_new_tokens", "seed", "history_turns"),
            *("observation_characters", "system_prompt", "require_think", "episode_history"),
            *("episode_turns", "episode_tokens", "episode_seconds", "sandbox", "command_timeout"),
        )
        return {name: getattr(self, name) for name in names}

"""The settings of ``collect curate``: which filters run, in which order, and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from srl_envs.data.splits import check_whole_number
from srl_envs.errors import ConfigError, require
from srl_envs.trajectory import Targets

ORDER = (
    "length",
    "language",
    "near_duplicates",
    "benchmark_overlap",
    "repeats_prompt",
    "replay",
    "teacher_agreement",
)
"""The filters in the order in which they run when none is named."""

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "length": ("min_steps", "max_steps", "max_prompt_characters", "max_step_characters"),
    "language": ("languages",),
    "near_duplicates": ("duplicate_share",),
    "benchmark_overlap": (),
    "repeats_prompt": ("repeat_share",),
    "replay": ("replay_report", "max_drift"),
    "teacher_agreement": ("agreement_share", "other_solutions"),
}
_NEEDS = {"language": "languages", "replay": "replay_report"}


@dataclass
class CurateConfig:
    """Which filters run, in which order, and what they ask for."""

    dataset_path: str | None = field(
        default=None,
        metadata={"help": "Local file or folder, where IN names a source; None reads the hub."},
    )
    resolved_only: bool = field(
        default=True,
        metadata={
            "help": (
                "Leave out agents' runs that did not solve their issue, and those that do not say"
                " whether they did."
            )
        },
    )
    filters: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                f"Filters in the order in which they run, of {', '.join(ORDER)}. None runs all of"
                " them in this order; language and replay only where their settings are given."
            )
        },
    )
    targets: str = field(
        default="all_but_last",
        metadata={
            "help": (
                "Which steps are trained on, all_but_last or all: a trajectory with none left is"
                " dropped."
            )
        },
    )
    min_steps: int = field(
        default=2, metadata={"help": "length: fewest steps of a trajectory, at least 1."}
    )
    max_steps: int | None = field(
        default=None, metadata={"help": "length: most steps of a trajectory. None: no bound."}
    )
    max_prompt_characters: int | None = field(
        default=None, metadata={"help": "length: most characters of a prompt. None: no bound."}
    )
    max_step_characters: int | None = field(
        default=16_000,
        metadata={
            "help": (
                "length: a longer step is context, and not trained on. None: no bound. 16000 is"
                " how much of an action the reward compares."
            )
        },
    )
    languages: list[str] | None = field(
        default=None,
        metadata={"help": "language: those that are kept, by ISO 639-1 code, such as en de."},
    )
    duplicate_share: float = field(
        default=0.8,
        metadata={
            "help": (
                "near_duplicates: a trajectory that has this share of its runs of 5 words in"
                " common with one before it is dropped. In (0, 1]."
            )
        },
    )
    repeat_share: float = field(
        default=0.9,
        metadata={
            "help": (
                "repeats_prompt: a step with this share of its words in runs of 4 that are the"
                " prompt's is not trained on. In (0, 1]."
            )
        },
    )
    replay_report: str | None = field(
        default=None,
        metadata={"help": "replay: what python -m srl_envs.replay --report wrote of IN."},
    )
    max_drift: float = field(
        default=1.0,
        metadata={"help": "replay: largest mean drift that is kept, 0 to 1."},
    )
    agreement_share: float = field(
        default=0.5,
        metadata={
            "help": (
                "teacher_agreement: least share of the solutions to a question that end in the"
                " same answer. In (0, 1]."
            )
        },
    )
    other_solutions: list[str] | None = field(
        default=None,
        metadata={"help": "teacher_agreement: further .jsonl files whose solutions vote too."},
    )
    samples: int = field(
        default=10, metadata={"help": "Examples of what a filter dropped, on the page. 0: none."}
    )

    def __post_init__(self) -> None:
        require(
            self.targets in ("all_but_last", "all"), "targets", self.targets, "all_but_last or all"
        )
        self.filters = self._chosen()
        self._refuse_unused()
        check_whole_number("min_steps", self.min_steps, 1)
        check_whole_number("samples", self.samples, 0)
        for name in ("max_steps", "max_prompt_characters", "max_step_characters"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name), 1, ", or None")
        for name in ("duplicate_share", "repeat_share", "agreement_share"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        require(0 <= self.max_drift <= 1, "max_drift", self.max_drift, "from 0 to 1")
        for code in self.languages or ():
            require(
                code.isalpha() and len(code) in (2, 3), "languages", code, "ISO codes such as en"
            )

    def _chosen(self) -> list[str]:
        if self.filters is None:
            return [name for name in ORDER if name not in _NEEDS or getattr(self, _NEEDS[name])]
        for name in self.filters:
            require(name in ORDER, "filters", name, f"of {', '.join(ORDER)}")
            if name in _NEEDS and not getattr(self, _NEEDS[name]):
                raise ConfigError(f"The filter {name} needs --{_NEEDS[name]}.")
        twice = [name for name in self.filters if self.filters.count(name) > 1]
        require(not twice, "filters", twice, "each named once")
        return list(self.filters)

    def _refuse_unused(self) -> None:
        """Refuse a setting of a filter that does not run."""
        defaults = {one.name: one.default for one in fields(self)}
        for name in ORDER:
            for setting in _SETTINGS[name]:
                if name not in (self.filters or ()) and getattr(self, setting) != defaults[setting]:
                    raise ConfigError(
                        f"{setting} has no effect: the filter {name} does not run. Add it to"
                        " --filters."
                    )

    @property
    def chosen_targets(self) -> Targets:
        """Which steps are trained on."""
        return "all" if self.targets == "all" else "all_but_last"

    def settings_of(self, name: str) -> dict[str, Any]:
        """The settings of a filter."""
        return {setting: getattr(self, setting) for setting in _SETTINGS[name]}

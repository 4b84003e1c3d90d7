"""Where tasks come from, as settings of a command line: the same in training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from srl_envs.data import SOURCES, load_trajectories
from srl_envs.data.agent_sets import HUB_SPLITS
from srl_envs.data.registry import Split
from srl_envs.data.splits import check_whole_number
from srl_envs.instances import TrajectorySet


@dataclass
class SourceSettings:
    """A source of expert solutions, its split by question, and what a prompt shows."""

    source: str = field(
        default="builtin",
        metadata={
            "help": (
                f"Expert solutions: {', '.join(SOURCES.names())}; or a hub name of one of them, or "
                "the path of a .jsonl in our schema."
            )
        },
    )
    dataset_path: str | None = field(
        default=None,
        metadata={
            "help": (
                "Local file or folder of the source; None reads the hub (the built-in ones need"
                " neither)."
            )
        },
    )
    dataset_config: str | None = field(
        default=None,
        metadata={"help": "The set's configuration on the hub; None leaves it to the source."},
    )
    dataset_revision: str | None = field(
        default=None,
        metadata={"help": "A branch, tag or commit of the set on the hub; None takes the newest."},
    )
    tasks: str | None = field(
        default=None,
        metadata={
            "help": (
                "The tasks of agents' trajectories, which give each its image and hidden tests: a"
                " file or folder of rows, or a set on the hub (SWE-bench/SWE-smith). None: the"
                " trajectories name their own, or none."
            )
        },
    )
    families: list[str] | None = field(
        default=None,
        metadata={
            "help": (
                "builtin_shell: only tasks of these families, such as edit, or edit-1 for one of"
                " its difficulties. None: all."
            )
        },
    )
    hub_split: str = field(
        default="xml",
        metadata={
            "help": (
                "Which spelling of its runs SWE-smith's source is read in; other sources ignore it."
            ),
            "choices": list(HUB_SPLITS),
        },
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
    limit: int | None = field(
        default=None, metadata={"help": "At most this many trajectories; None takes all."}
    )
    held_out: int = field(
        default=60,
        metadata={
            "help": (
                "Questions of the validation split, split by question (the paper: 60). They are"
                " never trained on."
            )
        },
    )
    split_seed: int = field(
        default=0,
        metadata={
            "help": "Decides which questions are held out, and what a built-in source generates."
        },
    )
    count: int = field(
        default=2000,
        metadata={"help": "Problems that a built-in source generates; other sources ignore it."},
    )
    system_prompt: str | None = field(
        default=None,
        metadata={
            "help": (
                "System message of every prompt, whatever its domain; empty sends none. None: the"
                " domain's own, which in software engineering describes the tools and how the"
                " trajectory's grammar writes a command; where whole problems are asked, that of"
                " the evaluation."
            )
        },
    )
    history_turns: int = field(
        default=2,
        metadata={
            "help": (
                "Software engineering: how many of the latest pairs of command and observation a"
                " prompt shows (paper: 2). 0 shows none."
            )
        },
    )
    observation_characters: int = field(
        default=8000,
        metadata={
            "help": (
                "Observations with more characters are cut in the middle. 8000, some 2,500 tokens,"
                " leaves 95 in 100 of SWE-smith's whole. 0 cuts none."
            )
        },
    )

    def check_source(self) -> None:
        """Check the numbers, before anything is read.

        Raises:
            ConfigError: One is out of its range.
        """
        for name in ("held_out", "count"):
            check_whole_number(name, getattr(self, name), 1)
        for name in ("split_seed", "history_turns", "observation_characters"):
            check_whole_number(name, getattr(self, name), 0)
        if self.limit is not None:
            check_whole_number("limit", self.limit, 1, ", or None for all")

    def trajectories(
        self, split: Split | None = None, drop_benchmark_overlap: bool = False
    ) -> TrajectorySet:
        """The source's trajectories; ``limit`` is the caller's.

        Args:
            split: See :func:`~srl_envs.data.load_trajectories`.
            drop_benchmark_overlap: See :func:`~srl_envs.data.load_trajectories`.

        Raises:
            ConfigError: The settings do not fit the source.
            DataError: Nothing could be read, or no row is usable.
        """
        return load_trajectories(
            self.source,
            path=self.dataset_path,
            split=split,
            held_out=self.held_out,
            seed=self.split_seed,
            count=self.count,
            hub_split=self.hub_split,
            resolved_only=self.resolved_only,
            config=self.dataset_config,
            revision=self.dataset_revision,
            drop_benchmark_overlap=drop_benchmark_overlap,
            tasks=self.tasks,
            families=self.families,
        )

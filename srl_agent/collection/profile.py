"""``collect profile``: which steps teach a student, by the rewards of its rollouts."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from srl_agent.collection.asking import Asking, missing
from srl_agent.collection.budget import BudgetConfig, Spent, prompt_tokens
from srl_agent.collection.drafts import Draft, DraftStore, Key, read_drafts
from srl_agent.collection.results import dry_run_text
from srl_agent.command_line import LogConfig, parse
from srl_agent.evaluation.folder import model_identity
from srl_agent.inference.backends import GeneratorConfig, open_generator, resolved
from srl_agent.inference.generator import GenerationSettings, Request
from srl_agent.rollouts.scorers import StepScorer
from srl_agent.rollouts.step_profiles import (
    StepProfile,
    profile_text,
    read_profile,
    step_mark,
    write_profile,
)
from srl_agent.runs.files import replace_file
from srl_agent.runs.ownership import lock_folder
from srl_agent.training.config import DataConfig
from srl_envs.adapters.pivot import pivot_row
from srl_envs.adapters.rows import StepRow
from srl_envs.command_line import log_to_stderr
from srl_envs.data.splits import check_whole_number, split_by_question
from srl_envs.errors import ConfigError, require
from srl_envs.instances import StepInstance, StepInstances
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.rewards import REWARDS

_TRAINING_ONLY = (
    *("profile", "profile_min_std", "profile_max_mean"),
    *("eval_instances", "test_instances", "steps"),
)


@dataclass
class ProfileConfig(DataConfig, BudgetConfig):
    """What is profiled, by how many rollouts, and which steps count as teaching."""

    output: str | None = field(
        default=None,
        metadata={
            "help": (
                "The profile to write (.jsonl). Rerun the same command to resume, or with more"
                " instances to go on. Required."
            )
        },
    )
    instances: int = field(
        default=2000,
        metadata={
            "help": (
                "Steps that are profiled, at most, at least 1: all of a trajectory, of"
                " trajectories drawn at random from those that train."
            )
        },
    )
    num_generations: int = field(
        default=8, metadata={"help": "G: rollouts of each step, at least 2."}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Of the rollouts, above 0: as in training."}
    )
    top_p: float = field(
        default=1.0, metadata={"help": "Nucleus of the rollouts, in (0, 1]; 1 keeps every token."}
    )
    max_completion_length: int = field(
        default=1024, metadata={"help": "Most tokens of a rollout; one that is cut is malformed."}
    )
    seed: int = field(default=0, metadata={"help": "Decides which steps, and their rollouts."})
    min_std: float = field(
        default=1e-3,
        metadata={"help": "A step teaches if the spread of its rewards is greater, 0 or more."},
    )
    max_mean: float = field(
        default=0.8, metadata={"help": "And if their mean is less than this bound."}
    )
    reward: str = field(
        default="similarity",
        metadata={"help": f"How rollouts are scored: {', '.join(REWARDS.names())}."},
    )
    think_prefilled: bool = field(
        default=False, metadata={"help": "As in training: prompts end inside a think block."}
    )
    require_think: bool = field(
        default=True, metadata={"help": "As in training: answers need a think block."}
    )
    sandbox: str = field(
        default="docker", metadata={"help": "reward execution: which sandbox commands run in."}
    )
    refresh: bool = field(
        default=False,
        metadata={
            "help": (
                "Profile anew with another model or other settings; the old profile is kept beside"
                " it as *.before.jsonl."
            )
        },
    )
    pivot_rows: str | None = field(
        default=None,
        metadata={
            "help": "Also write the steps that teach as NeMo Gym pivot rows, with their pass_rate."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_budget()
        require(bool(self.output), "output", self.output, "the file of the profile")
        check_whole_number("instances", self.instances, 1)
        check_whole_number("num_generations", self.num_generations, 2)
        check_whole_number("max_completion_length", self.max_completion_length, 1)
        require(self.temperature > 0, "temperature", self.temperature, "above 0")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        require(self.min_std >= 0, "min_std", self.min_std, "0 or more")
        defaults = {one.name: one.default for one in fields(self)}
        for name in _TRAINING_ONLY:
            value = getattr(self, name)
            require(value == defaults[name], name, value, "left alone: it is for training")
        self.reward_settings  # noqa: B018  checks the reward's name

    @property
    def reward_settings(self) -> RewardSettings:
        """How rollouts are scored."""
        format = ResponseFormat(
            think_prefilled=self.think_prefilled, require_think=self.require_think
        )
        return RewardSettings(format=format, name=self.reward, sandbox=self.sandbox)

    @property
    def generation(self) -> GenerationSettings:
        """How rollouts are drawn."""
        return GenerationSettings(
            self.max_completion_length, self.temperature, self.top_p, seed=self.seed
        )

    def identity(self) -> dict[str, Any]:
        """The settings on which rollouts depend, but for their prompts."""
        names = ("temperature", "top_p", "max_completion_length", "seed", "think_prefilled")
        return {name: getattr(self, name) for name in names}


def command(arguments: list[str], prog: str) -> int:
    """``python -m srl_agent.collect profile``."""
    _, (config, model, log) = parse(
        [ProfileConfig, GeneratorConfig, LogConfig], "collect_profile", arguments, prog
    )
    log_to_stderr(log.log_level)
    return profile(config, resolved(model))


def profile(config: ProfileConfig, model: GeneratorConfig) -> int:
    """Ask for rollouts, score them and write the profile; the exit status.

    Raises:
        ConfigError, DataError, InfrastructureError: Each with one line that says what
        to do.
    """
    target = Path(str(config.output)).expanduser()
    if target.is_dir() or not target.parent.is_dir():
        raise ConfigError(f"output is {target}: name a file in a folder that exists.")
    instances = sampled_instances(config)
    wanted = {
        (one.id, number): Request(tuple(one.messages), number, config.reward_settings.format)
        for one in instances
        for number in range(config.num_generations)
    }
    kept_at = target.with_name(f"{target.stem}.rollouts.jsonl")
    if config.dry_run:
        left = missing(wanted, read_drafts(kept_at))
        prompt = sum(prompt_tokens(None, one.messages) for one in left.values())
        most = len(left) * config.max_completion_length
        so_far = Spent.of(read_drafts(kept_at).values())
        print(dry_run_text(len(left), prompt, most, so_far, config))
        return 0
    identity = json.loads(json.dumps(config.identity() | model_identity(model)))
    header = _header(config, identity)
    with lock_folder(target.parent):
        before = _begun(target, kept_at, identity, config.refresh)
        if not target.is_file():
            write_profile(target, header, [])
        with DraftStore(kept_at) as store:
            failure = _ask(config, model, store, wanted)
            profiles = scored(instances, store.drafts, config)
    write_profile(target, header, profiles)
    _write_pivots(config, instances, profiles)
    lines = profile_text(profiles, config.min_std, config.max_mean)
    print("\n".join([*lines, *_changes(before, profiles, config), str(target)]))
    if len(profiles) < len(instances):
        print(f"{len(instances) - len(profiles)} steps lack rollouts. {failure}".rstrip())
        return 1
    return 0


def sampled_instances(config: ProfileConfig) -> list[StepInstance]:
    """The steps of trajectories that train, drawn at random; held-out questions never.

    Raises:
        ConfigError, DataError: The settings do not fit the source.
    """
    everything = config.trajectories(drop_benchmark_overlap=config.drop_benchmark_overlap)
    config.reward_settings.check(everything)
    kept, _ = split_by_question(everything, config.held_out, config.split_seed)
    kept = kept[: config.limit]
    random.Random(config.seed).shuffle(kept)
    every = StepInstances(kept, config.targets, config.prompt_settings)  # type: ignore[arg-type]
    return every[: config.instances]


def scored(
    instances: Sequence[StepInstance], drafts: Mapping[Key, Draft], config: ProfileConfig
) -> list[StepProfile]:
    """The profiles of the steps that have all their rollouts."""
    numbers = range(config.num_generations)
    whole = [one for one in instances if all((one.id, n) in drafts for n in numbers)]
    answers = [(one, drafts[one.id, n]) for one in whole for n in numbers]
    rewards = StepScorer(config.reward_settings).score(
        [one for one, _ in answers],
        [draft.text for _, draft in answers],
        [draft.finish != "stop" for _, draft in answers],
    )
    found = []
    for place, one in enumerate(whole):
        part = slice(place * len(numbers), (place + 1) * len(numbers))
        group = rewards[part]
        found.append(
            StepProfile(
                one.id,
                tuple(reward.value for reward in group),
                sum(reward.response.error is not None for reward in group),
                sum(draft.tokens for _, draft in answers[part]),
                step_mark(one),
            )
        )
    return found


def _header(config: ProfileConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    prompt = {name: getattr(config, name) for name in ("targets", "title_hint", "scored", "reward")}
    return {"identity": dict(identity), "prompt": prompt, "settings": asdict(config)}


def _begun(
    target: Path, rollouts: Path, identity: Mapping[str, Any], refresh: bool
) -> dict[str, StepProfile]:
    """Check what is there; with ``refresh`` put away what another model or settings made.

    Returns:
        The profile before a refresh; empty if there was none.
    """
    old = target.with_name(f"{target.stem}.before.jsonl")
    if not target.is_file():
        return {}
    header, profiles = read_profile(target)
    if header.get("identity") == identity:
        return read_profile(old)[1] if refresh and old.is_file() else {}
    if not refresh:
        known = header.get("identity", {})
        differs = next(name for name in identity if known.get(name) != identity[name])
        raise ConfigError(
            f"{target} was made with {differs} {known.get(differs)!r}, and now it is"
            f" {identity[differs]!r}: choose another --output, or --refresh true to profile anew."
        )
    target.replace(old)
    rollouts.unlink(missing_ok=True)
    return profiles


def _ask(
    config: ProfileConfig, model: GeneratorConfig, store: DraftStore, wanted: Mapping[Key, Request]
) -> str:
    """Ask for the rollouts that are missing; why some are left, if any."""
    if not missing(wanted, store.drafts):
        return ""
    generator = open_generator(model)
    try:
        asking = Asking(generator, config.generation, store, config)
        asking.ask(wanted, "rollout")
        if asking.over_budget:
            return "The budget is spent: raise --max_tokens_total or --max_cost."
        return "" if asking.failure is None else f"{asking.failure} The same command asks again."
    finally:
        generator.close()


def _changes(
    before: Mapping[str, StepProfile], now: Sequence[StepProfile], config: ProfileConfig
) -> list[str]:
    """How the selection changed in a refresh."""
    both = [(before[one.id], one) for one in now if one.id in before]
    if not both:
        return []
    bounds = config.min_std, config.max_mean
    taught = [(old.teaches(*bounds), new.teaches(*bounds)) for old, new in both]
    return [
        f"Of the {len(both)} steps profiled before, {taught.count((True, False))} no longer teach"
        f" and {taught.count((False, True))} now do."
    ]


def _write_pivots(
    config: ProfileConfig, instances: Sequence[StepInstance], profiles: Sequence[StepProfile]
) -> None:
    if config.pivot_rows is None:
        return
    found = {one.id: one for one in profiles if one.teaches(config.min_std, config.max_mean)}
    rows = [
        pivot_row(StepRow.of(one, config.reward_settings), pass_rate=found[one.id].mean)
        for one in instances
        if one.id in found
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    replace_file(Path(config.pivot_rows), text.encode())

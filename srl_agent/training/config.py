"""The settings of a training run.

The data it learns from, and how SRL trains on it (TRL's ``GRPOConfig`` and ours on
top).
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import get_args

import torch
from trl import GRPOConfig

from srl_agent.inference.sampling import SamplingSettings
from srl_agent.rollouts.rollout_log import LOGGED, SAMPLED_ONE_IN
from srl_agent.rollouts.source_settings import SourceSettings
from srl_agent.training import agent_method as _registers_agent  # noqa: F401
from srl_agent.training.agent_settings import AgentSettings
from srl_agent.training.checks import check_ranges, check_together
from srl_agent.training.methods import METHODS, SFT_ON, methods_help
from srl_envs.commands import Scored
from srl_envs.errors import ConfigError, require
from srl_envs.prompts.step import PromptSettings
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.rewards import REWARDS

STEPS = ("each", "one")


@dataclass
class DataConfig(SourceSettings):
    """Which expert solutions are learned from, and how they become prompts."""

    drop_benchmark_overlap: bool = field(
        default=False,
        metadata={
            "help": (
                "Leave out questions that are in a math benchmark of the evaluation, or share 13"
                " words in a row with one. Otherwise the log says how many there are."
            )
        },
    )
    targets: str = field(
        default="all_but_last",
        metadata={
            "help": (
                "Which steps are targets: all_but_last (the paper's N-1) or all. Give all to a"
                " model that will be used step by step: with all_but_last it never learns the"
                " step with the answer."
            ),
            "choices": ["all_but_last", "all"],
        },
    )
    steps: str = field(
        default="each",
        metadata={
            "help": (
                "What one instance is: each step of a solution, or one step that is the whole"
                " solution (the paper's one-step ablation, math only; targets then plays no part)."
            ),
            "choices": list(STEPS),
        },
    )
    title_hint: bool = field(
        default=False,
        metadata={
            "help": (
                "Show the title of the step to write (paper, footnote 1). False: training asks as"
                " step-wise evaluation does, where nobody knows the next title."
            )
        },
    )
    scored: str = field(
        default="action",
        metadata={
            "help": (
                "Software engineering: what of a command is compared: action (its whole text, as"
                " the paper describes it), or arguments (tool and values without the scaffold of"
                " the grammar, whose shared tags lift the similarity of unlike commands)."
            ),
            "choices": list(get_args(Scored)),
        },
    )
    profile: str | None = field(
        default=None,
        metadata={
            "help": (
                "Train only on the steps that teach, by this file of python -m srl_agent.collect"
                " profile. None trains on all."
            )
        },
    )
    profile_min_std: float = field(
        default=1e-3,
        metadata={
            "help": "profile: a step teaches if the spread of its rewards is greater, 0 or more."
        },
    )
    profile_max_mean: float = field(
        default=0.8,
        metadata={"help": "profile: and if their mean is less than this bound, above -1."},
    )
    eval_instances: int = field(
        default=64,
        metadata={
            "help": (
                "Step instances per validation, spread over one half of the held-out questions;"
                " they choose the best checkpoint. 0: all."
            )
        },
    )
    test_instances: int = field(
        default=128,
        metadata={
            "help": (
                "Step instances of the other half, on which base, warm-up and the best checkpoint"
                " are compared. 0: all."
            )
        },
    )

    def __post_init__(self) -> None:
        self.prompt_settings  # noqa: B018  checks its values, before any data is read
        self.check_source()
        require(
            self.held_out >= 2,
            "held_out",
            self.held_out,
            "at least 2: one half validates, the other tests",
        )
        for name in ("eval_instances", "test_instances", "profile_min_std"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        bound = self.profile_max_mean
        require(bound > -1, "profile_max_mean", bound, "above -1, the reward of malformed answers")
        for name, value in (("profile_min_std", 1e-3), ("profile_max_mean", 0.8)):
            unused = self.profile is None and getattr(self, name) != value
            require(not unused, name, getattr(self, name), "left alone without --profile")

    @property
    def prompt_settings(self) -> PromptSettings:
        """How prompts are rendered."""
        return PromptSettings(
            title_hint=self.title_hint,
            system_prompt=self.system_prompt,
            history_turns=self.history_turns,
            observation_characters=self.observation_characters or None,
            scored=self.scored,  # type: ignore[arg-type]  # the command line allows these values only
            swe_system_prompt=self.system_prompt,
        )


@dataclass
class SRLConfig(AgentSettings, GRPOConfig):  # type: ignore[misc]
    """TRL's ``GRPOConfig`` with the paper's objective as defaults, and the settings of SRL.

    Paper (arXiv 2510.25992, section 4 and appendix): GRPO with a per-response token
    mean, KL coefficient 0, learning rate 5e-7, gradient norm 1.0, 8 rollouts at
    temperature 1.0. Not given there, chosen here: constant learning rate (the rate is
    already low), clip 0.2 (GRPO's usual), epsilon of dynamic sampling.
    """

    # TRL's fields, with the paper's values as defaults
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": (
                "Run folder. None: runs/<config>, or runs/<config>-2, ... where that holds a"
                " finished run."
            )
        },
    )
    learning_rate: float = field(
        default=5e-7, metadata={"help": "Peak learning rate of AdamW (paper: 5e-7)."}
    )
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "Learning rate schedule, as in transformers."}
    )
    loss_type: str = field(
        default="grpo",
        metadata={
            "help": "grpo: mean over a response's tokens, then over responses (paper, Eq. 1)."
        },
    )
    beta: float = field(
        default=0.0,
        metadata={"help": "KL coefficient (paper: 0; then no reference model is loaded)."},
    )
    num_generations: int | None = field(
        default=8, metadata={"help": "G, rollouts of a prompt (paper: 8). At least 2."}
    )
    num_generations_eval: int | None = field(
        default=1, metadata={"help": "Answers to each held-out instance in validation."}
    )
    logging_steps: float = field(
        default=1, metadata={"help": "Log every that many optimizer steps."}
    )
    save_total_limit: int | None = field(
        default=3,
        metadata={
            "help": (
                "Checkpoints kept, the best one among them. 3: the best, the last, and the one"
                " before it, which is used if the last is damaged."
            )
        },
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint of the best validation reward."}
    )
    metric_for_best_model: str | None = field(
        default="eval_reward",
        metadata={"help": "What decides the best checkpoint: eval_reward or eval_format_rate."},
    )

    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": (
                "A checkpoint, or a run folder whose latest whole checkpoint is meant, to start"
                " from. None: the run resumes from the latest whole checkpoint in its own folder,"
                " if it has any."
            )
        },
    )

    # ours
    method: str = field(
        default="srl",
        metadata={
            "help": methods_help,
        },
    )
    sft_on: str = field(
        default="solutions",
        metadata={
            "help": (
                "sft: what is learned: the experts' whole solutions; reasoning traces, in a think"
                " block, and then the solution (s1K has them); or single steps, in SRL's format."
            ),
            "choices": list(SFT_ON),
        },
    )
    prompts_per_step: int | None = field(
        default=None,
        metadata={
            "help": (
                "B, groups per optimizer step (sft: expert answers). Sets"
                " gradient_accumulation_steps = B * G / (processes * per-device batch), where G is"
                " 1 for sft. None leaves it."
            )
        },
    )
    dynamic_sampling: bool = field(
        default=True,
        metadata={"help": "Replace groups without spread by fresh prompts. False: the ablation."},
    )
    min_reward_std: float = field(
        default=1e-3,
        metadata={
            "help": (
                "Epsilon of dynamic sampling: keep a group if the population std of its rewards is"
                " greater, in [0, 1). The paper gives no value; similarities of real answers differ"
                " by more than 1e-3 as soon as one character does in 2,000."
            )
        },
    )
    max_sampling_rounds: int = field(
        default=8,
        metadata={
            "help": (
                "Rounds of fresh prompts per batch; then it is trained as far as it is filled. At"
                " least 1."
            )
        },
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={
            "help": (
                "Most tokens of a prompt, the chat template's included. Software engineering: what"
                " is too long is cut to fit, observations first, the issue last. Math: instances"
                " with a longer prompt are skipped in training and counted. None sets no bound."
            )
        },
    )
    shared_prompt: bool = field(
        default=True,
        metadata={
            "help": (
                "Compute each prompt once for all its rollouts, in sampling and in training."
                " Training does not with gradient checkpointing, FSDP or DeepSpeed."
            )
        },
    )
    rollout_rows: int = field(
        default=128,
        metadata={
            "help": (
                "Completions sampled side by side (without vLLM), at least 1. Lower it if memory"
                " runs out."
            )
        },
    )
    warmup_instances: int = field(
        default=8, metadata={"help": "Expert instances per step of the format warm-up."}
    )
    warmup_learning_rate: float = field(
        default=1e-4, metadata={"help": "Learning rate of the format warm-up."}
    )
    format_warmup_steps: int = field(
        default=0,
        metadata={
            "help": (
                "Supervised steps on expert instances before SRL, to teach the answer format to"
                " models under about 1B; 0 for models that know it. (warmup_steps, TRL's, warms up"
                " the learning rate.)"
            )
        },
    )
    think_prefilled: bool = field(
        default=False,
        metadata={
            "help": (
                "Make sure that every prompt ends inside a think block: <think> is added unless"
                " the chat template opens the block itself. False leaves it to the template."
            )
        },
    )
    require_think: bool = field(
        default=True,
        metadata={"help": "False accepts answers without a think block, for tiny models."},
    )
    reward: str = field(
        default="similarity",
        metadata={
            "help": (
                "Of steps: how like the expert's step a well-formed answer is, from 0 to 1:"
                f" {', '.join(REWARDS.names())}. similarity is the paper's 2M/T; execution runs"
                " both commands in sandboxes (--sandbox) and compares what comes of them."
            )
        },
    )
    autojunk: bool = field(
        default=False,
        metadata={
            "help": (
                "difflib's autojunk in the reward; True collapses the scores of steps over 200"
                " characters."
            )
        },
    )
    max_reward_characters: int = field(
        default=16_000,
        metadata={
            "help": (
                "Only this many first characters of an action can match, at least 1. Bounds the"
                " time that scoring takes."
            )
        },
    )

    report_to: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={
            "help": (
                "Trackers that get the metrics too, one or several: tensorboard, trackio, wandb or"
                " another of transformers; all that are installed with all. metrics.jsonl is"
                " always written."
            )
        },
    )
    log_rollouts: str = field(
        default="all",
        metadata={
            "help": (
                "Which groups of rollouts the run folder keeps for srl_agent.view, in rollouts/:"
                f" all, sample (the same one instance in {SAMPLED_ONE_IN} throughout) or none."
            ),
            "choices": list(LOGGED),
        },
    )
    rollout_log_mb: int = field(
        default=1024,
        metadata={
            "help": (
                "rollouts/ takes at most so many MB, at least 8; the oldest groups are deleted."
                " 1024 holds some 2 million answers of 1,000 characters."
            )
        },
    )

    def __post_init__(self) -> None:
        method = METHODS.named(self.method)
        if method.only_own_sampler:  # refused before a missing package is
            for name in ("use_vllm", "use_transformers_continuous_batching"):
                wanted = f"false with method {self.method}, which has this project's own sampler"
                require(not getattr(self, name), name, True, wanted)
        check_ranges(self)
        if self.prompts_per_step is not None and self.num_generations:
            rows = self.prompts_per_step * (self.num_generations if method.samples else 1)
            at_once = self.per_device_train_batch_size * int(os.environ.get("WORLD_SIZE", "1"))
            if rows % at_once:
                raise ConfigError(
                    f"An optimizer step has {rows} rows (prompts_per_step"
                    f"{', times num_generations' if method.samples else ''}), which is not a"
                    f" multiple of processes * per_device_train_batch_size ({at_once})."
                )
            self.gradient_accumulation_steps = rows // at_once
        if not method.samples and self.generation_batch_size is None:
            # Supervised learning generates nothing: any whole number of groups passes TRL's check.
            self.steps_per_generation = self.num_generations
        if not torch.accelerator.is_available():
            self.use_cpu = True  # else transformers refuses bf16 without a GPU
        if self.eval_strategy == "no":
            self.load_best_model_at_end = False
        with warnings.catch_warnings():  # TRL sets the old name of activation_checkpointing itself
            warnings.filterwarnings(
                "ignore", message="`gradient_checkpointing", category=FutureWarning
            )
            super().__post_init__()
        check_together(self)
        self.reward_settings  # noqa: B018  checks the reward's name, before any data is read
        require(
            self.scale_rewards in ("group", "none"),
            "scale_rewards",
            self.scale_rewards,
            "group or none",
        )
        method.check(self)
        if not method.samples:
            return
        if (self.steps_per_generation or 1) % self.gradient_accumulation_steps:
            raise ConfigError(
                f"steps_per_generation is {self.steps_per_generation}: it must be a multiple of"
                f" gradient_accumulation_steps ({self.gradient_accumulation_steps}), so that an"
                " optimizer step uses one generation."
            )
        if self.rows_per_step % (self.num_generations or 1):
            raise ConfigError(
                f"An optimizer step has {self.rows_per_step} answers: it must be a multiple of"
                f" num_generations ({self.num_generations}), so that groups stay whole."
            )

    @property
    def rows_per_step(self) -> int:
        """Answers per optimizer step, over all processes."""
        return int(
            self.per_device_train_batch_size * self.gradient_accumulation_steps * self.world_size
        )

    @property
    def prompts_per_batch(self) -> int:
        """Different prompts that a batch needs at least: fewer would end training at once."""
        if not METHODS.named(self.method).samples:
            return 1
        return int(self.generation_batch_size or 1) // int(self.num_generations or 1)

    @property
    def windows(self) -> int:
        """Optimizer steps for which one generation is used (``num_iterations``)."""
        return int(self.steps_per_generation or 1) // int(self.gradient_accumulation_steps)

    @property
    def reward_settings(self) -> RewardSettings:
        """How answers are scored."""
        format = ResponseFormat(
            think_prefilled=self.think_prefilled, require_think=self.require_think
        )
        return RewardSettings(
            autojunk=self.autojunk,
            max_characters=self.max_reward_characters,
            format=format,
            name=self.reward,
            sandbox=self.sandbox,
            command_timeout=self.command_timeout,
        )

    @property
    def answer_format(self) -> ResponseFormat | None:
        """Which shape answers must have; None for whole problems, which have no fixed one."""
        whole = METHODS.named(self.method).asks(self) == "problem"
        return None if whole else self.reward_settings.format

    @property
    def sampling_settings(self) -> SamplingSettings:
        """How completions are drawn."""
        return SamplingSettings(
            self.max_completion_length or 0,
            self.temperature,
            self.top_p,
            self.top_k or 0,
            self.rollout_rows,
            self.min_p or 0.0,
        )

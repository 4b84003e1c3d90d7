"""What the tiny study trains beyond ``srl_agent.train``: rivals of SRL, and mixtures with it.

PrefixRL (arXiv 2601.18795), on-policy self-distillation (SDFT, arXiv 2601.19897, by TRL's
trainer), RLVR mixed with SRL, and a reward of 1 for the exact step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from srl_agent.inference.chat import ChatEncoder, Prompt
from srl_agent.models.loading import load_model_and_tokenizer
from srl_agent.rollouts.instance_stream import InstanceStream, PromptStream
from srl_agent.rollouts.scorers import AnswerInstance, AnswerScorer, Instance, Measure, StepScorer
from srl_agent.runs.files import replace_file
from srl_agent.training.config import DataConfig, SRLConfig
from srl_agent.training.methods import (
    METHODS,
    RLVR,
    SRL,
    Examples,
    problem_examples,
    register_method,
    step_examples,
)
from srl_agent.training.trl.grpo import SRLTrainer
from srl_envs.data.splits import split_by_question
from srl_envs.instances import StepInstances, TrajectorySet
from srl_envs.response import format_response
from srl_envs.reward import StepReward
from srl_envs.rewards import REWARDS, register_reward

if "exact" not in REWARDS.names():

    @register_reward("exact")
    def exact(model: str, expert: str) -> float:
        """1 for the expert's step, else 0."""
        return float(model == expert)


# ---------------------------------------------------------------- PrefixRL


@dataclass(frozen=True, slots=True)
class PrefixedInstance(AnswerInstance):
    """A problem whose answer is begun with the expert's first steps.

    Attributes:
        steps: How many of them.
    """

    steps: int = 0

    @property
    def id(self) -> str:
        """The trajectory's id and the number of steps."""
        return f"{self.trajectory.id}+{self.steps}"

    @property
    def prefix(self) -> str:
        """The steps as the base writes them; a thought holds the title, as in SFT on steps."""
        steps = self.trajectory.steps[: self.steps]
        return "".join(f"{format_response(step.title, step.action)}\n" for step in steps)


class PrefixStream(PromptStream):
    """Prompts, each with its prefix after it: the model continues an answer that is begun.

    Args:
        instances: What the stream's numbers are indices of.
        stream: Decides the order.
        chat: Of the model.
        tokenizer: Of the model.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        stream: InstanceStream,
        chat: ChatEncoder,
        tokenizer: Any,
    ) -> None:
        super().__init__(instances, stream, chat, None, None)
        self._tokenizer = tokenizer

    def take(self, count: int) -> list[tuple[Instance, Prompt]]:
        """See :class:`PromptStream`."""
        drawn: list[tuple[Instance, Prompt]] = []
        for one, prompt in super().take(count):
            assert isinstance(one, PrefixedInstance)
            ids = self._tokenizer(one.prefix, add_special_tokens=False)["input_ids"]
            drawn.append((one, Prompt([*prompt.ids, *ids], prompt.opened)))
        return drawn


class PrefixTrainer(SRLTrainer):
    """GRPO on what follows the prefix; the prefix belongs to the prompt and has no loss."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.prompts = PrefixStream(
            self.prompts.instances, self.prompts.stream, self.chat, self.processing_class
        )


class PrefixRL(RLVR):
    """RLVR on problems with and without a prefix of the expert's solution.

    In the paper a prefix is as long as it takes to make the problem solvable. Here each
    problem occurs with every number of whole steps, none included, and dynamic sampling
    keeps those that have something to learn from.
    """

    label = "PrefixRL"
    summary = "RLVR that continues prefixes of expert solutions"
    trainer = PrefixTrainer

    def examples(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """Each problem, with each number of steps but the last."""
        plain = problem_examples(trajectories, data).instances
        found = [
            PrefixedInstance(one.trajectory, one.system_prompt, count)
            for one in plain
            if isinstance(one, AnswerInstance)
            for count in range(len(one.trajectory.steps))
        ]
        return Examples(found, "problems with prefixes")


# ---------------------------------------------------------------- RLVR with a share of SRL


class MixedScorer:
    """Steps by their similarity, whole problems by their answer.

    Args:
        steps: Scores steps.
    """

    measure = "reward"
    explained = "A step's similarity to the expert's, or 1 for a right final answer."
    format = None

    def __init__(self, steps: StepScorer) -> None:
        self._steps, self._problems = steps, AnswerScorer()
        self.malformations = tuple(
            dict.fromkeys((*steps.malformations, *self._problems.malformations))
        )

    def score(
        self, instances: Sequence[Instance], texts: Sequence[str], truncated: Sequence[bool]
    ) -> list[StepReward]:
        """Each answer by the scorer of its kind."""
        rewards: dict[int, StepReward] = {}
        for scorer, whole in ((self._problems, True), (self._steps, False)):
            mine = [
                place
                for place, one in enumerate(instances)
                if isinstance(one, AnswerInstance) is whole
            ]
            columns = (
                [column[place] for place in mine] for column in (instances, texts, truncated)
            )
            rewards |= zip(mine, scorer.score(*columns) if mine else [], strict=True)
        return [rewards[place] for place in range(len(instances))]

    def close(self) -> None:
        """End what verifies answers."""
        self._problems.close()


class Mixed(SRL):
    """RLVR in which half of the prompts that are drawn ask for a step, as SRL does."""

    label = "RLVR with SRL"
    summary = "half of the prompts are RLVR's, half SRL's"

    def asks(self, args: Any) -> Literal["step", "problem"]:
        """Both; what is checked for steps is checked."""
        return "step"

    def examples(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """The steps, and each problem as often as it has steps."""
        steps = self.held_out(trajectories, data, args).instances
        problems = problem_examples(trajectories, data).instances
        repeated = [problems[number % len(problems)] for number in range(len(steps))]
        return Examples([*steps, *repeated], "steps and problems")

    def held_out(self, trajectories: TrajectorySet, data: Any, args: Any) -> Examples:
        """Steps."""
        steps = step_examples(trajectories, data).instances
        assert isinstance(steps, StepInstances)
        return Examples(list(steps.with_prompt(data.prompt_settings)), "steps")

    def scorer(self, args: Any) -> Measure:
        """See :class:`MixedScorer`."""
        return MixedScorer(StepScorer(args.reward_settings))


for _name, _method in {"prefix_rl": PrefixRL, "mixed": Mixed}.items():
    if _name not in METHODS.names():
        register_method(_name)(_method)


# ---------------------------------------------------------------- self-distillation

_SAME = (
    *("seed", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay"),
    *("adam_beta1", "adam_beta2", "max_grad_norm", "num_generations", "max_completion_length"),
    *("per_device_train_batch_size", "save_strategy", "save_steps", "save_total_limit"),
    *("bf16", "gradient_checkpointing", "use_cpu", "output_dir", "report_to", "disable_tqdm"),
)
"""Settings that self-distillation shares with SRL."""


def is_distilled(folder: Path) -> bool:
    """Whether :func:`distil` has finished in this folder."""
    return (folder / "metrics.jsonl").is_file()


def distil(data: DataConfig, args: SRLConfig, model: str) -> None:
    """On-policy self-distillation (SDFT) by TRL's trainer, on single steps.

    The student answers as SRL asks. Its teacher is a moving average of itself that also
    sees the expert's step, where the base was taught to read a step's title. The loss is
    the reverse KL divergence on the student's tokens. A killed training starts again.

    Args:
        data: What is learned from.
        args: SRL's settings, with the folder.
        model: Where it starts.
    """
    from datasets import Dataset
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    folder = Path(str(args.output_dir))
    shutil.rmtree(folder, ignore_errors=True)
    kept, _ = split_by_question(data.trajectories(), data.held_out, data.split_seed)
    steps = StepInstances(kept, "all", data.prompt_settings)
    rows = [{"prompt": one.messages, "privileged_context": one.expert_action} for one in steps]
    student, tokenizer = load_model_and_tokenizer(model, dtype="float32")
    trainer = SDFTTrainer(
        student,
        SDFTConfig(
            **{name: getattr(args, name) for name in _SAME},
            distillation_alpha=1.0,
            distillation_mode="full_logits",
            teacher_model_kind="ema",
            teacher_prompt_template="{prompt}\n\nNext step: {privileged_context}",
            logging_steps=1,
        ),
        Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(folder / "final"))
    groups = args.per_device_train_batch_size // args.num_generations
    logged = [
        {"kind": "train", "groups_kept": groups, **row}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    replace_file(
        folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in logged).encode()
    )

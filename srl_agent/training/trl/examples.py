"""Prompts with an expert's answer, as tokens.

Supervised learning (the method ``sft``, the format warm-up) uses them.
"""

from __future__ import annotations

from typing import Any

from srl_agent.rollouts.sampler import encode_prompt
from srl_agent.rollouts.scorers import AnswerInstance, Instance
from srl_agent.training.config import SRLConfig
from srl_envs.answers.grading import extract_answer
from srl_envs.data.s1k import TRACE
from srl_envs.instances import StepInstance
from srl_envs.response import format_response
from srl_envs.trajectory import Trajectory


def expert_example(tokenizer: Any, instance: Instance, args: SRLConfig) -> dict[str, list[int]]:
    """Prompt and expert answer as tokens.

    ``input_ids``, and a ``completion_mask`` that is 1 where they are learned.

    Args:
        tokenizer: Of the model.
        instance: A step, or a whole problem.
        args: The run's settings.
    """
    if isinstance(instance, StepInstance):
        prefilled, answer = args.think_prefilled, step_answer(instance, args)
    elif isinstance(instance, AnswerInstance):
        prefilled, answer = (
            False,
            solution_answer(
                instance.trajectory, with_trace=args.method == "sft" and args.sft_on == "traces"
            ),
        )
    else:
        raise TypeError(f"no expert answers {type(instance).__name__}")
    prompt = encode_prompt(tokenizer, instance.messages, prefilled)
    learned = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {
        "input_ids": prompt + learned,
        "completion_mask": [0] * len(prompt) + [1] * len(learned),
    }


def step_answer(instance: StepInstance, args: SRLConfig) -> str:
    """The expert's step in the format of an answer."""
    step = instance.step
    # A command is learned as the environment takes it, even where only a part of it is compared.
    action = step.action if instance.trajectory.has_commands else instance.expert_action
    # Any thought will do to teach the format; the title says what the step is about where the
    # source gives no thought.
    thought = step.thought or step.title or "I continue with the next step of the solution."
    return format_response(thought, action, args.reward_settings.format)


def solution_answer(trajectory: Trajectory, with_trace: bool = False) -> str:
    """The expert's whole solution.

    The reference answer is added in a box if an evaluation would not find an answer in
    the solution.

    Args:
        trajectory: The expert's.
        with_trace: Put its reasoning trace before it, in a think block.
    """
    solution = trajectory.solution.strip()
    if trajectory.answer and extract_answer(solution) is None:
        solution += f"\n\n\\boxed{{{trajectory.answer}}}"
    return format_response(trajectory.metadata[TRACE], solution) if with_trace else solution

"""What a model is asked in an evaluation.

The paper tells what its prompt asks for, not its words: reasoning step by step, the
final answer in a box, ``<think>`` allowed anywhere. The words here are this project's
own.
"""

from __future__ import annotations

from srl_envs.prompts.step import Message

EVALUATION_SYSTEM_PROMPT = (
    "You solve math problems. Reason step by step; you may think inside <think> </think> wherever "
    "it helps. Finish with the final answer, "
    "without its unit, in \\boxed{}."
)


def evaluation_messages(
    problem: str, system_prompt: str = EVALUATION_SYSTEM_PROMPT
) -> tuple[Message, ...]:
    """The messages that ask for the solution of a problem; an empty system prompt sends none."""
    system: tuple[Message, ...] = (
        ({"role": "system", "content": system_prompt},) if system_prompt else ()
    )
    return (*system, {"role": "user", "content": problem})

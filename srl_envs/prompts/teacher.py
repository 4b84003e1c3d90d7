"""What a teacher is asked, so that its solutions can be learned from step by step."""

from __future__ import annotations

SOLVE_SYSTEM_PROMPT = (
    "You write model solutions to math problems, for students who learn one step at a time. Think "
    "first if it helps. Then write the solution as numbered steps. Each step begins on a new line "
    "with its number and a short title in bold, like `1. **Count the pairs**: `, and then does one "
    "thing completely, with its calculation. Number the steps from 1 without gaps, use no other "
    "numbered lists, and write nothing before the first step. End the last step with the final "
    "answer, without its unit, in \\boxed{}."
)
"""For problems whose answer is known here and not shown to the teacher."""

REWRITE_SYSTEM_PROMPT = (
    "You are given a math problem and a solution of it. Write the same solution as numbered steps. "
    "Each step begins on a new line with its number and a short title in bold, like "
    "`1. **Count the pairs**: `, and then does one thing completely. Keep every number and every "
    "formula of the solution, in its order, and add none; leave out only words. Do not solve the "
    "problem in another way, and correct nothing. Number the steps from 1 without gaps, use no "
    "other numbered lists, and write nothing before the first step. End the last step with the "
    "solution's final answer in \\boxed{}."
)
"""For solutions whose content is right and whose form is not that of steps."""


def rewrite_text(problem: str, solution: str) -> str:
    """The user message that gives a teacher a solution to rewrite."""
    return f"<problem>\n{problem}\n</problem>\n\n<solution>\n{solution}\n</solution>"

"""The math environment: an episode is one problem, and an agent's own solution is verified by math-verify."""

from __future__ import annotations

from typing import Any

from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.env import ExpertStepEnv
from srl_envs.prompts.step import MATH_SYSTEM_PROMPT

MATH_AGENT_SYSTEM_PROMPT = (
    MATH_SYSTEM_PROMPT + " When the step reaches the final answer, put that in \\boxed{}."
)
"""The system message with ``follow="agent"``: without a marked final answer an episode has no end to verify."""


class MathEnv(ExpertStepEnv):
    r"""``SRL-Math-v0``: see :class:`~srl_envs.env.ExpertStepEnv`; with ``follow="agent"`` the default prompt asks for ``\boxed{}``.

    Args:
        system_prompt: The system message; None takes the one that fits ``follow``.
        verifier: What verifies final answers; None makes one. Environments of one
            thread may share one: its process takes some 80 MB, starts with the first
            answer that needs it, and ends when any of them is closed (another answer
            starts it again).
        settings: Of :class:`~srl_envs.env.ExpertStepEnv`.
    """

    def __init__(
        self,
        *,
        system_prompt: str | None = None,
        verifier: AnswerVerifier | None = None,
        **settings: Any,
    ) -> None:
        if system_prompt is None:
            system_prompt = (
                MATH_AGENT_SYSTEM_PROMPT
                if settings.get("follow") == "agent"
                else MATH_SYSTEM_PROMPT
            )
        super().__init__(system_prompt=system_prompt, **settings)
        self._verifier = verifier or AnswerVerifier()

    def is_correct(self, answer: str, reference: str) -> bool:
        """Whether two mathematical expressions are equal."""
        return self._verifier.verify(answer, reference)

    def close(self) -> None:
        """End the verifying process; a second call does nothing."""
        self._verifier.close()
        super().close()

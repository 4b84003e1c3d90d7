"""The math environment: an episode is one problem; math-verify judges an agent's answer."""

from __future__ import annotations

from typing import Any

from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.env import ExpertStepEnv
from srl_envs.prompts.step import MATH_SYSTEM_PROMPT
from srl_envs.steps import TextDomain, text_prompt

MATH_AGENT_SYSTEM_PROMPT = (
    MATH_SYSTEM_PROMPT + " When the step reaches the final answer, put that in \\boxed{}."
)
"""The system message with ``follow="agent"``: only a marked final answer can be verified."""


class MathEnv(ExpertStepEnv):
    r"""``SRL-Math-v0``: :class:`~srl_envs.env.ExpertStepEnv` with verified answers.

    With ``follow="agent"`` the default prompt asks for ``\boxed{}``.

    Args:
        title_hint: Show the title of the step to be written.
        system_prompt: The system message; empty sends none, None takes the one that fits
            ``follow``.
        verifier: What verifies final answers; None makes one. Environments of one
            thread may share one: its process takes some 80 MB, starts with the first
            answer that needs it, and ends when any of them is closed (another answer
            starts it again).
        settings: Of :class:`~srl_envs.env.ExpertStepEnv`.
    """

    def __init__(
        self,
        *,
        title_hint: bool = True,
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
        self._verifier = verifier or AnswerVerifier()
        prompt = text_prompt(title_hint, system_prompt)
        super().__init__(
            TextDomain(prompt, self._verifier.verify, self._verifier.close), **settings
        )

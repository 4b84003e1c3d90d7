"""The math environment: an episode is one problem, and an agent's own solution is verified by math-verify."""

from __future__ import annotations

from typing import Any

from srl_envs.answers import AnswerVerifier
from srl_envs.env import ExpertStepEnv


class MathEnv(ExpertStepEnv):
    """``SRL-Math-v0``: see :class:`~srl_envs.env.ExpertStepEnv` for the arguments."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._verifier = AnswerVerifier()

    def is_correct(self, answer: str, reference: str) -> bool:
        """Whether two mathematical expressions are equal."""
        return self._verifier.verify(answer, reference)

    def close(self) -> None:
        """End the verifying process; a second call does nothing."""
        self._verifier.close()
        super().close()

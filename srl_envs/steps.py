"""The environment of any other domain: expert solutions from a file in our JSONL schema, answers compared as text."""

from __future__ import annotations

from typing import Any

from srl_envs.env import ExpertStepEnv
from srl_envs.prompts.step import STEPS_SYSTEM_PROMPT


class StepsEnv(ExpertStepEnv):
    """``SRL-Steps-v0``: see :class:`~srl_envs.env.ExpertStepEnv`; the source is ``"jsonl"``, which needs ``path``."""

    def __init__(
        self, *, source: str = "jsonl", system_prompt: str = STEPS_SYSTEM_PROMPT, **settings: Any
    ) -> None:
        super().__init__(source=source, system_prompt=system_prompt, **settings)

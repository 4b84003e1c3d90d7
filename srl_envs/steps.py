"""The environment of any other domain: expert solutions from a file in our JSONL schema, answers compared as text."""

from __future__ import annotations

from typing import Any

from srl_envs.env import ExpertStepEnv

STEPS_SYSTEM_PROMPT = (
    "You continue the solution of a task by exactly one step. First think inside <think> </think>, freely and as long "
    "as you like. After </think>, write the next step of the solution and nothing else."
)


class StepsEnv(ExpertStepEnv):
    """``SRL-Steps-v0``: see :class:`~srl_envs.env.ExpertStepEnv`; the source is ``"jsonl"``, which needs ``path``."""

    def __init__(
        self, *, source: str = "jsonl", system_prompt: str = STEPS_SYSTEM_PROMPT, **settings: Any
    ) -> None:
        super().__init__(source=source, system_prompt=system_prompt, **settings)

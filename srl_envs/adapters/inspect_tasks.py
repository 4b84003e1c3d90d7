"""inspect_ai 0.3: tasks of steps and of episodes, with their scorers.

    inspect eval OUT/srl_tasks.py@steps --model ...

``srl_tasks.py`` is written by the export.

inspect takes think blocks out of what a model wrote, wherever they stand. What is scored
is the text as the server sent it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ModelOutput,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from srl_envs.adapters.episodes import EpisodeRow, load_episodes, opened
from srl_envs.adapters.inspect_sandbox import SRLSandbox
from srl_envs.adapters.rows import StepRow, load_rows
from srl_envs.response import ModelAnswer, SplitAnswer

__all__ = ["SRLSandbox", "episode_reward", "episodes", "play", "step_reward", "steps"]


@task
def steps(rows: str) -> Task:
    """One step a sample.

    Args:
        rows: A file that the export wrote with ``--to inspect``.
    """
    samples = [
        _sample(row.id, row.messages, row.expert_action, row.as_dict()) for row in load_rows(rows)
    ]
    return Task(dataset=samples, solver=generate(), scorer=step_reward())


@task
def episodes(rows: str) -> Task:
    """One episode a sample; its environment has a sandbox of its own.

    Args:
        rows: A file that the export wrote with ``--to inspect --episodes true``.
    """
    samples = [_sample(row.id, row.messages, "", asdict(row)) for row in load_episodes(rows)]
    return Task(dataset=samples, solver=play(), scorer=episode_reward())


def _sample(id: str, messages: Any, target: str, row: dict[str, Any]) -> Sample:
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser}
    said = [kinds[one["role"]](content=one["content"]) for one in messages]
    return Sample(input=said, target=target, id=id, metadata={"row": json.dumps(row)})


@scorer(metrics=[mean(), stderr()])
def step_reward() -> Scorer:
    """The similarity to the expert's step; -1 if malformed."""

    async def score(state: TaskState, target: Target) -> Score:
        row = StepRow.read(state.metadata["row"])
        reward = row.score(answer_of(state.output), truncated=_was_cut(state.output))
        said = {"malformed": reward.response.error or ""}
        return Score(value=reward.value, answer=reward.response.action, metadata=said)

    return score


@solver
def play() -> Solver:
    """Our environment answers the model until the episode ends, or a limit is hit."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        async with opened(EpisodeRow.read(state.metadata["row"])) as episode:
            while True:
                state = await generate(state)
                answer, cut = answer_of(state.output), _was_cut(state.output)
                seen = await asyncio.to_thread(episode.step, answer, truncated=cut)
                if seen.done or state.completed:
                    break
                state.messages.append(ChatMessageUser(content=seen.observation))
            state.store.set("episode_reward", await asyncio.to_thread(episode.finish))
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def episode_reward() -> Scorer:
    """The sum of the environment's rewards: with tests, 1 or 0."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=state.store.get("episode_reward"))

    return score


def answer_of(output: ModelOutput) -> ModelAnswer:
    """What the model wrote: as the server sent it, or from its parts if there is no record."""
    calls = [event.call for event in transcript().events if isinstance(event, ModelEvent)]
    sent = calls[-1].response if calls and calls[-1] is not None else None
    if sent and sent.get("choices"):
        message = sent["choices"][0]["message"]
        thought = _resolved(message.get("reasoning_content", message.get("reasoning")))
        return SplitAnswer(thought, _resolved(message.get("content")) or "")
    content = output.message.content
    thoughts = [part.reasoning for part in content if isinstance(part, ContentReasoning)]
    return SplitAnswer("".join(thoughts), output.completion) if thoughts else output.completion


def _resolved(text: Any) -> Any:
    """The text itself, where inspect's record of a call refers to it."""
    return transcript().attachments.get(str(text).removeprefix("attachment://"), text)


def _was_cut(output: ModelOutput) -> bool:
    return output.stop_reason in ("max_tokens", "model_length")

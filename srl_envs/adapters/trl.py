"""TRL 1.16's own GRPOTrainer: a reward function for steps, and ``environment_factory``.

    GRPOTrainer(..., train_dataset=rows, reward_funcs=step_reward(tokenizer))
    GRPOTrainer(..., train_dataset=rows.map(for_tools), environment_factory=ToolEnvironment)

``rows`` is what the export wrote with ``--to trl``. TRL itself is not imported.
``rollout_func`` is in :mod:`srl_envs.adapters.trl_rollouts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srl_envs.adapters.episodes import Episode, EpisodeRow
from srl_envs.adapters.rows import StepRow
from srl_envs.commands import SUBMIT_MARKERS, CommandError, grammar_named
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.response import ModelAnswer, SplitAnswer

TOOLS_SYSTEM_PROMPT = (
    "You fix an issue in a source code repository with the tools that you are given, one call at "
    "a time. What a call printed comes back to you. Hand in the changes with submit once the issue "
    "is solved."
)
"""In place of the prompts that say how a command is written as text."""


def step_reward(tokenizer: Any, ends: Sequence[int] = ()) -> Callable[..., list[float]]:
    """A reward function for rows of steps.

    Args:
        tokenizer: Of the model. An answer that does not end with its end token (or its
            padding, in models that end turns with it) hit the token limit.
        ends: Further tokens that end an answer: ``eos_token_id`` of the model's
            generation config, if that is a list.
    """
    known = {tokenizer.eos_token_id, tokenizer.pad_token_id, *ends}

    def step_reward(
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[str],
        **_: Any,
    ) -> list[float]:
        return [
            StepRow.read(text, "the column row")
            .score(_answer(completion), truncated=not ids or ids[-1] not in known)
            .value
            for completion, ids, text in zip(completions, completion_ids, row, strict=True)
        ]

    return step_reward


def _answer(completion: Any) -> ModelAnswer:
    """What the model wrote; TRL takes the thought apart where the tokenizer says how."""
    if isinstance(completion, str):
        return completion
    message = completion[-1]
    thought = message.get("reasoning_content", message.get("thinking"))
    return SplitAnswer(thought, message.get("content") or "")


def for_tools(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an episode whose prompt asks for tool calls: ``rows.map(for_tools)``.

    The exported prompt says how a command is written as text.
    """
    said = [one for one in row["prompt"] if one["role"] != "system"]
    return {**row, "prompt": [{"role": "system", "content": TOOLS_SYSTEM_PROMPT}, *said]}


class ToolEnvironment:
    """An episode whose commands are TRL's native tool calls; the reward is its verdict.

    Rows need ``--episodes true`` and :func:`for_tools`. A failure of the machinery ends
    the training, since a reward of None counts as 0 in TRL.
    """

    def __init__(self) -> None:
        self._episode: Episode | None = None
        self._failure: InfrastructureError | None = None

    def reset(self, row: str, **_: Any) -> None:
        """Start the episode of a row.

        Raises:
            ConfigError: Its actions are not commands.
        """
        read = EpisodeRow.read(row, "the column row")
        if read.environment != "SRL-SWE-v0":
            raise ConfigError(
                f"{read.id!r} is an episode of {read.environment}, which has no tools: use"
                " episode_rollouts."
            )
        if self._episode is not None:
            self._episode.close()
        self._failure = None
        self._episode = Episode(read)

    def bash(self, command: str) -> str:
        """Run a shell command in the repository.

        Args:
            command: The command.

        Returns:
            What it printed.
        """
        return self._act("bash", command=command)

    def str_replace_editor(
        self,
        command: str,
        path: str,
        file_text: str | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        view_range: list[int] | None = None,
    ) -> str:
        """Show or edit a file.

        Args:
            command: view, create, str_replace, insert or undo_edit.
            path: Absolute path of the file.
            file_text: Contents of a new file, for create.
            old_str: Text that occurs exactly once, for str_replace.
            new_str: What replaces it, or what is inserted.
            insert_line: The line after which it goes, for insert.
            view_range: First and last line, for view.

        Returns:
            What the editor says.
        """
        texts = {"file_text": file_text, "old_str": old_str, "new_str": new_str}
        numbers = {"insert_line": insert_line, "view_range": view_range}
        given = {key: one for key, one in texts.items() if one is not None}
        given |= {key: json.dumps(one) for key, one in numbers.items() if one is not None}
        return self._act("str_replace_editor", command=command, path=path, **given)

    def submit(self) -> str:
        """Hand in the changes once the issue is solved.

        Returns:
            That they were handed in.
        """
        assert self._episode is not None
        if "submit" in grammar_named(self._episode.grammar).tools:
            return self._act("submit")
        return self._act("bash", command=f"echo {SUBMIT_MARKERS[0]}")

    def get_reward(self) -> float:
        """The verdict: 1 or 0."""
        if self._failure is not None:
            raise self._failure
        assert self._episode is not None
        reward = self._episode.finish()
        self._episode.close()
        return reward

    def _act(self, tool: str, **arguments: str) -> str:
        assert self._episode is not None
        if self._episode.done or self._failure is not None:
            return "The episode has ended."
        try:
            command = grammar_named(self._episode.grammar).command(tool, **arguments)
        except CommandError as error:
            return f"{error} Nothing was run."
        try:
            seen = self._episode.step(SplitAnswer("", command.text))
        except InfrastructureError as error:  # TRL would show it to the model and go on
            self._failure = error
            return "The sandbox failed."
        return "The changes were handed in." if seen.done else seen.observation

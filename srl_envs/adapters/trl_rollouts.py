"""TRL 1.16's ``rollout_func``: episodes in text, with any model that has a chat template.

GRPOTrainer(..., train_dataset=rows, rollout_func=episode_rollouts(rows),
            reward_funcs=episode_reward)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from srl_envs.adapters.episodes import Episode, EpisodeRow
from srl_envs.errors import ConfigError


def episode_rollouts(rows: Iterable[Mapping[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A ``rollout_func`` that plays an episode for each prompt, one conversation each.

    Args:
        rows: The data set that the export wrote with ``--to trl --episodes true``. TRL
            hands over prompts alone, by which rows are found again.
    """
    known = {json.dumps(row["prompt"]): str(row["row"]) for row in rows}

    def rollout(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        if trainer.accelerator.num_processes > 1:
            raise ConfigError(
                "episode_rollouts runs in one process, since episodes differ in length: use"
                " python -m srl_agent.train --method agent for more."
            )
        texts = [known[json.dumps(prompt)] for prompt in prompts]
        return _play_all([EpisodeRow.read(text, "the column row") for text in texts], trainer)

    return rollout


def episode_reward(completions: Sequence[Any], reward: Sequence[float], **_: Any) -> list[float]:
    """The reward function beside :func:`episode_rollouts`: the sum of the environment's."""
    return list(reward)


class _Conversation:
    """An episode with its tokens: the model's under a mask of 1, what it saw under 0."""

    def __init__(self, row: EpisodeRow, trainer: Any) -> None:
        self.tokenizer: Any = trainer.processing_class
        self.limit: int = trainer.max_completion_length
        self.ends = set(trainer.eos_token_ids)
        self.episode = Episode(row)
        self.prompt: list[int] = self.tokenizer.apply_chat_template(
            self.episode.messages, add_generation_prompt=True, return_dict=False
        )
        self.completion: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] = []

    def answer(self, ids: list[int], logprobs: list[float] | None) -> None:
        room = self.limit - len(self.completion)
        cut = len(ids) > room or not ids or ids[-1] not in self.ends
        self._add(ids[:room], 1, (logprobs or [0.0] * len(ids))[:room])
        text = self.tokenizer.decode(ids[:room], skip_special_tokens=True)
        seen = self.episode.step(text, truncated=cut)
        written = ids[:room][-1:] == [self.tokenizer.eos_token_id]
        shown = [] if seen.done else self._shown(seen.observation, written)
        if len(self.completion) + len(shown) >= self.limit:
            self.episode.finish()
        if not self.episode.done:
            self._add(shown, 0, [0.0] * len(shown))

    def _add(self, ids: list[int], mask: int, logprobs: list[float]) -> None:
        self.completion += ids
        self.mask += [mask] * len(ids)
        self.logprobs += logprobs

    def _shown(self, observation: str, ended: bool) -> list[int]:
        """The tokens between two answers as the template writes them.

        With its end token, unless the answer has ``ended`` with it.
        """
        end = self.tokenizer.eos_token
        said = [*self.episode.messages, {"role": "assistant", "content": "."}]
        before = self.tokenizer.apply_chat_template(said, tokenize=False)
        said.append({"role": "user", "content": observation})
        after = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        if not after.startswith(before) or end not in before:
            raise ConfigError(
                "The chat template changes what it wrote before when a message is added, so no"
                " conversation can go on: use another template, or SRL steps."
            )
        start = before.rindex(end) + (len(end) if ended else 0)
        ids: list[int] = self.tokenizer(after[start:], add_special_tokens=False)["input_ids"]
        return ids


def _play_all(rows: Sequence[EpisodeRow], trainer: Any) -> dict[str, Any]:
    """All episodes side by side; in each round those under way are answered together."""
    played: list[_Conversation] = []
    sampled = False
    try:
        for row in rows:
            played.append(_Conversation(row, trainer))
        while live := [one for one in played if not one.episode.done]:
            asked = [one.prompt + one.completion for one in live]
            answers, logprobs = trainer._generate_single_turn(asked, None, {}, 1)
            sampled = logprobs is not None
            for index, one in enumerate(live):
                one.answer(list(answers[index]), logprobs[index] if logprobs else None)
    finally:
        for one in played:
            one.episode.close()
    return {
        "prompt_ids": [one.prompt for one in played],
        "completion_ids": [one.completion for one in played],
        "logprobs": [one.logprobs for one in played] if sampled else None,
        "env_mask": [one.mask for one in played],
        "reward": [one.episode.reward for one in played],
    }

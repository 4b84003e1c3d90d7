"""Scores a model on held-out instances.

Instances and seeds are the same each time, so runs and stages can be paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from srl_agent.inference.chat import ChatEncoder
from srl_agent.rollouts.sampler import score
from srl_agent.rollouts.scorers import Instance, Scorer
from srl_agent.runs.answers import Answer
from srl_agent.runs.freed_memory import give_back_freed_memory
from srl_envs.data.splits import question_key
from srl_envs.trajectory import Trajectory


def spread_evenly(instances: Sequence[Instance], count: int) -> list[Instance]:
    """At most ``count`` instances, evenly spaced over all of them; 0 takes all."""
    total = len(instances)
    if count == 0 or count >= total:
        return list(instances)
    return [instances[i * total // count] for i in range(count)]


def halves_by_question(
    trajectories: Sequence[Trajectory],
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Two parts with every other question each, without a question in common.

    If the number is odd, the first part has one more.
    """
    questions = list(dict.fromkeys(question_key(trajectory.prompt) for trajectory in trajectories))
    first = set(questions[0::2])
    in_first = [question_key(trajectory.prompt) in first for trajectory in trajectories]
    parts = [
        [
            trajectory
            for trajectory, chosen in zip(trajectories, in_first, strict=True)
            if chosen is part
        ]
        for part in (True, False)
    ]
    return parts[0], parts[1]


def validate(
    instances: Sequence[Instance],
    tokenizer: Any,
    complete: Callable[[list[list[int]], Sequence[int]], list[list[int]]],
    eos_token_ids: Sequence[int],
    scorer: Scorer,
    *,
    num_samples: int,
    seed: Sequence[int],
    gather: Callable[[list[Any]], list[Any]] | None = None,
) -> tuple[dict[str, float], list[Answer]]:
    """Answer each instance and score the answers.

    Args:
        instances: What to answer: this process's share.
        tokenizer: Of the model.
        complete: Prompts and a seed -> ``num_samples`` completions of each prompt. Called
            without prompts too, since other processes may wait for this one.
        eos_token_ids: Any of these ends a completion.
        scorer: How answers are scored.
        num_samples: Answers per instance.
        seed: Given to ``complete``.
        gather: Joins the processes' lists; None if there is one process.

    Returns:
        The metrics over all answers (reward, format_rate, mean_length,
        malformed/<reason>, and similarity of those that have one), and the answers.
    """
    give_back_freed_memory()
    messages = [instance.messages for instance in instances]
    chat = ChatEncoder(tokenizer)
    prompts = [chat(prompt, scorer.format) for prompt in messages]
    completions = complete([prompt.ids for prompt in prompts], seed)
    asked = [instance for instance in instances for _ in range(num_samples)]
    answered = [prompt for prompt in prompts for _ in range(num_samples)]
    shown = [prompt[-1]["content"] for prompt in messages for _ in range(num_samples)]
    texts, rewards = score(chat, answered, asked, completions, eos_token_ids, scorer)
    answers = [
        Answer(
            instance_id=instance.id,
            prompt=prompt,
            title=instance.title,
            expert=instance.expert_action,
            completion=text,
            thought=reward.response.thought,
            # what of it was compared: without prose, if it is a command
            action=reward.response.action
            if reward.response.error
            else instance.scored(reward.response.action),
            error=reward.response.error,
            reward=reward.value,
            similarity=reward.similarity,
            tokens=len(ids),
        )
        for instance, prompt, text, reward, ids in zip(
            asked, shown, texts, rewards, completions, strict=True
        )
    ]
    if gather is not None:
        answers = gather(answers)
    give_back_freed_memory()
    return _metrics(answers, scorer), answers


def _metrics(answers: list[Answer], scorer: Scorer) -> dict[str, float]:
    errors = Counter(answer.error for answer in answers if answer.error)
    similarities = [answer.similarity for answer in answers if answer.similarity is not None]
    metrics = {
        "reward": fmean(answer.reward or 0.0 for answer in answers),
        "format_rate": 1 - errors.total() / len(answers),
        "mean_length": fmean(answer.tokens or 0 for answer in answers),
        "answers": float(len(answers)),
        **{f"malformed/{name}": errors[name] / len(answers) for name in scorer.malformations},
    }
    if similarities:
        metrics["similarity"] = fmean(similarities)
    return metrics

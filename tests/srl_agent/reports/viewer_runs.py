"""Run folders as training and evaluation write them, made without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup
from srl_agent.rollouts.episode_records import Episode, EpisodeLog, Turn
from srl_agent.rollouts.places import Outcome
from srl_agent.rollouts.policies import Written
from srl_agent.rollouts.rollout_log import RolloutLog
from srl_agent.rollouts.scorers import StepScorer
from srl_agent.runs.answers import Answer, write_answers
from srl_envs import load_trajectories
from srl_envs.response import Response, ResponseFormat
from srl_envs.reward import RewardSettings

INSTANCES = load_trajectories("builtin", count=85).instances()
SCORER = StepScorer(RewardSettings(format=ResponseFormat(require_think=True)))

ATTACK = "</pre></script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
"""What a model must not be able to do."""


def group_of(log: RolloutLog, number: int, texts: Sequence[str]) -> RolloutGroup:
    """A scored group of answers to one instance."""
    instance = INSTANCES[number]
    rewards = SCORER.score([instance] * len(texts), texts, [False] * len(texts))
    completions = [list(range(len(text))) for text in texts]
    return RolloutGroup([1], completions, rewards, asked=log.asked(instance, texts, rewards))


def texts_of(number: int, step: int) -> list[str]:
    """Four answers that get better with the steps; two of them attack the page."""
    expert = INSTANCES[number].expert_action
    share = min(1.0, 0.3 + 0.1 * step)
    better = f"<think>thought at step {step} {ATTACK}</think>{expert[: int(share * len(expert))]}"
    return [better, f"no block {ATTACK}\ud800\x00", f"<think></think>{ATTACK}", better + " ."]


def write_step(log: RolloutLog, step: int, instances: Sequence[int] = (0, 1, 2)) -> None:
    """The batch of one step: one group kept, one dropped, one surplus."""
    kept, dropped, surplus = instances
    bad = ["no think block"] * 4
    batch = FilledBatch(
        1,
        kept=[group_of(log, kept, texts_of(kept, step))],
        dropped=[group_of(log, dropped, bad)],
        surplus=[group_of(log, surplus, texts_of(surplus, step))],
        rounds=2,
    )
    log.write(batch, step, scale=True, min_std=1e-3)


def write_metrics(run: Path, steps: Sequence[int]) -> None:
    """Lines of ``metrics.jsonl``."""
    with (run / "metrics.jsonl").open("a") as file:
        for step in steps:
            values = {"reward": step / 10, "format_rate": 0.5, "grad_norm": 1.0, "time/other": 0.1}
            row = {"kind": "train", "step": step, "time": 1.0, "malformed/no_think": 0.3, **values}
            file.write(json.dumps(row) + "\n")
            if step % 2 == 0:
                held_out = {"kind": "eval", "stage": "srl", "step": step, "eval_reward": 0.4}
                file.write(json.dumps(held_out) + "\n")


def training_run(run: Path, steps: int = 6) -> Path:
    """A run of training that is going on."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("method: srl\nmodel_name_or_path: quickstart\nseed: 1\n")
    log = RolloutLog(run, "all", 2**20)
    for step in range(1, steps + 1):
        write_step(log, step)
    write_metrics(run, range(1, steps + 1))
    for stage, step in (("base", 0), ("srl", steps)):
        write_answers(run / "samples" / f"{stage}-{step}.jsonl", [_answer(step)])
    return run


def _answer(step: int) -> Answer:
    instance = INSTANCES[20]
    action = instance.expert_action[: 8 + step]
    prompt = instance.messages[-1]["content"]
    names = (instance.id, prompt, instance.title, instance.expert_action)
    return Answer(*names, f"<think></think>{action}", "", action, None, 0.5, 0.5, 9)


def agent_run(run: Path) -> Path:
    """An evaluation of agents: one task solved, one failed, one that the machinery lost."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("task: agent\nmodel: {model: tiny}\n")
    log = EpisodeLog(run / "episodes.jsonl", 2**24)
    for number, outcome in enumerate(
        [Outcome(1.0, True), Outcome(0.0, False, ("test_a", f"test_{ATTACK}")), None]
    ):
        turns = tuple(_turn(f"ls {number}", f"file {ATTACK}") for _ in range(2 + number))
        end = "ended" if outcome else "machinery"
        failure = "" if outcome else "the engine was lost"
        log.write(Episode("task-1", number, turns, end, outcome, 3.0, 1.0, 1.0, failure))
    return run


def _turn(action: str, observation: str) -> Turn:
    written = Written(f"<think>look</think>{action}", 7, "stop")
    return Turn(written, Response("look", action), observation, 0.4, True, 0.2)

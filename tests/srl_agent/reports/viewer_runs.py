"""Run folders as training and evaluation write them, made without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srl_agent.collection.drafts import Draft, DraftStore
from srl_agent.collection.folder import DRAFTS, REJECTS, TRAJECTORIES, write_lines
from srl_agent.evaluation.math.samples import Sample, SampleStore
from srl_agent.evaluation.swebench.judgement import Judgement
from srl_agent.evaluation.swebench.records import Records
from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup
from srl_agent.rollouts.episode_records import Episode, EpisodeLog, Turn, record_of
from srl_agent.rollouts.places import Outcome
from srl_agent.rollouts.policies import Written
from srl_agent.rollouts.rollout_log import RolloutLog
from srl_agent.rollouts.scorers import StepScorer
from srl_agent.runs.answers import Answer, write_answers
from srl_agent.runs.ownership import CONFIG, write_settings_file
from srl_envs import load_trajectories
from srl_envs.data.jsonl import save_trajectories
from srl_envs.replay import Replay, ReplayedStep
from srl_envs.response import Response, ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.trajectory import ExpertStep, Trajectory

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


# ---------------------------------------------------------------- other commands


def math_run(run: Path) -> Path:
    """A math evaluation: a problem asked greedily and three times, graded but for one."""
    run.mkdir(parents=True)
    _settings(run, "math", {"evaluation": {"seed": 3}, "model": {"model": "tiny"}})
    problem = {"benchmark": "amc23", "id": "p1", "text": f"What is 6 × 3? {ATTACK}", "answer": "18"}
    (run / "problems.jsonl").write_text(json.dumps(problem) + "\n")
    with SampleStore(run / "samples.jsonl") as store:
        store.append(Sample("amc23", "p1", "greedy", 0, f"It is 18 {ATTACK}", 9, False, "18", True))
        store.append(Sample("amc23", "p1", "sampled", 0, "It is 18", 9, False, "18", True))
        store.append(Sample("amc23", "p1", "sampled", 1, "It is\ud800", 4, True, None, False))
        store.append(Sample("amc23", "p1", "sampled", 2, "1. Step\n\n17", 4, False, "17", steps=2))
    return run


def swebench_run(run: Path) -> Path:
    """An evaluation on SWE-bench: patches to one issue, an agent at another."""
    run.mkdir(parents=True)
    _settings(run, "swebench", {"evaluation": {}, "model": {"model": "tiny"}})
    records, patch = Records(run), "diff --git a/b b/b\n"
    sample = {"number": 0, "answer": f"Edit b {ATTACK}", "tokens": 5, "patch": patch}
    empty = {"number": 1, "answer": "I do not know.", "tokens": 6, "patch": ""}
    repair = {
        "messages": [{"role": "user", "content": "b fails"}],
        "samples": [sample, empty],
        "chosen": 0,
    }
    records.write_answer("b__b-1", {"instance_id": "b__b-1", "mode": "oracle", "repair": repair})
    records.add_prediction("b__b-1", "tiny", patch)
    records.add_judgement(Judgement("b__b-1", "unresolved", failing=("test_b",)))
    episode = Episode("c__c-2", 0, (_turn("ls", "c.py"),), "ended", None, 3.0, 1.0, 0.0)
    way = {**record_of(episode), "patch": patch}
    records.write_answer("c__c-2", {"instance_id": "c__c-2", "mode": "agent", "agent": way})
    records.add_prediction("c__c-2", "tiny", patch)
    records.add_judgement(Judgement("c__c-2", "resolved"))
    return run


def collect_run(run: Path) -> Path:
    """A collection: a problem kept, one rejected, one refused, one not judged yet."""
    run.mkdir(parents=True)
    _settings(run, "collect math", {"settings": {"model": "teacher"}})
    with DraftStore(run / DRAFTS) as store:
        for id, number, text in (
            ("kept", 0, f"1. **Add**: 5 {ATTACK}"),
            ("kept", 1, "5"),
            ("rejected", 0, "I give up\ud800"),
            ("open", 0, "1. **Add**: 7"),
        ):
            store.append(Draft(id, number, text, 7, 20, "stop", "mark"))
    kept = Trajectory("kept", "What is 2 + 3?", (ExpertStep("5", title="Add"),), answer="5")
    save_trajectories([kept], run / TRAJECTORIES)
    why = {"reason": "no numbered steps", "detail": "", "problem": "What?", "answer": "1"}
    rejects = [
        {"id": "kept", "try": 1, **why},
        {"id": "rejected", "try": 0, **why, "detail": "no step"},
        {"id": "refused", "reason": "proof", "problem": "Prove it.", "answer": ""},
    ]
    write_lines(run / REJECTS, rejects)
    return run


def replay_report(path: Path) -> Path:
    """A report of ``srl_envs.replay``: a replay that drifts and fails, and one without steps."""
    steps = (
        ReplayedStep("ls", f"a.py {ATTACK}", "", 0.0, 0.2),
        ReplayedStep("cat a.py", "no such file", "print(1)", 0.9, 0.1),
    )
    replays = (
        Replay("drifts", False, 0.45, 7, failing=("test_a",), seconds=2.5, steps=steps),
        Replay("older", True, 0.0, 7),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in replays))
    return path


def _settings(run: Path, task: str, more: Mapping[str, Any]) -> None:
    write_settings_file(run / CONFIG, {"task": task, **more, "identity": {}})

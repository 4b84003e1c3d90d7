"""SRL's prompts and reward for a trainer of your choice: a data set and one function.

The function has the signature that TRL's trainers call; others need a line of glue.

Run: python examples/score_with_another_trainer.py
"""

from __future__ import annotations

from typing import Any

import srl_envs


def dataset(count: int) -> list[dict[str, Any]]:
    """One row for each step that a model is to write: its prompt and the expert's step."""
    trajectories = srl_envs.load_trajectories("builtin", count=count)
    return [
        {"prompt": instance.messages, "expert_action": instance.expert_action}
        for instance in trajectories.instances("all_but_last")
    ]


def srl_reward(completions: list[str], expert_action: list[str], **_: Any) -> list[float]:
    """The step reward of each completion: similarity to the expert, or -1 if malformed."""
    return [
        srl_envs.step_reward(completion, expert).value
        for completion, expert in zip(completions, expert_action, strict=True)
    ]


if __name__ == "__main__":
    rows = dataset(count=10)
    experts = [row["expert_action"] for row in rows]
    print(f"{len(rows)} step instances; the first prompt ends:\n{rows[0]['prompt'][-1]['content']}")
    copied = [f"<think>I copy the expert.</think>\n{expert}" for expert in experts]
    halved = [f"<think>I stop early.</think>\n{expert[: len(expert) // 2]}" for expert in experts]
    for name, completions in (("copied", copied), ("halved", halved), ("no think", experts)):
        found = srl_reward(completions, experts)
        print(f"{name}: mean reward {sum(found) / len(found):+.3f}")

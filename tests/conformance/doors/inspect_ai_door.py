"""inspect_ai: both tasks, over an OpenAI-style server."""

import os

from common import ANSWERS, TASK, TURNS, lines, report, script
from inspect_ai import eval as run
from scripted_server import serving


def main():
    with serving(script) as url:
        os.environ |= {"SCRIPTED_API_KEY": "none", "SCRIPTED_BASE_URL": url}
        made = []
        for task, folder in (("steps", "steps"), ("episodes", "episodes")):
            (log,) = run(
                str(TASK / folder / f"srl_tasks.py@{task}"),
                task_args={"rows": "train.jsonl"},
                model="openai-api/scripted/scripted",
                log_dir=str(TASK / "logs"),
                display="plain",
            )
            assert log.status == "success", log.error
            made.append(log)
    steps, episodes = made
    assert len(steps.samples) == len(ANSWERS)
    order = [row["id"] for row in lines(TASK / "steps" / "train.jsonl")]
    by_id = {sample.id: sample for sample in steps.samples}
    rewards = [by_id[one].scores["step_reward"].value for one in order]
    prompts = [[{"role": m.role, "content": m.text} for m in by_id[one].input] for one in order]
    played = {sample.id: sample for sample in episodes.samples}
    report(rewards, prompts, [episode_of(played[one]) for one in TURNS])


def episode_of(sample):
    said = [{"role": m.role, "content": m.text} for m in sample.messages]
    return {
        "prompt": said[:2],
        "shown": [m["content"] for m in said[2:] if m["role"] == "user"],
        "reward": sample.scores["episode_reward"].value,
        "done": True,
    }


main()

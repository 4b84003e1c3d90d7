"""verifiers: ``vf-eval`` with the modules that the export wrote, over an OpenAI-style server."""

import os
import subprocess
import sys
from pathlib import Path

from common import ANSWERS, TASK, TURNS, lines, report, script
from scripted_server import serving

PROGRAMS = Path(sys.executable).parent


def evaluate(taskset, folder, agent, url):
    """The traces of an evaluation."""
    out = TASK / f"{taskset}-out"
    command = [
        *(str(PROGRAMS / "vf-eval"), taskset, "--model", "scripted", "--num-rollouts", "1"),
        *("--env.taskset.rows", str(folder / "train.jsonl"), "--max-concurrent", "4"),
        *(f"--env.{agent}.harness.id", "null", f"--env.{agent}.runtime.type", "subprocess"),
        *("--client.base-url", url, "--output-dir", str(out), "--no-push"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]),
        "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]]),  # the harness needs uv
        "PRIME_API_KEY": "none",
        "OPENAI_API_KEY": "none",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=TASK)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (file,) = out.rglob("traces.jsonl")
    return [trace for episode in lines(file) for trace in episode.get("traces", [episode])]


def said(trace):
    return [one["message"] for one in trace["nodes"]]


def main():
    with serving(script) as url:
        traces = evaluate("srl_step", TASK / "steps", "agent", url)
        played = evaluate("srl_episode", TASK / "episodes", "player", url)
    by_id = {trace["task"]["data"]["id"]: trace for trace in traces}
    order = [row["id"] for row in lines(TASK / "steps" / "train.jsonl")]
    assert len(by_id) == len(ANSWERS)
    rewards = [by_id[one]["rewards"]["step_reward"]["score"] for one in order]
    prompts = [
        [{"role": m["role"], "content": m["content"]} for m in said(by_id[one])[:2]]
        for one in order
    ]
    episodes = {trace["task"]["data"]["id"]: trace for trace in played}
    report(rewards, prompts, [episode_of(episodes[one]) for one in TURNS])


def episode_of(trace):
    messages = [{"role": m["role"], "content": m["content"]} for m in said(trace)]
    return {
        "prompt": messages[:2],
        "shown": [m["content"] for m in messages[2:] if m["role"] == "user"],
        "reward": trace["rewards"]["episode_reward"]["score"],
        "done": True,
    }


main()

"""verifiers: ``vf-eval`` with the module that the export wrote, over an OpenAI-style server."""

import json
import os
import subprocess
import sys
from pathlib import Path

from common import TASK, lines, script
from scripted_server import serving


def evaluate(taskset, folder, agent, url):
    """The traces of an evaluation."""
    out = TASK / f"{taskset}-out"
    command = [
        *(str(Path(sys.executable).with_name("eval")), taskset, "--model", "scripted"),
        *(f"--env.taskset.rows={folder / 'train.jsonl'}", "--num-rollouts", "1"),
        *(f"--env.{agent}.harness.id", "null", f"--env.{agent}.runtime.type", "subprocess"),
        *("--client.base-url", url, "--output-dir", str(out), "--no-push", "--no-rich"),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": path, "OPENAI_API_KEY": "none"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (file,) = out.rglob("traces.jsonl")
    return lines(file)


def main():
    with serving(script) as url:
        steps = evaluate("srl_step", TASK / "steps", "agent", url)
        (episode,) = evaluate("srl_episode", TASK / "episodes", "player", url)
    print(json.dumps(steps[0])[:3000])
    print(json.dumps(episode)[:3000])


main()

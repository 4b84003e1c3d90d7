"""An episode on a real bug in a container: the policy's own commands run, hidden tests judge.

Needs a Docker engine; the task's repository comes from the package index.
"""

import sys

import gymnasium as gym

import srl_envs  # noqa: F401 - registers the environments
from srl_envs.sandbox.engine import engine_answers

if not engine_answers():
    sys.exit("No Docker engine answers: start one, or point DOCKER_HOST at it.")


def call(command: str) -> str:
    """An answer with one shell command."""
    block = f"<function=bash>\n<parameter=command>{command}</parameter>\n</function>"
    return f"<think>I look around, then submit.</think>\n{block}"


env = gym.make("SRL-SWE-v0", follow="agent", max_steps=4)
observation, info = env.reset(seed=0)
print(observation[:500])
for answer in (
    call("git log --oneline | head -3"),
    call("ls"),
    "<think>Done.</think>\n<function=submit>\n</function>",
):
    observation, reward, terminated, truncated, info = env.step(answer)
    print(f"reward {reward:+.2f}  terminated {terminated}\n{observation[-300:]}\n")
    if terminated or truncated:
        break
env.close()

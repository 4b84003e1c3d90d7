"""Episodes of the built-in shell tasks in real sandboxes that need no daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from srl_agent.rollouts.agent_tasks import AgentInstances, SharedVerifier, Surroundings
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.policies import Ask, Written
from srl_envs.data import load_trajectories
from srl_envs.prompts.step import PromptSettings
from srl_envs.reward import RewardSettings

TRAJECTORIES = load_trajectories("builtin_shell", count=3)


pytestmark = pytest.mark.usefixtures("bubblewrap")


class Expert:
    """Writes the expert's steps, or hands in at once."""

    batching = "one"

    def __init__(self, lazy: bool = False) -> None:
        self.lazy = lazy

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        for index, ask in enumerate(asks):
            asked, turn = ask.request.messages[-1]["content"], ask.request.number >> 16
            (task,) = [one for one in TRAJECTORIES if one.prompt.strip() in asked]
            step = task.steps[-1 if self.lazy else turn]
            said = f"<think>{step.thought}</think>\n{step.action}"
            yield index, Written(said, 10, "stop")


def roll_out(lazy: bool = False) -> list[object]:
    around = Surroundings(PromptSettings(), RewardSettings(), SharedVerifier(), "bubblewrap")
    instances = AgentInstances(TRAJECTORIES, around)
    assert all(one.has_verdict for one in TRAJECTORIES)
    return Episodes(Expert(lazy)).roll_out([instance.task for instance in instances])


def test_the_experts_solve_their_tasks_and_stay_in_the_experts_state() -> None:
    for episode, task in zip(roll_out(), TRAJECTORIES, strict=True):
        assert (episode.end, episode.reward, episode.outcome.failing) == ("ended", 1.0, ())
        assert len(episode.turns) == len(task.steps)
        assert all(turn.from_expert_state and turn.similarity == 1.0 for turn in episode.turns)
        assert episode.sandbox_seconds > 0 and episode.verification_seconds > 0


def test_work_that_is_handed_in_undone_fails_and_says_what() -> None:
    for episode in roll_out(lazy=True):
        assert episode.reward == 0.0 and episode.outcome.failing


HANGS = """
import sys
sys.path.insert(0, {tests!r})
from test_episodes_in_sandboxes import Expert, roll_out
from srl_agent.rollouts.policies import Written
def write(self, asks):
    for index, _ in enumerate(asks):
        yield index, Written("<think></think>\\n```bash\\nsleep {seconds}\\n```", 4, "stop")
Expert.write = write
print("ready", flush=True)
roll_out()
"""


def running(text: str) -> int:
    found = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                found += text.encode() in (folder / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def test_a_killed_run_leaves_no_sandbox(tmp_path: Path) -> None:
    seconds = f"97.{os.getpid()}"
    script = tmp_path / "hangs.py"
    script.write_text(HANGS.format(tests=str(Path(__file__).parent), seconds=seconds))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as child:
        deadline = time.monotonic() + 120
        while not running(f"sleep\0{seconds}") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert running(f"sleep\0{seconds}")
        child.kill()
    deadline = time.monotonic() + 60
    while running(f"sleep\0{seconds}") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not running(f"sleep\0{seconds}")

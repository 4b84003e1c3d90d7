"""How well episodes overlap: 32 episodes, 2 places for commands, a policy of known latency.

    python -m benchmarks.episodes [--output FILE | --starts]

An answer takes the policy a fixed time, one after another, as a saturated GPU does; a
command takes its own time in one of two places, as on two busy cores. No work can end
before the larger of both sums: the bound. Printed beside it are

- ``episodes``: :class:`srl_agent.rollouts.episodes.Episodes`;
- ``lock step``: all live episodes answered, then all their commands side by side;
- ``trl``: the loop of TRL's ``GRPOTrainer`` that serves an ``environment_factory``, on the
  same tasks with the same latencies. Its own code runs, without model and tokens.

``--starts`` asks instead what could be gained if clean sandboxes were kept ready. It rolls
out 128 episodes whose sandbox starts in no time, in 0.4 s (a container's, on free cores)
and in 1.3 s (on busy ones).

Waiting is by the clock and not by work, so other jobs on the machine hardly count.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from srl_agent.rollouts.episode_records import EpisodeLimits
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.places import Task
from srl_agent.rollouts.policies import Ask, Batching, Written
from srl_envs.spaces import UnicodeText

EPISODES, PLACES = 32, 2
ANSWER_S, COMMAND_S = 0.02, 0.04  # on average; commands of one episode differ
TURNS = (4, 10)
STARTS_S, AT_ONCE, STARTED = (0.0, 0.4, 1.3), (32, 16, 8), 128


@dataclass(frozen=True)
class Times:
    """Seconds of wall time."""

    model: float
    sandbox: float
    bound: float
    episodes: float
    lock_step: float
    trl: float


class Work(gym.Env[str, str]):
    """A task of so many commands, each of which takes its time in one of a few places."""

    observation_space = action_space = UnicodeText()

    def __init__(
        self, seconds: Sequence[float], places: threading.Semaphore, start: float = 0.0
    ) -> None:
        self._seconds, self._places, self._start, self._done = seconds, places, start, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        """Start anew."""
        time.sleep(self._start)
        self._done = 0
        return "Work until it is done.", {}

    @property
    def is_done(self) -> bool:
        """Whether all commands have run."""
        return self._done == len(self._seconds)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Run the next command."""
        with self._places:
            time.sleep(self._seconds[self._done])
        self._done += 1
        ended = self.is_done
        return "done" if ended else "go on", float(ended), ended, False, {}


class SlowPolicy:
    """Answers one after another, each after a fixed time."""

    batching: Batching = "one"

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        """Each answer as soon as it is written."""
        for index in range(len(asks)):
            time.sleep(ANSWER_S)
            yield index, Written("<think></think>work", 4, "stop")


def tasks_of(seed: int, count: int = EPISODES) -> list[list[float]]:
    """The seconds of each command of each episode."""
    random_numbers = random.Random(seed)
    return [
        [
            random_numbers.uniform(0.2, 1.8) * COMMAND_S
            for _ in range(random_numbers.randint(*TURNS))
        ]
        for _ in range(count)
    ]


def overlapped(work: Sequence[Sequence[float]], start: float = 0.0, at_once: int = 32) -> float:
    """Wall time of our roll-out."""
    places = threading.Semaphore(PLACES)
    tasks = [Task(str(i), partial(Work, seconds, places, start)) for i, seconds in enumerate(work)]
    began = time.perf_counter()
    episodes = Episodes(SlowPolicy(), EpisodeLimits(at_once=at_once)).roll_out(tasks)
    took = time.perf_counter() - began
    assert all(episode.reward == 1.0 for episode in episodes)
    return took


def in_lock_step(work: Sequence[Sequence[float]]) -> float:
    """Wall time of a loop that answers all, and then runs all commands side by side."""
    places = threading.Semaphore(PLACES)
    live = [Work(seconds, places) for seconds in work]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(live)) as threads:
        while live:
            time.sleep(ANSWER_S * len(live))
            ended = list(threads.map(lambda env: env.step("work")[2], live))
            live = [env for env, over in zip(live, ended, strict=True) if not over]
    return time.perf_counter() - began


def in_trl(work: Sequence[Sequence[float]]) -> float:
    """Wall time of the loop in which TRL calls an environment's methods."""
    from trl.trainer import grpo_trainer

    places = threading.Semaphore(PLACES)
    envs = [Work(seconds, places) for seconds in work]
    call = {"type": "function", "function": {"name": "work", "arguments": {"action": "work"}}}

    class Loop(grpo_trainer.GRPOTrainer):  # type: ignore[misc]
        """TRL's trainer with nothing but what its loop reads."""

        def __init__(self) -> None:
            self.use_vllm, self._is_vlm, self.tools = False, False, [Work.step]
            self.environment_factories = self._tokenizer = None
            self.max_tool_calling_iterations = self.max_completion_length = 10**6
            config = type("Config", (), {"max_position_embeddings": 10**6})
            self.model = type("Model", (), {"config": config})
            self._sync_tool_dicts = [{"work": env.step} for env in envs]
            self._async_tool_dicts: list[dict[str, Any]] = [{} for _ in envs]

        def _get_tool_suffix_ids(self, tool_messages: Any) -> list[int]:
            return [1]

        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            time.sleep(ANSWER_S * len(prompt_ids))
            return [[prompt[0]] for prompt in prompt_ids], None

    def parsed(tokenizer: Any, ids: list[int], **kwargs: Any) -> dict[str, Any]:
        env = envs[ids[0]]
        said = {"role": "assistant", "content": ""}
        return said if env.is_done else said | {"tool_calls": [call]}

    theirs, grpo_trainer.parse_response = grpo_trainer.parse_response, parsed
    began = time.perf_counter()
    try:
        loop, ids = Loop(), [[number] for number in range(len(envs))]
        time.sleep(ANSWER_S * len(envs))
        completions = [[parsed(None, one)] for one in ids]
        prompts: list[list[Any]] = [[] for _ in ids]
        loop._tool_call_loop(prompts, ids, [list(one) for one in ids], completions, None, None, {})
    finally:
        grpo_trainer.parse_response = theirs
    took = time.perf_counter() - began
    assert all(env.is_done for env in envs)
    # TRL asks once more after the last command of an episode: that is not part of the task.
    return took - ANSWER_S * len(envs)


def measure(seed: int) -> Times:
    """All of it on the same tasks."""
    work = tasks_of(seed)
    model = ANSWER_S * sum(map(len, work))
    sandbox = sum(map(sum, work)) / PLACES
    bound = max(model, sandbox)
    return Times(model, sandbox, bound, overlapped(work), in_lock_step(work), in_trl(work))


def print_starts(seed: int) -> None:
    """A line for each number of episodes at once: wall time by what a start takes."""
    work = tasks_of(seed, STARTED)
    print("at once " + "".join(f"  start {start:.1f} s" for start in STARTS_S))
    for at_once in AT_ONCE:
        took = [overlapped(work, start, at_once) for start in STARTS_S]
        print(f"{at_once:7d} " + "".join(f"{seconds:11.1f} s" for seconds in took), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", action="store_true", help="what starts of sandboxes cost")
    chosen = parser.parse_args()
    if chosen.starts:
        print_starts(chosen.seed)
        return
    times = measure(chosen.seed)
    for name, seconds in asdict(times).items():
        print(f"{name:>10}  {seconds:6.2f} s  {seconds / times.bound:5.2f} x bound")
    for name in ("lock_step", "trl"):
        print(f"{getattr(times, name) / times.episodes:.2f} x as fast as {name}")
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(asdict(times), indent=1) + "\n")


if __name__ == "__main__":
    main()

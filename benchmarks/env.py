"""Time ``env.step`` without prompts and similarity, and the vector form beside gymnasium's.

python benchmarks/env.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gymnasium as gym

from srl_envs.data.procedural import generate
from srl_envs.instances import StepInstance
from srl_envs.prompts.step import as_text
from srl_envs.reward import sequence_similarity
from srl_envs.trajectory import ExpertStep, Trajectory

TRAJECTORIES = generate(200)
ENVIRONMENTS, ROUNDS, LENGTH = 64, 10, 1_500


def microseconds(work: Callable[[], int], repeats: int = 5) -> float:
    """The fastest run's time per unit; ``work`` returns how many units it did."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        units = work()
        best = min(best, (time.perf_counter() - start) / units)
    return best * 1e6


def parts() -> int:
    """Similarity and the rendering of the next prompt alone, once for each step of an episode."""
    count = 0
    for trajectory in TRAJECTORIES:
        for k in range(len(trajectory.steps) - 1):
            sequence_similarity("The answer is 12.", trajectory.steps[k].action)
            as_text(StepInstance(trajectory, k + 1).messages)
            count += 1
    return count


def main() -> None:
    env = gym.make("SRL-Math-v0", trajectories=TRAJECTORIES).unwrapped
    spent = []

    def episodes() -> int:
        count, seconds = 0, 0.0
        for index in range(len(TRAJECTORIES)):
            env.reset(options={"trajectory": index})
            terminated = False
            start = time.perf_counter()
            while not terminated:
                _, _, terminated, _, _ = env.step("<think>so</think>The answer is 12.")
                count += 1
            seconds += time.perf_counter() - start
        spent.append(seconds / count * 1e6)
        return count

    microseconds(episodes)
    whole, bare = min(spent), microseconds(parts)
    print(
        f"env.step {whole:.0f} us; rendering and similarity {bare:.0f} us; "
        f"overhead {whole - bare:.0f} us (goal < 100 us)"
    )
    text = "".join(trajectory.solution for trajectory in TRAJECTORIES)
    long = [
        Trajectory(
            f"t{i}",
            "Problem",
            tuple(
                ExpertStep(text[start : start + LENGTH].strip())
                for start in range(i * 50, i * 50 + 4 * LENGTH, LENGTH)
            ),
        )
        for i in range(100)
    ]
    for mode in ("sync", "vector_entry_point"):
        vector = gym.make_vec(
            "SRL-Math-v0", num_envs=ENVIRONMENTS, vectorization_mode=mode, trajectories=long
        )
        vector.reset(seed=0)
        actions = ("<think>so</think>" + text[-LENGTH:],) * ENVIRONMENTS

        def rounds(
            vector: gym.vector.VectorEnv = vector, actions: tuple[str, ...] = actions
        ) -> int:
            for _ in range(ROUNDS):
                vector.step(actions)
            return ROUNDS * ENVIRONMENTS

        print(
            f"{mode:<20} {microseconds(rounds, repeats=3):8.0f} us an answer and expert "
            f"step of {LENGTH} characters, {ENVIRONMENTS} environments"
        )
        vector.close()


if __name__ == "__main__":
    main()

import gymnasium as gym
import numpy as np
import pytest

from srl_envs.trajectory import ExpertStep, Trajectory

SOLUTIONS = [
    Trajectory(f"t{i}", f"Problème {i} \u0301\0 😀 {'ß' * 3000 * (i % 2)}?", tuple(ExpertStep(f"step {k} of {i} — ½") for k in range(i + 2)), answer="1")
    for i in range(5)
]
MODES = ("sync", "async", "vector_entry_point")


def play(mode, **settings):
    env = gym.make_vec("SRL-Math-v0", num_envs=4, vectorization_mode=mode, trajectories=SOLUTIONS, **settings)
    try:
        observations, infos = env.reset(seed=7)
        assert env.observation_space.contains(observations)
        seen = [(observations, None, None, None, list(infos["instance_id"]))]
        for k in range(8):
            actions = tuple(("malformed" if (i + k) % 4 == 0 else f"<think>é</think>step {k} of {i}") for i in range(4))
            observations, rewards, terminated, truncated, infos = env.step(actions)
            seen.append((observations, rewards.tolist(), terminated.tolist(), truncated.tolist(), list(infos["instance_id"])))
        return seen
    finally:
        env.close()


@pytest.mark.parametrize("settings", [{}, {"follow": "agent", "max_steps": 3}])
def test_all_three_vector_forms_see_and_score_the_same(settings):
    sync, asynchronous, batched = (play(mode, **settings) for mode in MODES)
    assert sync == asynchronous == batched
    assert any(any(ended) for _, _, ended, cut, _ in sync[1:]) or any(any(cut) for _, _, _, cut, _ in sync[1:])
    assert len({observation for observations, *_ in sync for observation in observations}) > 8


def test_the_batched_form_shares_its_data_and_stops_like_the_others():
    env = gym.make_vec("SRL-Math-v0", num_envs=3, vectorization_mode="vector_entry_point", limit=20)
    assert all(one.trajectories is env.unwrapped.envs[0].trajectories for one in env.unwrapped.envs)
    _, infos = env.reset(seed=1)
    _, rewards, *_ = env.step([f"<think></think>{expert}" for expert in infos["expert_action"]])
    assert np.array_equal(rewards, np.ones(3))
    env.close()
    env.close()

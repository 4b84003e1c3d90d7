import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from srl_envs import SplitAnswer
from srl_envs.answers.verifier import AnswerVerifier
from srl_envs.trajectory import ExpertStep, Trajectory

SOLUTIONS = [
    Trajectory(
        f"t{i}",
        f"Problème {i} \u0301\0 😀 {'ß' * 3000 * (i % 2)}?",
        tuple(ExpertStep(f"step {k} of {i} — ½") for k in range(i + 2)),
        answer="1",
    )
    for i in range(5)
]
MODES = ("sync", "async", "vector_entry_point")


def play(mode, apart=False, **settings):
    env = gym.make_vec(
        "SRL-Math-v0", num_envs=4, vectorization_mode=mode, trajectories=SOLUTIONS, **settings
    )
    try:
        observations, infos = env.reset(seed=7)
        assert env.observation_space.contains(observations)
        seen = [(observations, None, None, None, list(infos["instance_id"]))]
        for k in range(8):
            actions = tuple(
                ("malformed" if (i + k) % 4 == 0 else f"<think>é</think>step {k} of {i}")
                for i in range(4)
            )
            if apart:  # beside texts
                actions = tuple(
                    SplitAnswer("é", action.removeprefix("<think>é</think>"))
                    if "<think>" in action and (i + k) % 2
                    else action
                    for i, action in enumerate(actions)
                )
            observations, rewards, terminated, truncated, infos = env.step(actions)
            seen.append(
                (
                    observations,
                    rewards.tolist(),
                    terminated.tolist(),
                    truncated.tolist(),
                    list(infos["instance_id"]),
                )
            )
        return seen
    finally:
        env.close()


@pytest.mark.parametrize("settings", [{}, {"follow": "agent", "max_steps": 3}])
def test_all_three_vector_forms_see_and_score_the_same(settings):
    sync, asynchronous, batched = (play(mode, **settings) for mode in MODES)
    assert sync == asynchronous == batched
    assert any(any(ended) for _, _, ended, cut, _ in sync[1:]) or any(
        any(cut) for _, _, _, cut, _ in sync[1:]
    )
    assert len({observation for observations, *_ in sync for observation in observations}) > 8


@pytest.mark.parametrize("mode", MODES)
def test_all_vector_forms_take_a_thought_apart_from_its_action(mode):
    assert play(mode, apart=True) == play(mode)


def test_the_batched_form_shares_its_data_and_stops_like_the_others():
    env = gym.make_vec("SRL-Math-v0", num_envs=3, vectorization_mode="vector_entry_point", limit=20)
    assert all(one.trajectories is env.unwrapped.envs[0].trajectories for one in env.unwrapped.envs)
    _, infos = env.reset(seed=1)
    _, rewards, *_ = env.step([f"<think></think>{expert}" for expert in infos["expert_action"]])
    assert np.array_equal(rewards, np.ones(3))
    env.close()
    env.close()


def batched(**settings):
    return gym.make_vec(
        "SRL-Math-v0",
        num_envs=3,
        vectorization_mode="vector_entry_point",
        trajectories=SOLUTIONS,
        **settings,
    )


def wrong_answers(env, mode_steps=1):
    env.reset(seed=1)
    return [env.step(["<think></think>\\boxed{2 + 0}"] * 3)[1].tolist() for _ in range(mode_steps)]


def processes(env):
    return {
        one._verifier._child.pid for one in env.unwrapped.envs if one._verifier._child is not None
    }


def test_the_batched_form_verifies_all_answers_in_one_process_that_starts_with_the_first():
    env = batched(follow="agent")
    assert processes(env) == set()
    assert wrong_answers(env) == [[0.0, 0.0, 0.0]]
    assert len(processes(env)) == 1
    env.close()
    assert processes(env) == set()


def test_environments_of_the_sync_form_may_share_a_verifier():
    settings = {"trajectories": SOLUTIONS, "follow": "agent", "verifier": AnswerVerifier()}
    env = gym.make_vec("SRL-Math-v0", num_envs=3, vectorization_mode="sync", **settings)
    assert wrong_answers(env, 3) == [[0.0, 0.0, 0.0]] * 3
    assert len({one.unwrapped._verifier._child.pid for one in env.envs}) == 1
    env.close()


@pytest.mark.parametrize("actions", [[], ["<think></think>x"] * 2, ["<think></think>x"] * 4, "abc"])
def test_a_wrong_number_of_actions_is_refused(actions):
    env = batched()
    env.reset(seed=1)
    with pytest.raises(ValueError, match="for 3 environments"):
        env.step(actions)
    env.close()


def test_a_step_before_a_reset_and_an_action_that_is_no_text_are_refused():
    env = batched()
    with pytest.raises(ResetNeeded):
        env.step(["<think></think>x"] * 3)
    env.reset(seed=1)
    with pytest.raises(InvalidAction):
        env.step(["<think></think>x", None, "<think></think>x"])
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        env.reset(seed=[1, 2])
    env.close()

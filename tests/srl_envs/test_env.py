import warnings

import gymnasium as gym
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

import srl_envs
from srl_envs.data import save_trajectories
from srl_envs.errors import ConfigError
from srl_envs.matching import matching_blocks
from srl_envs.reward import sequence_similarity
from srl_envs.trajectory import ExpertStep, Trajectory

STEPS = ("Add 2 and 3 to get 5.", "Double it — 10 ½ 😀.", "The answer is 10.")
SOLUTIONS = [
    Trajectory(
        f"t{i}",
        f"Problem {i}?",
        tuple(ExpertStep(text, title=f"Title {k}") for k, text in enumerate(STEPS, 1)),
        answer="10",
    )
    for i in range(5)
]


def make(**settings):
    return gym.make("SRL-Math-v0", **{"trajectories": SOLUTIONS} | settings)


def answer(text):
    return f"<think>so</think>{text}"


def test_the_math_environment_works_without_arguments_and_passes_gymnasiums_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("SRL-Math-v0")
        check_env(env.unwrapped)
        assert "Problem" in env.reset(seed=0)[0]
        check_env(make(render_mode="ansi").unwrapped)
    env.close()
    env.close()


@pytest.mark.parametrize("thought", ["so", "", " \n so ", "</think>", "<think>", None])
@pytest.mark.parametrize("action", ["Add 2 and 4.", " ", "<think>x</think>Add 2 and 3 to get 5."])
def test_a_thought_apart_from_its_action_is_scored_as_the_text_of_both(thought, action):
    text = action if thought is None else f"<think>{thought}</think>{action}"
    env = make()
    steps = []
    for form in (text, srl_envs.SplitAnswer(thought, action), (thought, action)):
        env.reset(options={"trajectory": 2})
        assert form in env.action_space
        observation, reward, _, _, info = env.step(form)
        blocks = list(info.pop("matching_blocks"))
        steps.append((observation, reward, blocks, info))
        assert srl_envs.step_reward(form, STEPS[0]).value == reward
    assert steps[0] == steps[1] == steps[2]


@pytest.mark.parametrize("name", ["SRL-Math-v0", "SRL-SWE-v0"])
def test_every_environment_takes_a_thought_apart(name):
    env = gym.make(name)
    _, info = env.reset(seed=0)
    expert = info["expert_action"]
    whole = env.step(f"<think>so</think>\n{expert}")
    env.reset(seed=0)
    apart = env.step(srl_envs.SplitAnswer("so", f"\n{expert}"))
    assert whole[:4] == apart[:4] and whole[1] == 1.0
    env.close()


def test_the_action_space_knows_what_an_answer_is():
    space = make().action_space
    assert isinstance(space.sample(), str)
    for wrong in (3, ("one", "two", "three"), ["thought", "action"], ("thought", None)):
        assert wrong not in space


def test_an_episode_walks_the_experts_steps_whatever_is_answered():
    env = make()
    observation, info = env.reset(options={"trajectory": 2})
    assert (
        info["expert_action"] == STEPS[0]
        and info["instance_id"] == "t2/1"
        and info["step"] == 0
        and "similarity" not in info
    )
    assert observation.endswith("Problem 2?\n\nNext step: Title 1")
    observation, reward, terminated, truncated, info = env.step(answer("Add 2 and 4."))
    assert reward == info["similarity"] == sequence_similarity("Add 2 and 4.", STEPS[0])
    assert list(info["matching_blocks"]) == matching_blocks("Add 2 and 4.", STEPS[0])
    assert info["response"].thought == "so" and not terminated and not truncated
    assert (
        STEPS[0] in observation
        and "Add 2 and 4" not in observation
        and info["expert_action"] == STEPS[1]
    )
    observation, reward, terminated, _, info = env.step("no tags")
    assert (
        reward == -1
        and terminated
        and info["similarity"] is None
        and info["response"].error == "no_think"
    )
    assert (
        all(step in observation for step in STEPS)
        and "Next step" not in observation
        and info["expert_action"] is None
    )


def test_settings_change_the_episode():
    env = make(targets="all", title_hint=False, system_prompt="")
    observation, _ = env.reset(options={"instance_id": "t1/3"})
    assert observation == f"Problem:\nProblem 1?\n\nSolution so far:\n{STEPS[0]}\n{STEPS[1]}"
    assert env.step(answer(STEPS[2]))[1:3] == (1.0, True)


def test_seeding_is_exact():
    def walk(seed):
        env = make()
        return [env.reset(seed=seed if k == 0 else None)[0] for k in range(10)]

    assert walk(3) == walk(3) != walk(4)


def test_an_agents_own_steps_become_the_state_and_its_answer_is_verified():
    env = make(follow="agent")
    env.reset(options={"trajectory": 0})
    observation, reward, *_ = env.step(answer("My own way."))
    assert (
        "My own way." in observation
        and STEPS[0] not in observation
        and "Next step: Title 2" in observation
        and 0 < reward < 1
    )
    observation, reward, _, _, info = env.step("untagged words")
    assert reward == -1 and "untagged" not in observation and info["step"] == 2
    assert "malformed (no_think)" in observation
    assert env.step(answer(STEPS[2]))[1] == 1.0
    observation, reward, terminated, truncated, info = env.step(answer("Beyond the expert."))
    assert reward == 0 and not terminated and not truncated and info["expert_action"] is None
    _, reward, terminated, truncated, info = env.step(answer(r"So \boxed{\frac{20}{2}}."))
    assert (reward, terminated, truncated, info["correct"]) == (1.0, True, False, True)
    env.close()


def test_an_agents_steps_stand_in_the_prompt_as_the_experts_do():
    solution = Trajectory(
        "t",
        "Why?",
        (
            ExpertStep("Begin.", title="One", heading="1. **One**: "),
            ExpertStep("End.", title="Two", heading="2. **Two**: "),
        ),
    )
    env = gym.make("SRL-Math-v0", trajectories=[solution], follow="agent")
    env.reset()
    observation, *_ = env.step(answer("Mine."))
    assert "1. **One**: Mine." in observation and "\\boxed" in observation
    bare = gym.make(
        "SRL-Math-v0", trajectories=[solution], follow="agent", title_hint=False, system_prompt=""
    )
    bare.reset()
    observation, *_ = bare.step(answer("Mine."))
    assert "**One**" not in observation and "\\boxed" not in observation and "Mine." in observation


def test_without_a_reference_answer_there_is_no_verdict():
    solution = Trajectory("t", "Why?", (ExpertStep("Because."), ExpertStep("So.")))
    env = gym.make("SRL-Math-v0", trajectories=[solution], follow="agent")
    env.reset()
    _, reward, terminated, _, info = env.step(answer(r"\boxed{1}"))
    assert terminated and "correct" not in info and reward == info["similarity"]


def test_an_agent_without_an_answer_is_truncated_and_a_wrong_answer_is_worth_nothing():
    env = make(follow="agent", max_steps=2)
    env.reset(options={"trajectory": 0})
    env.step(answer(STEPS[0]))
    _, reward, terminated, truncated, info = env.step(answer(STEPS[1]))
    assert (reward, terminated, truncated, info["correct"]) == (0.0, False, True, False)
    env.reset(options={"trajectory": 0})
    assert env.step(answer("#### 11"))[1:3] == (0.0, True)
    env.close()


def test_rendering_shows_both_steps_side_by_side():
    env = make(render_mode="ansi")
    env.reset(options={"trajectory": 0})
    assert "Problem 0?" in env.render()
    env.step(answer("Mine."))
    lines = env.render().splitlines()
    assert "t0, step 1" in lines[0] and any("Mine." in line and STEPS[0] in line for line in lines)


def test_rendering_shows_what_was_written_also_where_it_is_malformed():
    env = make(render_mode="ansi")
    env.reset(options={"trajectory": 0})
    env.step("My words without tags.")
    assert "malformed: no_think" in env.render() and "My words without tags." in env.render()


@pytest.mark.parametrize("settings", [{}, {"follow": "agent"}])
def test_a_step_outside_an_episode_needs_a_reset(settings):
    env = make(**settings).unwrapped
    with pytest.raises(ResetNeeded):
        env.step(answer("x"))
    env.reset(options={"trajectory": 0})
    env.step(answer("x"))
    assert env.step(answer("\\boxed{10}"))[2]
    with pytest.raises(ResetNeeded):
        env.step(answer("x"))
    env.reset()
    env.step(answer("x"))
    env.close()
    with pytest.raises(ResetNeeded):
        env.step(answer("x"))


def test_an_action_that_is_no_text_is_refused():
    env = make().unwrapped
    env.reset()
    with pytest.raises(InvalidAction, match="not int"):
        env.step(3)
    assert env.step(answer(STEPS[0]))[1] == 1.0, "the refused one changed nothing"


def test_any_domain_from_a_file_in_our_schema(tmp_path):
    save_trajectories(SOLUTIONS, tmp_path / "t.jsonl")
    env = gym.make("SRL-Steps-v0", path=tmp_path / "t.jsonl")
    assert env.reset(options={"trajectory": 0})[1]["expert_action"] == STEPS[0]
    with pytest.raises(ConfigError, match="path"):
        gym.make("SRL-Steps-v0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"follow": "nobody"}, "'expert', 'agent'"),
        ({"targets": "some"}, "'all_but_last', 'all'"),
        ({"render_mode": "human"}, "'ansi'"),
        ({"max_steps": 0}, "at least 1"),
        ({"max_steps": "3"}, "max_steps is '3': it must be of the type int"),
        ({"title_hint": "no"}, "title_hint is 'no': it must be of the type bool"),
        ({"reward": 5}, "reward is 5: it must be of the type RewardSettings"),
        ({"system_prompt": 5}, "system_prompt is 5: it must be of the type str"),
        ({"trajectories": None, "path": "/nope"}, "'builtin' reads no file: say with source="),
        ({"trajectories": None, "source": "nowhere"}, "builtin"),
        (
            {"trajectories": [Trajectory("t", "p", (ExpertStep("only"),))]},
            "no trajectory has a target",
        ),
    ],
)
def test_wrong_settings_are_refused_with_the_valid_ones(settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    "options",
    [
        {"trajectory": 9},
        {"trajectory": 1.0},
        {"instance_id": "t9"},
        {"instance_id": "t0/3"},
        {"instance_id": 5},
        {"other": 1},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError):
        make().reset(options=options)


def test_public_names():
    assert all(hasattr(srl_envs, name) for name in srl_envs.__all__)

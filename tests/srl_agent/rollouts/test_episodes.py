"""Many episodes at once: overlap, bounds, malformed answers, failures, and who may answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from srl_agent.inference.chat import ChatEncoder, end_token_ids
from srl_agent.inference.generator import GenerationSettings
from srl_agent.inference.sampling import SamplingSettings
from srl_agent.inference.transformers_generator import TransformersGenerator
from srl_agent.rollouts.episode_records import EpisodeLimits, EpisodeLog
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.places import Task
from srl_agent.rollouts.policies import Ask, GeneratorPolicy, SamplerPolicy, Written
from srl_envs import ExpertStep, Trajectory
from srl_envs.env import ExpertStepEnv
from srl_envs.errors import ConfigError, InfrastructureError
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings
from srl_envs.spaces import UnicodeText
from srl_envs.steps import StepsEnv

SUM = Trajectory(
    "sum",
    "What is 2 + 3?",
    (ExpertStep("I add two and three."), ExpertStep("The answer is \\boxed{5}.")),
    answer="5",
    domain="steps",
)
EXPERT = [f"<think>so</think>\n{step.action}" for step in SUM.steps]


class Scripted:
    """A policy that answers by a function of what was asked and how often it was asked so far."""

    batching = "one"

    def __init__(self, say: Callable[[str, int], str], finish: str = "stop") -> None:
        self.say, self.finish, self.batches, self.asked = say, finish, [], []
        self.counts: dict[str, int] = {}

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
        self.batches.append(len(asks))
        for index, ask in enumerate(asks):
            turn, text = ask.request.number >> 16, ask.request.messages[-1]["content"]
            self.asked.append(text)
            said = self.say(text, turn)
            yield index, Written(said, len(said.split()), self.finish)


def steps_task(trajectory: Trajectory = SUM, **settings: Any) -> Task:
    make = partial(
        StepsEnv, trajectories=[trajectory], follow="agent", title_hint=False, **settings
    )
    return Task(trajectory.id, make)


class Counter(gym.Env[str, str]):
    """Counts up to three; ``meet`` is called in every step."""

    observation_space = action_space = UnicodeText()

    def __init__(self, meet: Callable[[], None] = lambda: None, closed: list[Any] | None = None):
        self.meet, self.count, self.closed = meet, 0, [] if closed is None else closed

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        self.count = seed or 0
        return f"The count is {self.count}. Say up until it is 3.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.meet()
        self.count += action == "up"
        return f"The count is {self.count}.", float(self.count == 3), self.count == 3, False, {}

    def close(self) -> None:
        self.closed.append(self)


def test_an_expert_solves_and_each_turn_is_known() -> None:
    policy = Scripted(lambda text, turn: EXPERT[turn])
    first, second = Episodes(policy).roll_out([steps_task()], 2)
    assert (first.task, first.number, second.number) == ("sum", 0, 1)
    assert first.end == "ended" and first.reward == 1.0 and first.outcome.correct is True
    assert [turn.similarity for turn in first.turns] == [1.0, 1.0]
    assert [turn.from_expert_state for turn in first.turns] == [True, True]
    assert first.turns[0].response.thought == "so"
    assert sum(policy.batches) == 4  # each turn is asked once


def test_the_similarity_compares_states_only_until_the_first_other_step() -> None:
    said = ["<think></think>I guess.", EXPERT[1]]
    (episode,) = Episodes(Scripted(lambda text, turn: said[turn])).roll_out([steps_task()])
    assert [turn.from_expert_state for turn in episode.turns] == [True, False]
    assert episode.reward == 1.0  # the outcome counts, not the way


def test_a_malformed_answer_is_told_and_costs_a_turn() -> None:
    said = ["no thought", *EXPERT]
    policy = Scripted(lambda text, turn: said[turn])
    (episode,) = Episodes(policy).roll_out([steps_task()])
    assert episode.reward == 1.0 and len(episode.turns) == 3
    assert episode.turns[0].response.error == "no_think"
    assert "malformed (no_think)" in policy.asked[1]
    assert "malformed" not in policy.asked[2]


def test_an_answer_that_was_cut_off_is_not_acted_upon() -> None:
    policy = Scripted(lambda text, turn: EXPERT[1], finish="length")
    limits = EpisodeLimits(turns=2)
    (ours,) = Episodes(policy, limits).roll_out([steps_task()])
    assert (ours.end, ours.reward) == ("turns", 0.0)
    assert {turn.response.error for turn in ours.turns} == {"truncated"}
    policy = Scripted(lambda text, turn: "<think></think>up", finish="length")
    (other,) = Episodes(policy, limits).roll_out([Task("count", Counter, seed=2)])
    assert (other.end, other.reward) == ("turns", 0.0)
    assert "malformed (truncated)" in policy.asked[1]


@pytest.mark.parametrize(
    ("limits", "end", "turns"),
    [
        ({"turns": 3}, "turns", 3),
        ({"tokens": 5}, "tokens", 3),
        ({"seconds": 1e-9}, "seconds", 1),
    ],
)
def test_an_episode_that_hits_a_bound_is_verified_as_it_stands(
    limits: dict[str, Any], end: str, turns: int
) -> None:
    policy = Scripted(lambda text, turn: "<think></think>I wait.")  # two tokens
    (episode,) = Episodes(policy, EpisodeLimits(**limits)).roll_out([steps_task()])
    assert (episode.end, len(episode.turns), episode.reward) == (end, turns, 0.0)


def test_a_prompt_that_fills_the_context_ends_the_episode_also_at_its_beginning() -> None:
    policy = Scripted(lambda text, turn: "", finish="context")
    for task in (steps_task(), Task("count", Counter)):
        (episode,) = Episodes(policy).roll_out([task])
        assert (episode.end, episode.turns, episode.reward) == ("context", (), 0.0)


def test_any_environment_with_texts_takes_part() -> None:
    policy = Scripted(lambda text, turn: "<think></think>up")
    (episode,) = Episodes(policy, history_turns=1).roll_out([Task("count", Counter)])
    assert (episode.end, episode.reward, len(episode.turns)) == ("ended", 1.0, 3)
    assert policy.asked == [
        "The count is 0. Say up until it is 3.",
        "The count is 1.",
        "The count is 2.",
    ]
    assert episode.turns[0].observation == "The count is 1."


def test_an_episode_whose_command_runs_holds_up_no_other() -> None:
    others_done = threading.Event()

    def slow() -> None:
        assert others_done.wait(60), "the other episodes waited for this command"

    finished = []

    def note(episode: Any) -> None:
        finished.append(episode.task)
        if len(finished) == 3:
            others_done.set()

    tasks = [Task("slow", partial(Counter, slow), seed=2)]
    tasks += [Task(f"quick {number}", Counter) for number in range(3)]
    policy = Scripted(lambda text, turn: "<think></think>up")
    episodes = Episodes(policy, when_finished=note).roll_out(tasks)
    assert finished[-1] == "slow"
    assert [episode.task for episode in episodes] == [task.id for task in tasks]
    assert all(episode.reward == 1.0 for episode in episodes)


def test_no_more_sandboxes_than_allowed_and_each_is_closed() -> None:
    open_now, most, closed = 0, [], []
    lock = threading.Lock()

    def make() -> Counter:
        nonlocal open_now
        with lock:
            open_now += 1
            most.append(open_now)
        return Closing(closed=closed)

    class Closing(Counter):
        def close(self) -> None:
            nonlocal open_now
            with lock:
                open_now -= self not in self.closed
            super().close()

    tasks = [Task(str(number), make) for number in range(7)]
    policy = Scripted(lambda text, turn: "<think></think>up")
    Episodes(policy, EpisodeLimits(at_once=3)).roll_out(tasks)
    assert max(most) <= 3 and open_now == 0 and len({id(one) for one in closed}) == 7


@pytest.mark.parametrize("failures", [1, 2])
def test_a_failure_of_the_machinery_repeats_once_and_then_masks(failures: int) -> None:
    made: list[Counter] = []
    closed: list[Any] = []

    def make() -> Counter:
        def meet() -> None:
            if len(made) <= failures:
                raise InfrastructureError("the daemon is down")

        made.append(Counter(meet, closed))
        return made[-1]

    policy = Scripted(lambda text, turn: "<think></think>up")
    bad, good = Episodes(policy).roll_out([Task("bad", make), Task("good", Counter)])
    assert good.reward == 1.0 and len(made) == 2 and closed[0] is made[0]
    assert "daemon" in bad.failure
    assert (bad.end, bad.reward) == (("ended", 1.0) if failures == 1 else ("machinery", None))


@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("method", ["reset", "step", "close"])
def test_what_a_users_environment_raises_is_a_failure_of_the_machinery(
    method: str, failures: int
) -> None:
    made: list[Counter] = []

    class Raising(Counter):
        pass

    def raising(self: Counter, *_: Any, **more: Any) -> Any:
        if self in made[:failures]:
            raise KeyError("lost")
        return getattr(Counter, method)(self, *_, **more)

    setattr(Raising, method, raising)

    def make() -> Counter:
        made.append(Raising())
        return made[-1]

    policy = Scripted(lambda text, turn: "<think></think>up")
    bad, good = Episodes(policy).roll_out([Task("bad", make), Task("good", Counter)])
    assert good.reward == 1.0 and len(made) == 2
    assert bad.failure == f"Raising.{method} raised KeyError: 'lost'"
    assert (bad.end, bad.reward) == (("ended", 1.0) if failures == 1 else ("machinery", None))


def test_any_other_error_closes_all_and_is_raised() -> None:
    closed: list[Any] = []

    def broken() -> None:
        raise ConfigError("a wrong setting")

    policy = Scripted(lambda text, turn: "<think></think>up")
    tasks = [
        Task("a", partial(Counter, broken, closed)),
        Task("b", partial(Counter, closed=closed)),
    ]
    with pytest.raises(ConfigError, match="a wrong setting"):
        Episodes(policy).roll_out(tasks)
    assert len({id(one) for one in closed}) == 2

    class Dead(Scripted):
        def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Written]]:
            raise InfrastructureError("the model's server is gone")
            yield

    for batching in ("one", "server"):
        dead = Dead(lambda text, turn: "")
        dead.batching = batching
        with pytest.raises(InfrastructureError, match="server is gone"):
            Episodes(dead).roll_out([Task("c", Counter)])


def test_environments_that_do_not_fit_are_refused() -> None:
    policy = Scripted(lambda text, turn: "")
    expert = Task("e", partial(StepsEnv, trajectories=[SUM]))
    with pytest.raises(ConfigError, match="follow='agent'"):
        Episodes(policy).roll_out([expert])
    with pytest.raises(ConfigError, match="observations and actions are texts"):
        Episodes(policy).roll_out([Task("cart", partial(gym.make, "CartPole-v1"))])
    with pytest.raises(ConfigError, match="turns is 0"):
        EpisodeLimits(turns=0)


@pytest.mark.parametrize("batching", ["one", "engine", "server"])
def test_every_way_of_batching_gives_the_same_episodes(batching: str) -> None:
    policy = Scripted(lambda text, turn: "<think></think>up")
    policy.batching = batching
    tasks = [Task(str(number), Counter, seed=number) for number in range(3)]
    episodes = Episodes(policy, EpisodeLimits(at_once=2)).roll_out(tasks, 2)
    assert [len(episode.turns) for episode in episodes] == [3, 3, 2, 2, 1, 1]


# ---------------------------------------------------------------- who answers

FREE = ResponseFormat(require_think=False)
LIMITS = EpisodeLimits(turns=3)


def free_task(number: int) -> Task:
    make = partial(
        StepsEnv,
        trajectories=[SUM],
        follow="agent",
        title_hint=False,
        reward=RewardSettings(format=FREE),
    )
    return Task(f"sum {number}", make)


def sampler_policy(model: Any, tokenizer: Any, **settings: Any) -> SamplerPolicy:
    ends = end_token_ids(model, tokenizer)
    sampling = SamplingSettings(12, max_rows=4)
    return SamplerPolicy(model.eval(), tokenizer, ends, sampling, seed=7, **settings)


def test_the_sampler_draws_the_same_whatever_is_answered_beside_it(
    tiny_model: Any, tiny_tokenizer: Any
) -> None:
    policy = sampler_policy(tiny_model, tiny_tokenizer)
    together = Episodes(policy, LIMITS, format=FREE).roll_out([free_task(0), free_task(1)], 3)
    alone = Episodes(policy, EpisodeLimits(turns=3, at_once=1), format=FREE).roll_out(
        [free_task(0), free_task(1)], 3
    )
    tokens = [
        [[list(turn.written.completion_ids) for turn in one.turns] for one in episodes]
        for episodes in (together, alone)
    ]
    assert tokens[0] == tokens[1]
    assert len({str(one) for one in tokens[0]}) > 2  # samples and turns draw anew
    chat = ChatEncoder(tiny_tokenizer)
    for turn in together[0].turns:
        assert list(turn.written.prompt_ids)[-1] == chat([{"role": "user", "content": ""}]).ids[-1]
        assert turn.written.tokens == len(turn.written.completion_ids)


def test_with_the_whole_history_each_prompt_goes_on_from_the_tokens_before(
    tiny_model: Any, tiny_tokenizer: Any
) -> None:
    policy = sampler_policy(tiny_model, tiny_tokenizer)
    (episode,) = Episodes(policy, LIMITS, format=FREE, whole_history=True).roll_out([free_task(0)])
    assert len(episode.turns) == 3
    for before, after in zip(episode.turns, episode.turns[1:], strict=False):
        known = [*before.written.prompt_ids, *before.written.completion_ids]
        assert list(after.written.prompt_ids)[: len(known)] == known
        said = tiny_tokenizer.decode(list(after.written.prompt_ids)[len(known) :])
        end = "" if before.written.finish == "stop" else "<|end|>"
        seen = before.observation or "Go on."
        assert said == f"{end}<|user|>{seen}<|end|><|assistant|>"


def test_the_context_bounds_prompt_and_answer(tiny_model: Any, tiny_tokenizer: Any) -> None:
    first = len(ChatEncoder(tiny_tokenizer)(first_prompt()).ids)
    policy = sampler_policy(tiny_model, tiny_tokenizer, context=first + 2)
    (episode,) = Episodes(policy, LIMITS, format=FREE, whole_history=True).roll_out([free_task(0)])
    assert episode.end == "context" and len(episode.turns) == 1
    assert episode.turns[0].written.tokens <= 2


def first_prompt() -> Any:
    env = StepsEnv(trajectories=[SUM], follow="agent", title_hint=False)
    return env.reset()[1]["messages"]


def test_a_generator_serves_as_the_sampler_does(
    tiny_model_dir: Path, tiny_model: Any, tiny_tokenizer: Any
) -> None:
    generator = TransformersGenerator(str(tiny_model_dir), device="cpu")
    settings = GenerationSettings(max_new_tokens=12, temperature=1.0, seed=7)
    by_generator = Episodes(GeneratorPolicy(generator, settings), LIMITS, format=FREE).roll_out(
        [free_task(0)], 2
    )
    by_sampler = Episodes(sampler_policy(tiny_model, tiny_tokenizer), LIMITS, format=FREE).roll_out(
        [free_task(0)], 2
    )
    texts = [
        [[turn.written.text for turn in one.turns] for one in episodes]
        for episodes in (by_generator, by_sampler)
    ]
    assert texts[0] == texts[1]
    generator.close()


# ---------------------------------------------------------------- the file


def test_episodes_are_kept_within_a_bound_and_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    said = ["broken \ud800", *EXPERT]
    policy = Scripted(lambda text, turn: said[turn])
    (episode,) = Episodes(policy).roll_out([steps_task()])
    path = tmp_path / "episodes.jsonl"
    path.write_text('{"torn": ')
    log = EpisodeLog(path, 20_000)
    log.write(episode, step=3)
    _, line = path.read_text().splitlines()
    row = json.loads(line)
    assert (row["step"], row["task"], row["reward"], row["end"]) == (3, "sum", 1.0, "ended")
    assert [turn["error"] for turn in row["turns"]] == ["no_think", None, None]
    assert row["turns"][1]["thought"] == "so" and row["turns"][1]["action"] == SUM.steps[0].action
    for _ in range(200):
        log.write(episode)
    kept = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert 8_000 < kept <= 20_000 and len(list(tmp_path.iterdir())) == 2


def test_the_outcome_of_our_environment_can_be_asked_for_apart() -> None:
    env = StepsEnv(trajectories=[SUM], follow="agent", title_hint=False)
    assert isinstance(env, ExpertStepEnv)
    with pytest.raises(gym.error.ResetNeeded):
        env.outcome()
    env.reset()
    env.step(EXPERT[0])
    assert env.outcome() == {"correct": False}
    with pytest.raises(gym.error.ResetNeeded):
        env.step(EXPERT[1])

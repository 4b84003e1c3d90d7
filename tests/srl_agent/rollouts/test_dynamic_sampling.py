from __future__ import annotations

import statistics

import pytest

from srl_agent.rollouts.dynamic_sampling import NothingToLearnError, RolloutGroup, fill_batch
from srl_agent.rollouts.instance_stream import InstanceStream
from srl_envs.response import Response
from srl_envs.reward import StepReward


def group(*values: float, error: str = "no_think") -> RolloutGroup:
    rewards = [
        StepReward(
            value,
            None if value == -1 else value,
            Response("", "" if value == -1 else "a", error if value == -1 else None),
        )
        for value in values
    ]
    return RolloutGroup([1, 2], [[3]] * len(values), rewards)


def serve(*groups: RolloutGroup):
    """A source of these groups that notes how many were asked for."""
    waiting, asked = list(groups), []

    def roll_out(count: int) -> list[RolloutGroup]:
        asked.append(count)
        taken, waiting[:] = waiting[:count], waiting[count:]
        return taken

    return roll_out, asked


def test_advantages_are_rewards_in_population_standard_deviations() -> None:
    values = [0.1, 0.5, 0.9, -1.0]
    mean, std = statistics.fmean(values), statistics.pstdev(values)
    assert group(*values).advantages() == pytest.approx([(value - mean) / std for value in values])
    assert group(*values).advantages(scale=False) == pytest.approx(
        [value - mean for value in values]
    )
    assert group(0.5, 0.5).advantages() == [0, 0]


def test_groups_without_spread_are_replaced_until_the_batch_is_full() -> None:
    flat, good = group(0.5, 0.5), group(0.2, 0.8)
    roll_out, asked = serve(flat, good, flat, flat, good, good, good)
    batch = fill_batch(roll_out, 3, min_std=1e-3, max_rounds=5)
    assert batch.kept == [good] * 3 and batch.is_full
    assert len(batch.dropped) == 3 and batch.surplus == []
    assert asked == [3, 3] and batch.rounds == 2


def test_epsilon_is_a_strict_bound_on_the_population_std() -> None:
    edge = group(0.4, 0.6)  # population std exactly 0.1 up to rounding
    roll_out, _ = serve(edge, group(0.0, 1.0))
    batch = fill_batch(roll_out, 2, min_std=edge.spread, max_rounds=1)
    assert batch.dropped == [edge] and len(batch.kept) == 1


def test_surplus_is_counted_and_not_trained() -> None:
    flat, good = group(0.5, 0.5), group(0.2, 0.8)
    roll_out, asked = serve(good, flat, flat, flat, good, good, good, good)
    batch = fill_batch(roll_out, 4, min_std=0, max_rounds=3)
    assert asked[1] == 4 and len(batch.kept) == 4 and len(batch.surplus) == 1


def test_a_bounded_number_of_rounds_trains_what_there_is_and_says_why() -> None:
    flat, good = group(-1, -1), group(0.2, -1)
    roll_out, _ = serve(good, *[flat] * 20)
    batch = fill_batch(roll_out, 2, min_std=0, max_rounds=3)
    assert not batch.is_full and batch.kept == [good]
    assert (
        batch.explain() == "1 of 2 groups kept after 3 rounds of 6 groups: 5 without spread; "
        "11 of 12 answers malformed (11 no_think)"
    )


@pytest.mark.parametrize(
    ("flat", "cure"),
    [
        (group(-1, -1), "--format_warmup_steps"),
        (group(-1, -1, error="truncated"), "--max_completion_length"),
        (group(0.5, 0.5), "--temperature"),
        (group(0.0, 0.0), "easier problems.*SRL first.*--config srl_then_rlvr_math_7b"),
        (group(1.0, 1.0), "harder problems"),
    ],
)
def test_nothing_to_learn_stops_with_the_cure(flat: RolloutGroup, cure: str) -> None:
    roll_out, _ = serve(*[flat] * 20)
    with pytest.raises(NothingToLearnError, match=cure):
        fill_batch(roll_out, 2, min_std=0, max_rounds=3)


def test_without_dynamic_sampling_every_group_is_kept() -> None:
    flat = group(0.5, 0.5)
    roll_out, asked = serve(flat, flat)
    assert fill_batch(roll_out, 2, min_std=0, max_rounds=3, enabled=False).kept == [flat, flat]
    assert asked == [2]


def test_stream_visits_everything_once_an_epoch_and_resumes_from_its_position() -> None:
    stream = InstanceStream(7, seed=3)
    first, second = stream.take(7), stream.take(7)
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    resumed = InstanceStream(7, seed=3)
    resumed.position = 5
    assert resumed.take(4) == first[5:] + second[:2]
    assert stream.epoch == 2.0

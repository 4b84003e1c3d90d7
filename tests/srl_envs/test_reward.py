import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_envs.errors import ConfigError
from srl_envs.matching import matching_blocks
from srl_envs.reward import (
    MALFORMED_REWARD,
    RewardSettings,
    sequence_similarities,
    sequence_similarity,
    step_reward,
    step_rewards,
)

ANY_TEXT = st.text(
    st.characters(), max_size=60
)  # all code points, lone surrogates and NUL included
FEW_LETTERS = st.text("ab\u0301\0\ud800\U0001f600", max_size=60)
LONG = st.builds(
    lambda text, times: text * times,
    st.text("abc d\udfffé", min_size=8, max_size=40),
    st.integers(20, 30),
)  # beyond autojunk's 200
TEXTS = st.one_of(ANY_TEXT, FEW_LETTERS, LONG)


def reference(model: str, expert: str, autojunk: bool) -> float:
    return difflib.SequenceMatcher(None, model, expert, autojunk=autojunk).ratio()


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_similarity_is_difflibs_to_the_last_bit(model, expert, autojunk):
    assert sequence_similarity(model, expert, autojunk=autojunk) == reference(
        model, expert, autojunk
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8), st.booleans())
def test_a_batch_gives_what_single_calls_give(pairs, autojunk):
    assert sequence_similarities(pairs, autojunk=autojunk) == [
        reference(model, expert, autojunk) for model, expert in pairs
    ]


def test_lone_surrogates_are_ordinary_characters_also_in_long_repetitive_strings():
    model, expert = "a" * 16_000, "ab" * 8_000  # minutes where lone surrogates took the slow way
    for autojunk in (False, True):
        assert sequence_similarity(
            model + "\ud800", expert, autojunk=autojunk
        ) == sequence_similarity(model + "c", expert, autojunk=autojunk)
    assert sequence_similarity("\ud800\U0010ffff", "\udfff\U0010ffff") == 0.5


def test_autojunk_matters_so_the_test_above_means_something():
    model, expert = "the cat sat on the mat. " * 20, "the cat sat on a mat. " * 20
    assert (
        sequence_similarity(model, expert, autojunk=True) < sequence_similarity(model, expert) - 0.1
    )


def test_the_order_of_the_two_strings_matters():
    assert sequence_similarity("tide", "diet") != sequence_similarity("diet", "tide")


@settings(deadline=None)
@given(FEW_LETTERS, FEW_LETTERS)
def test_matching_blocks_add_up_to_m_and_match(model, expert):
    blocks = matching_blocks(model, expert)
    assert all(
        model[block.a : block.a + block.size] == expert[block.b : block.b + block.size]
        for block in blocks
    )
    total = len(model) + len(expert)
    assert (
        2.0 * sum(block.size for block in blocks) / total if total else 1.0
    ) == sequence_similarity(model, expert)


@settings(max_examples=100, deadline=None)
@given(
    st.text("abc", min_size=1, max_size=40),
    st.text("abc", min_size=1, max_size=40),
    st.integers(1, 50),
)
def test_beyond_the_limit_characters_count_but_do_not_match(model, expert, limit):
    similarity = step_reward(
        f"<think></think>{model}", expert, RewardSettings(max_characters=limit)
    ).similarity
    blocks = matching_blocks(model[:limit], expert[:limit])
    assert similarity == pytest.approx(
        2 * sum(block.size for block in blocks) / (len(model) + len(expert)), abs=1e-12
    )


@settings(max_examples=100, deadline=None)
@given(st.text("abc", min_size=1, max_size=40), st.text("abc", min_size=1, max_size=40))
def test_a_limit_that_cuts_nothing_changes_no_bit(model, expert):
    assert step_reward(
        f"<think></think>{model}", expert, RewardSettings(max_characters=40)
    ).similarity == reference(model, expert, False)


def test_a_flood_lowers_its_own_reward():
    expert = "ab" * 50
    values = [
        step_reward(
            "<think></think>" + expert + "ab" * flood, expert, RewardSettings(max_characters=200)
        ).value
        for flood in (0, 100, 10_000)
    ]
    assert values[0] == 1.0 > values[1] > values[2] > 0


def test_only_the_action_is_compared():
    assert step_reward("<think>something else</think>\n x = 1 ", " x = 1\n").value == 1.0


def test_malformed_answers_score_minus_one_within_a_batch():
    rewards = step_rewards(
        ["x", "<think>t</think>x", "<think>t</think>x"],
        ["x", "x", "x"],
        truncated=[False, False, True],
    )
    assert [reward.value for reward in rewards] == [MALFORMED_REWARD, 1.0, MALFORMED_REWARD]
    assert [reward.similarity for reward in rewards] == [None, 1.0, None]
    assert [reward.response.error for reward in rewards] == ["no_think", None, "truncated"]


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        RewardSettings(max_characters=0)
    with pytest.raises(ValueError):
        step_rewards(["x"], ["x", "y"])

import difflib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_envs.matching import LazyBlocks, matching_blocks

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("ab\u0301\0\ud800", max_size=60),
    st.text("abc d", min_size=8, max_size=40).map(lambda text: text * 20),
)
LENGTH = 16_000


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_within_the_bound_the_blocks_are_difflibs(model, expert, autojunk):
    *blocks, _ = difflib.SequenceMatcher(
        None, model, expert, autojunk=autojunk
    ).get_matching_blocks()
    assert matching_blocks(model, expert, autojunk=autojunk) == blocks


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 5000))
def test_beyond_the_bound_some_blocks_are_missing_and_none_is_wrong(model, expert, comparisons):
    blocks = matching_blocks(model, expert, comparisons=comparisons)
    assert all(
        model[block.a : block.a + block.size] == expert[block.b : block.b + block.size]
        for block in blocks
    )
    assert all(
        one.a + one.size <= two.a and one.b + one.size <= two.b for one, two in pairwise(blocks)
    )
    found = {(block.a + i, block.b + i) for block in blocks for i in range(block.size)}
    assert found <= {
        (block.a + i, block.b + i)
        for block in matching_blocks(model, expert)
        for i in range(block.size)
    }


@pytest.mark.parametrize(
    ("model", "expert"),
    [
        ("a" * LENGTH, "ab" * (LENGTH // 2)),
        ("ab" * (LENGTH // 2), "a" * LENGTH),
        ("abc" * (LENGTH // 3), "acb" * (LENGTH // 3)),
        ("a" * 100_000, "a" * 100_000),
    ],
)
def test_repetitive_texts_end(model, expert):  # minutes to hours without the bound
    blocks = LazyBlocks(model, expert, autojunk=False)
    assert "MatchingBlock" in repr(blocks) or repr(blocks) == "[]"


def test_a_flood_of_the_longest_action_that_is_scored_is_still_found():
    assert list(LazyBlocks("a" * LENGTH, "a" * LENGTH, autojunk=False)) == [(0, 0, LENGTH)]

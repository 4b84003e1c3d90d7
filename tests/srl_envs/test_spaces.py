import pickle
import string

import numpy as np
import pytest
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.spaces import UnicodeText


@given(st.text(st.characters(), max_size=30), st.integers(0, 30))
def test_any_string_of_a_fitting_length_is_a_member(text, longest):
    assert text in UnicodeText()
    assert (text in UnicodeText(longest)) is (len(text) <= longest)


def test_what_is_no_string_or_too_short_is_no_member():
    space = UnicodeText(5, min_length=2)
    assert all(value not in space for value in (None, 3, b"abc", ["abc"], np.array("abc"), "a"))


def test_samples_are_seeded_printable_members():
    first, second = UnicodeText(40, min_length=1, seed=3), UnicodeText(40, min_length=1, seed=3)
    samples = [first.sample() for _ in range(20)]
    assert samples == [second.sample() for _ in range(20)]
    assert (
        all(text in first and set(text) <= set(string.printable) for text in samples)
        and len(set(samples)) > 10
    )


def test_equality_repr_and_pickle():
    assert (
        UnicodeText(5)
        == UnicodeText(5)
        == pickle.loads(pickle.dumps(UnicodeText(5)))
        != UnicodeText(6)
    )
    assert repr(UnicodeText(5, min_length=1)) == "UnicodeText(1, 5)"


@pytest.mark.parametrize("text", ["", "é😀\0\u0301\ud800", "x" * 300_000])
def test_shared_memory_gives_back_any_text_also_when_overwritten(text):
    space = UnicodeText()
    memory = create_shared_memory(space, n=2)
    write_to_shared_memory(space, 1, "something longer before", memory)
    write_to_shared_memory(space, 1, text, memory)
    write_to_shared_memory(space, 0, "other", memory)
    assert tuple(read_from_shared_memory(space, memory, n=2)) == ("other", text)

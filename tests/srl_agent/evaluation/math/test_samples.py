"""Samples survive kills: what was written stays, a line cut off is taken away, nothing is there
twice.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_agent.evaluation.math.samples import Sample, SampleStore, read_samples
from srl_envs.errors import DataError


def sample(number: int = 0, text: str = "so \\boxed{5}", **rest: object) -> Sample:
    return Sample("amc23", "amc23-0", "sampled", number, text, 12, False, "5", **rest)  # type: ignore[arg-type]


@given(st.text(), st.none() | st.booleans(), st.none() | st.text())
def test_a_sample_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, text: str, correct: bool | None, answer: str | None
) -> None:
    path = tmp_path_factory.mktemp("store") / "samples.jsonl"
    written = Sample(
        "gsm8k",
        "1",
        "greedy",
        0,
        text + "\ud800\u2028",
        3,
        True,
        answer,
        correct,
        steps=2,
        malformed=1,
    )
    with SampleStore(path) as store:
        store.append(written)
    assert read_samples(path) == [written]


@pytest.mark.parametrize("cut", range(1, 80, 7))
def test_a_line_cut_off_by_a_kill_is_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "samples.jsonl"
    with SampleStore(path) as store:
        store.append(sample(0))
        store.append(sample(1, "café" * 20))
    path.write_bytes(path.read_bytes()[:-cut])
    with SampleStore(path) as store:
        assert list(store.samples.values()) == [sample(0)]
        store.append(sample(1))
    assert read_samples(path) == [sample(0), sample(1)]


def test_verdicts_replace_the_file_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with SampleStore(path) as store:
        store.append(sample(0))
        store.append(sample(1))
        store.grade({sample(1).key: True})
        store.append(sample(2))
    assert [s.correct for s in read_samples(path)] == [None, True, None]
    assert [p.name for p in tmp_path.iterdir()] == ["samples.jsonl"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("{]", "line 1: no valid JSON"),
        ("[1]", "line 1: not a sample"),
        ('{"benchmark": "amc23"}', "line 1: the key 'problem_id' is None"),
        ('{"benchmark": "amc23", "unknown": 1}', "line 1: not a sample"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        SampleStore(path)
    assert path.read_text() == line + "\n", "nothing is changed"


def test_the_same_answer_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with SampleStore(path) as store:
        store.append(sample(0))
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match="is in it twice"):
        SampleStore(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_samples(tmp_path / "samples.jsonl")

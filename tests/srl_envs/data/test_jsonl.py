"""Our JSONL schema: what must survive writing and reading, and what a reader is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srl_envs.data import load_trajectories, save_trajectories
from srl_envs.data.jsonl import load_jsonl
from srl_envs.errors import ConfigError, DataError
from srl_envs.trajectory import ExpertStep, Trajectory

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
"""Any characters that are Unicode text: no lone surrogates."""


@given(prompt=TEXT, observation=TEXT, gap=TEXT)
def test_any_text_round_trips(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, observation: str, gap: str
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "t.jsonl"
    trajectory = Trajectory(
        "a",
        f"p{prompt}",
        (ExpertStep("x", observation=observation, gap=gap),),
        metadata={"kind": [gap]},
    )
    save_trajectories([trajectory], path)
    assert list(load_jsonl(path)) == [trajectory]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "p", "steps": ["a"]}\n', encoding="utf-8-sig")
    assert [one.prompt for one in load_trajectories(str(path))] == ["p"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good = Trajectory("a", "p", (ExpertStep("x"),))
    save_trajectories([good], path)
    with pytest.raises(DataError, match="'b': its metadata cannot be written as JSON"):
        save_trajectories(
            [good, Trajectory("b", "p", (ExpertStep("x"),), metadata={"set": {1}})], path
        )
    assert list(load_jsonl(path)) == [good]
    assert [file.name for file in tmp_path.iterdir()] == ["t.jsonl"], "no scratch file stays"
    nowhere = tmp_path / "none" / "t.jsonl"
    with pytest.raises(DataError, match=re.escape(f"{nowhere} cannot be written: No such file")):
        save_trajectories([good], nowhere)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match=f"limit is {limit}"):
        load_trajectories("builtin", limit=limit)

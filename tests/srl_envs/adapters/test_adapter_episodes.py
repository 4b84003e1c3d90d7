"""Episodes for other trainers: rows that do not fit are refused, and the end is verified once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from srl_envs import load_trajectories
from srl_envs.adapters.episodes import Episode, EpisodeRow, environment_of, trajectories_of
from srl_envs.adapters.rows import StepRow
from srl_envs.adapters.trl import ToolEnvironment, for_tools
from srl_envs.adapters.verl import compute_score
from srl_envs.errors import ConfigError, DataError
from srl_envs.instances import TrajectorySet

SOURCE = {"source": "builtin", "count": 3}


@pytest.fixture(scope="module")
def row() -> EpisodeRow:
    return EpisodeRow.of(load_trajectories("builtin", count=3)[0], SOURCE, max_steps=3)


def test_a_row_comes_back_as_object_and_as_text(row: EpisodeRow) -> None:
    assert EpisodeRow.read(asdict(row)) == EpisodeRow.read(json.dumps(asdict(row))) == row


@pytest.mark.parametrize(
    "given, says",
    [
        (None, "extra_info is NoneType"),
        ("{", "extra_info is not JSON"),
        ([1], "extra_info is list"),
        ({}, "'id'"),
        ({"id": "a", "expert_action": "b"}, "'expert_action'"),
        ({"id": 3}, "extra_info is not a row of an episode"),
        ({"id": "a", "settings": "agent"}, "extra_info is not a row of an episode"),
    ],
)
def test_what_is_not_a_row_is_refused_by_its_place(given: Any, says: str) -> None:
    with pytest.raises(DataError) as refused:
        EpisodeRow.read(given, "extra_info")
    assert says in str(refused.value)


def test_an_episode_is_not_a_step(row: EpisodeRow) -> None:
    with pytest.raises(DataError, match="extra_info\\['row'\\] is not a row of a step"):
        compute_score("", "", "", {"row": json.dumps(asdict(row))})
    with pytest.raises(DataError, match="extra_info\\['row'\\] is NoneType"):
        compute_score("", "", "", {})
    with pytest.raises(DataError, match="without --episodes"):
        StepRow.read(asdict(row))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"environment": "SRL-Chess-v0"}, "SRL-Chess"),
        ({"settings": {"follow": "agnt"}}, "follow is 'agnt'"),
        ({"settings": {"follows": "agent"}}, "follows"),
        ({"settings": {"reward": {"colour": 1}}}, "colour"),
        ({"settings": {"reward": {"max_characters": 0}}}, "max_characters is 0"),
        ({"settings": {"prompt": {"colour": 1}}}, "colour"),
        ({"source": {"source": "builtin", "color": 1}}, "color"),
        ({"source": {"source": "nothing"}}, "Unknown source 'nothing'"),
        ({"id": "nobody"}, "no trajectory 'nobody'"),
    ],
)
def test_a_row_that_does_not_fit_says_what(
    row: EpisodeRow, change: dict[str, Any], says: str
) -> None:
    with pytest.raises((ConfigError, DataError)) as refused:
        Episode(replace(row, **change))
    assert says in str(refused.value)


def test_settings_are_checked_before_an_episode_starts(row: EpisodeRow) -> None:
    trajectories = TrajectorySet(list(trajectories_of(row).values()))
    environment_of(row, trajectories).close()
    with pytest.raises(ConfigError, match="follow"):
        environment_of(replace(row, settings={"follow": "agnt"}), trajectories)


def test_an_episode_is_verified_once(row: EpisodeRow) -> None:
    trajectory = trajectories_of(row)[row.id]
    episode = Episode(row)
    assert episode.messages == row.messages
    assert episode.step("no block at all").reward == 0.0 and not episode.done
    last = episode.step(f"<think></think>The answer is \\boxed{{{trajectory.answer}}}.")
    assert (last.reward, last.done) == (1.0, True)
    assert episode.finish() == episode.finish() == episode.reward == 1.0
    broken_off = Episode(row)
    assert broken_off.finish() == 0.0 and broken_off.done


def test_tools_are_for_commands(row: EpisodeRow) -> None:
    with pytest.raises(ConfigError, match="has no tools"):
        ToolEnvironment().reset(json.dumps(asdict(row)))
    asked = for_tools({"prompt": row.messages, "row": "..."})
    assert [one["role"] for one in asked["prompt"]] == ["system", "user"]
    assert "<think>" not in asked["prompt"][0]["content"]
    assert asked["prompt"][1:] == row.messages[1:]

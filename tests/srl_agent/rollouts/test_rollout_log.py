"""The log of rollouts: what is kept of a batch, why, within which bound, and after a kill."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from srl_agent.rollouts.dynamic_sampling import FilledBatch, RolloutGroup
from srl_agent.rollouts.rollout_log import (
    FOLDER,
    RolloutLog,
    index_lines,
    part_indexes,
    read_dropped,
    read_group,
)
from srl_agent.rollouts.scorers import StepScorer
from srl_envs import load_trajectories
from srl_envs.errors import ConfigError, DataError
from srl_envs.response import ResponseFormat
from srl_envs.reward import RewardSettings

INSTANCES = load_trajectories("builtin").instances()
SCORER = StepScorer(RewardSettings(format=ResponseFormat(require_think=True)))


def group_of(log: RolloutLog, number: int, texts: list[str]) -> RolloutGroup:
    instance = INSTANCES[number]
    rewards = SCORER.score([instance] * len(texts), texts, [False] * len(texts))
    completions = [list(range(len(text))) for text in texts]
    return RolloutGroup([1], completions, rewards, asked=log.asked(instance, texts, rewards))


def batch_of(log: RolloutLog, first: int = 0) -> FilledBatch:
    """One group of each fate; the model's texts hold what files and pages must bear."""
    expert = INSTANCES[first].expert_action
    good, bad = f"<think>thought</think>{expert}", "no block </script>\u2028\ud83d"
    return FilledBatch(
        1,
        kept=[group_of(log, first, [good, bad, "<think>so</think>half", good])],
        dropped=[group_of(log, first + 1, [bad] * 4)],
        surplus=[group_of(log, first + 2, ["<think>a</think>b", bad, bad, bad])],
        rounds=2,
    )


def write(log: RolloutLog, step: int, first: int = 0) -> None:
    log.write(batch_of(log, first), step, scale=True, min_std=1e-3)


def all_groups(run: Path) -> list:
    return [
        read_group(index, line["offset"], line["size"])
        for index in part_indexes(run / FOLDER)
        for line in index_lines(index)
    ]


def test_every_group_is_logged_with_its_fate_and_the_reason(tmp_path: Path) -> None:
    write(RolloutLog(tmp_path, "all", 2**20), step=7)
    kept, dropped, surplus = all_groups(tmp_path)
    assert [group.fate for group in (kept, dropped, surplus)] == ["kept", "dropped", "surplus"]
    assert "standard deviation is" in kept.why and "full with 1" in surplus.why
    assert "All rewards are -1" in dropped.why
    assert (kept.step, kept.id, kept.title) == (7, INSTANCES[0].id, INSTANCES[0].title)
    assert kept.expert == INSTANCES[0].expert_action
    assert kept.prompt == INSTANCES[0].messages[-1]["content"]
    first, second, _, _ = kept.rollouts
    assert (first.reward, first.thought, first.action) == (1.0, "thought", kept.expert)
    assert (second.error, second.reward, second.action) == ("no_think", -1.0, "")
    assert second.text.startswith("no block </script>\u2028")
    assert sum(rollout.advantage for rollout in kept.rollouts) == pytest.approx(0, abs=1e-5)


def test_the_index_says_what_the_groups_hold(tmp_path: Path) -> None:
    write(RolloutLog(tmp_path, "all", 2**20), step=1)
    (index,) = part_indexes(tmp_path / FOLDER)
    lines, groups = list(index_lines(index)), all_groups(tmp_path)
    for line, group in zip(lines, groups, strict=True):
        rewards = [rollout.reward for rollout in group.rollouts]
        assert line["mean"] == pytest.approx(sum(rewards) / 4, abs=1e-6)
        assert line["best"] == pytest.approx(max(rewards), abs=1e-6)
        assert line["errors"] == [one.error for one in group.rollouts if one.error]
        assert (line["id"], line["fate"], line["step"]) == (group.id, group.fate, 1)
    assert lines[-1]["end"] == index.stat().st_size
    assert next(iter(index_lines(index, lines[0]["end"])))["id"] == groups[1].id
    with gzip.open(index.with_suffix(".jsonl.gz")) as file:  # zcat reads it too
        assert len(file.read().splitlines()) == 3


def test_a_sample_has_the_same_instances_throughout(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, "sample", 2**20)
    sampled = [log.asked(instance) is not None for instance in INSTANCES]
    again = RolloutLog(tmp_path / "other", "sample", 2**20)
    assert sampled == [again.asked(instance) is not None for instance in INSTANCES]
    assert 0.05 < sum(sampled) / len(sampled) < 0.2


def test_none_leaves_no_folder(tmp_path: Path) -> None:
    write(RolloutLog(tmp_path, "none", 2**20), step=1)
    assert not (tmp_path / FOLDER).exists()


def test_a_wrong_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log_rollouts is 'some'.*all, sample, none"):
        RolloutLog(tmp_path, "some", 2**20)


def test_the_bound_on_disk_holds_and_rotation_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bound = 64 * 1024
    log = RolloutLog(tmp_path, "all", bound)
    with caplog.at_level(logging.INFO):
        for step in range(1, 200):
            write(log, step, first=step % 100)
    size = sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
    assert size <= bound
    dropped, groups = read_dropped(tmp_path / FOLDER), all_groups(tmp_path)
    assert dropped.groups + len(groups) == 199 * 3
    assert groups[0].step == dropped.last_step + 1 and groups[-1].step == 199
    assert "were deleted, to stay within rollout_log_mb" in caplog.text
    gone = tmp_path / FOLDER / "00000.index"
    with pytest.raises(DataError, match="deleted to stay within the bound"):
        read_group(gone, 0, 100)


def test_a_killed_run_appends_after_what_is_whole(tmp_path: Path) -> None:
    write(RolloutLog(tmp_path, "all", 2**20), step=1)
    index = tmp_path / FOLDER / "00000.index"
    with index.open("a") as file:
        file.write('{"step": 2, "pla')  # the kill
    with index.with_suffix(".jsonl.gz").open("ab") as file:
        file.write(b"\x1f\x8b half a member")
    write(RolloutLog(tmp_path, "all", 2**20), step=2)
    assert [group.step for group in all_groups(tmp_path)] == [1, 1, 1, 2, 2, 2]


def test_damage_is_named(tmp_path: Path) -> None:
    write(RolloutLog(tmp_path, "all", 2**20), step=1)
    (index,) = part_indexes(tmp_path / FOLDER)
    line = next(iter(index_lines(index)))
    with pytest.raises(DataError, match=r"00000.jsonl.gz, byte 1: the group is damaged"):
        read_group(index, 1, line["size"])
    index.with_suffix(".jsonl.gz").write_bytes(gzip.compress(json.dumps({"step": 1}).encode()))
    with pytest.raises(DataError, match="not a group of this version"):
        read_group(index, 0, 1000)

"""Runs of the method ``agent`` on a tiny model: episodes, records, resumption, curricula."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from test_train import arguments, lines, losses

from srl_agent.rollouts.rollout_log import FOLDER, index_lines, part_indexes, read_group
from srl_agent.train import main


def agent(model: Path, run: Path, **over: object) -> list[str]:
    settings = {
        "method": "agent",
        "use_cpu": "true",
        "disable_tqdm": "true",
        "max_steps": 2,
        "dynamic_sampling": "false",
        "episode_turns": 2,
        **over,
    }
    return arguments(model, run, **settings)


@pytest.mark.parametrize("history", ["turns", "whole"])
def test_a_run_solves_and_records(
    history: str, tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(agent(tiny_model_dir, run, episode_history=history)) == 0
    assert "held-out solve rate" in capfd.readouterr().err
    logged = lines(run, "train")[2]
    assert logged["episodes/turns"] == 2 and logged["episodes/end_turns"] == 1
    assert {"time/sandbox", "time/generation"} <= set(logged)
    rows = [json.loads(line) for line in (run / "episodes-0.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {1, 2} and len(rows) == 2 * 2 * 4
    assert {len(row["turns"]) for row in rows} == {2}
    assert (run / "report.html").is_file()
    (index,) = part_indexes(run / FOLDER)
    groups = [read_group(index, line["offset"], line["size"]) for line in index_lines(index)]
    assert {(group.step, group.id) for group in groups} == {(r["step"], r["task"]) for r in rows}
    assert [one.episode for one in groups[0].rollouts] == [0, 1, 2, 3]


def test_a_killed_run_resumes_to_the_same_losses(tiny_model_dir: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    # Two optimizer steps a roll-out: the second one's rows are in the first one's checkpoint.
    flags = {"max_steps": 3, "steps_per_generation": 4, "require_think": "true"}
    assert main(agent(tiny_model_dir, whole, **flags)) == 0
    shutil.copytree(whole, cut)
    for gone in ("checkpoint-2", "checkpoint-3", "final"):
        shutil.rmtree(cut / gone)
    for name in ("report.html", "summary.json"):
        (cut / name).unlink()
    settings = (cut / "config.yaml").read_text()
    (cut / "config.yaml").write_text(settings.replace(str(whole), str(cut)))
    before = losses(cut)
    (cut / "metrics.jsonl").write_text("")
    assert main(agent(tiny_model_dir, cut, **flags)) == 0
    resumed = losses(cut)
    assert set(resumed) == {2, 3} and resumed == {step: before[step] for step in resumed}
    assert any(loss[0] for loss in resumed.values())


def test_a_curriculum_keeps_the_data_of_each_stage(tiny_model_dir: Path, tmp_path: Path) -> None:
    given = agent(tiny_model_dir, Path("unused"), max_steps=1)
    names = [name.removeprefix("--") for name in given[::2]]
    common = dict(zip(names, map(yaml.safe_load, given[1::2]), strict=True))
    del common["output_dir"], common["episode_turns"]
    own = {
        "first": {"method": "srl", "count": 100},
        "second": {"method": "agent", "count": 85, "episode_turns": 1},
    }
    for name, settings in own.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(common | settings))
    stages = [str(tmp_path / f"{name}.yaml") for name in own]
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({"stages": stages}))
    run = tmp_path / "run"
    assert main(["--config", str(tmp_path / "both.yaml"), "--output_dir", str(run)]) == 0
    before, after = run / "1-first", run / "2-second"
    first, second = (yaml.safe_load((one / "config.yaml").read_text()) for one in (before, after))
    assert (first["count"], second["count"]) == (100, 85)
    assert second["model_name_or_path"] == str(before / "final")
    assert (after / "episodes-0.jsonl").is_file() and not list(before.glob("episodes*"))


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"loss_type": "bnpo"}, "loss_type is 'bnpo'"),
        ({"beta": 0.1}, "beta is 0.1"),
        ({"episode_turns": 0}, "episode_turns is 0"),
        ({"episode_history": "all"}, "episode_history"),
        ({"sandbox": "jail"}, "sandbox is 'jail'"),
        ({"method": "srl", "episode_turns": 3}, "episode_turns is 3"),
        ({"reward": "arguments"}, "reward is 'arguments'"),
        ({"steps": "one"}, "steps is 'one'"),
        ({"use_vllm": "true"}, "use_vllm is True: it must be false with method agent"),
        ({"use_transformers_continuous_batching": "true"}, "must be false with method agent"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    over: dict[str, object],
    message: str,
    tiny_model_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(agent(tiny_model_dir, tmp_path / "run", **over)) != 0
    assert message in capfd.readouterr().err

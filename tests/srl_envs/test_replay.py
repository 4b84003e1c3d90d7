from __future__ import annotations

import json

import pytest

from srl_envs import load_trajectories
from srl_envs.data.jsonl import save_trajectories
from srl_envs.replay import main


@pytest.mark.docker
def test_what_no_longer_resolves_is_left_out_and_nothing_runs_twice(base_image, tmp_path, capsys) -> None:
    from dataclasses import replace

    good = load_trajectories("builtin_swe")[0]
    bad = replace(good, id="gave-up", steps=good.steps[:1] + good.steps[-1:])
    source, report, kept = tmp_path / "in.jsonl", tmp_path / "report.jsonl", tmp_path / "kept.jsonl"
    save_trajectories([good, bad], source)
    arguments = ["--source", str(source), "--report", str(report), "--output", str(kept)]
    assert main(arguments) == 0
    assert "1 resolved, 1 not, 0 without tests, 0 failed" in capsys.readouterr().out
    assert [trajectory.id for trajectory in load_trajectories(str(kept))] == [good.id]
    lines = report.read_text().splitlines()
    assert {json.loads(line)["id"]: json.loads(line)["resolved"] for line in lines} == {good.id: True, "gave-up": False}
    assert main(arguments) == 0
    assert report.read_text().splitlines() == lines
    assert "2 trajectories stand in" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    assert main(["--limit", "1"]) == 2
    assert "No Docker engine answers" in capsys.readouterr().err
    report = tmp_path / "report.jsonl"
    report.write_text('{"id": "a"\n')
    assert main(["--report", str(report)]) == 2
    assert f"{report}, line 1" in capsys.readouterr().err
    assert main(["--source", "nope"]) == 2
    assert "Unknown source 'nope'" in capsys.readouterr().err

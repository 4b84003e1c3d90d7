from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace

import pytest

from srl_envs import load_trajectories
from srl_envs.commands import GRAMMARS
from srl_envs.data.jsonl import save_trajectories
from srl_envs.fleet import open_fleet
from srl_envs.replay import Replay, main, read_report, replay, replay_all
from srl_envs.sandbox import DockerSandbox, SandboxError
from srl_envs.sandboxes import SANDBOXES
from srl_envs.trajectory import ExpertStep, Trajectory


@pytest.mark.docker
def test_what_no_longer_resolves_is_left_out_and_nothing_runs_twice(
    base_image, tmp_path, capsys
) -> None:
    good = load_trajectories("builtin_swe")[0]
    bad = replace(good, id="gave-up", steps=good.steps[:1] + good.steps[-1:])
    source, report, kept = tmp_path / "in.jsonl", tmp_path / "report.jsonl", tmp_path / "kept.jsonl"
    save_trajectories([good, bad], source)
    arguments = ["--source", str(source), "--report", str(report), "--output", str(kept)]
    assert main(arguments) == 0
    assert "1 resolved, 1 not, 0 without tests, 0 failed" in capsys.readouterr().out
    assert [trajectory.id for trajectory in load_trajectories(str(kept))] == [good.id]
    lines = report.read_text().splitlines()
    assert {json.loads(line)["id"]: json.loads(line)["resolved"] for line in lines} == {
        good.id: True,
        "gave-up": False,
    }
    assert main(arguments) == 0
    assert report.read_text().splitlines() == lines
    assert "2 trajectories are already in" in capsys.readouterr().err


@pytest.mark.docker
def test_an_image_that_gives_no_patch_is_refused_before_any_command_runs(
    base_image, small_limits, monkeypatch
) -> None:
    monkeypatch.setattr(SANDBOXES, "_entries", dict(SANDBOXES))
    ran: list[str] = []

    class Watched(DockerSandbox):
        def run(self, command, **options):
            ran.append(command)
            return super().run(command, **options)

    def watched(image, /, *, workdir, limits, startup):
        return Watched(image, workdir=workdir, limits=limits, startup=startup)

    SANDBOXES.register("watched", watched)
    action = GRAMMARS["bash"].command("bash", command="touch /srv/ran").text
    metadata = {"grammar": "bash", "image": base_image, "workdir": "/srv"}
    trajectory = Trajectory("t", "?", (ExpertStep(action),), domain="swe", metadata=metadata)
    with pytest.raises(SandboxError, match=r"/srv in the image .* is not a git repository"):
        replay(trajectory, limits=small_limits, sandbox="watched")
    assert ran == []


@pytest.mark.docker
def test_replays_that_nobody_waits_for_are_given_up(repository_image, small_limits) -> None:
    """As when Ctrl-C comes."""
    steps = [
        ExpertStep(GRAMMARS["xml"].command("bash", command=command).text)
        for command in ("true", *["sleep 1"] * 1000)
    ]
    metadata = {"image": repository_image}
    trajectories = [
        Trajectory(f"t{count}", "Issue.", tuple(steps[:count]), domain="swe", metadata=metadata)
        for count in (1, 1000, 1001)
    ]
    replays = replay_all(
        trajectories, open_fleet(places=1), image=None, limits=small_limits, command_timeout=60
    )
    first = next(replays)
    assert (first.id, first.resolved, first.failure) == ("t1", None, "")
    closing = threading.Thread(target=replays.close)
    closing.start()
    closing.join(
        300
    )  # the bound is there for what never ends; the two others would take a thousand seconds each
    assert not closing.is_alive()


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--jobs", "0"], "--jobs is 0"),
        (["--memory_mib", "-1"], "--memory_mib is -1"),
        (["--command_timeout", "0"], "--command_timeout is 0"),
        (["--command_timeout", "nan"], "--command_timeout is nan"),
        (["--max_drift", "1.5"], "--max_drift is 1.5"),
        (["--limit", "0"], "limit is 0"),
        (["--engines", "unix:///a,host"], "'host' is not the address of a Docker engine"),
        (["--engines", "unix:///a,unix:///a"], "unix:///a is named twice"),
        (["--ray", "ray://head:10001"], "Ray Client (ray://) is not supported"),
        (["--output", "{folder}"], "--output: {folder} cannot be written (Is a directory)"),
        (
            ["--output", "{folder}/no/such/kept.jsonl"],
            "--output: {folder}/no/such/kept.jsonl cannot be written (No such file or directory)",
        ),
        (
            ["--output", "{folder}/file/kept.jsonl"],
            "--output: {folder}/file/kept.jsonl cannot be written (Not a directory)",
        ),
        (
            ["--report", "{folder}/no/report.jsonl"],
            "--report: {folder}/no/report.jsonl cannot be written",
        ),
    ],
)
def test_options_are_checked_before_the_work(tmp_path, capsys, monkeypatch, options, told) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    (tmp_path / "file").write_text("")
    assert main([option.format(folder=tmp_path) for option in options]) == 2
    assert told.format(folder=tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_step_that_cannot_be_read_is_told_before_the_work(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    good = load_trajectories("builtin_swe")[0]
    source = tmp_path / "in.jsonl"
    save_trajectories(
        [good, replace(good, id="t9", steps=(*good.steps, ExpertStep("I give up.")))], source
    )
    assert main(["--source", str(source)]) == 2
    assert f"'t9', step {len(good.steps) + 1}" in capsys.readouterr().err


def test_a_reason_with_a_unicode_line_separator_is_one_line_of_the_report(tmp_path) -> None:
    result = Replay("a", None, 1.0, 0, failure="pytest said\u2028no")
    report = tmp_path / "report.jsonl"
    report.write_text(json.dumps(asdict(result), ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_report(report) == {"a": result}

"""Runs that were killed late, moved, damaged or out of space, gone on with by the same command;
in one process, on a tiny model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_train import STEPS, arguments, lines, losses

from srl_agent.runs.checkpoints import best_whole, find_damage, latest_whole, seal
from srl_agent.train import main


@pytest.fixture(scope="module")
def flags(tiny_model_dir: Path):
    """The command of the finished run, with another run folder."""

    def command(run: Path, **over: object) -> list[str]:
        return arguments(
            tiny_model_dir,
            run,
            use_cpu="true",
            format_warmup_steps=2,
            warmup_instances=2,
            disable_tqdm="true",
            **over,
        )

    return command


@pytest.fixture(scope="module")
def finished(flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert main(flags(run)) == 0
    return run


@pytest.fixture
def killed(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run in another place, as if it had been killed after its last
    checkpoint.
    """
    run = tmp_path / "killed"
    shutil.copytree(finished, run)
    for name in ("final", "plots"):
        shutil.rmtree(run / name)
    for path in (run / "summary.json", run / "report.html", *run.glob("samples/srl-*")):
        path.unlink()
    return run


def test_a_run_that_was_moved_and_killed_after_its_last_step_only_tests_and_reports(
    finished: Path, killed: Path, flags
) -> None:
    assert main(flags(killed)) == 0
    assert losses(killed) == losses(finished)
    assert not (killed / f"checkpoint-{STEPS + 1}").exists()
    assert (
        json.loads((killed / "summary.json").read_text())["stages"]
        == json.loads((finished / "summary.json").read_text())["stages"]
    )
    assert (killed / "final" / "model.safetensors").read_bytes() == (
        finished / "final" / "model.safetensors"
    ).read_bytes()
    assert not (killed / "README.md").exists()


@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_a_best_checkpoint_that_is_damaged_is_passed_over(
    harm: str, killed: Path, flags, capfd: pytest.CaptureFixture[str]
) -> None:
    rewards = {
        step: row["eval_reward"]
        for step, row in lines(killed, "eval").items()
        if (killed / f"checkpoint-{step}").is_dir()
    }
    best, second = sorted(rewards, key=lambda step: -rewards[step])[:2]
    if harm == "missing":
        shutil.rmtree(killed / f"checkpoint-{best}")
    else:
        weights = killed / f"checkpoint-{best}" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    assert main(flags(killed)) == 0
    output = capfd.readouterr().err
    if harm == "truncated":
        assert f"checkpoint-{best}" in output and "model.safetensors has 1000 bytes" in output
    stage = json.loads((killed / "summary.json").read_text())["stages"][-1]
    if best == STEPS:  # it was trained again, from the checkpoint before
        assert stage["step"] == STEPS
    else:
        assert stage["step"] != best and rewards[stage["step"]] == rewards[second]


def test_a_report_that_could_not_be_written_is_made_by_the_same_command(
    finished: Path, flags, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "report.html").unlink()
    before = (run / "metrics.jsonl").read_bytes()
    assert main(flags(run)) == 0
    assert (run / "report.html").is_file() and (run / "metrics.jsonl").read_bytes() == before
    assert main(flags(run)) == 1
    assert "holds a finished run" in capfd.readouterr().err


def test_damaged_samples_and_warm_up_are_made_again(
    finished: Path, killed: Path, flags, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = killed / "samples" / "base-0.jsonl"
    samples.write_text(samples.read_text()[:-40])
    weights = killed / "warmup" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert main(flags(killed)) == 0
    output = capfd.readouterr().err
    assert (
        "base-0.jsonl is damaged" in output
        and "is made again: model.safetensors has 1000 bytes" in output
    )
    assert samples.read_bytes() == (finished / "samples" / "base-0.jsonl").read_bytes()
    assert weights.read_bytes() == (finished / "warmup" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("text", ["", "config: quickstart\nsource: bui", "[1, 2", "\x00"])
def test_damaged_settings_of_a_run_are_told(
    text: str, killed: Path, flags, capfd: pytest.CaptureFixture[str]
) -> None:
    (killed / "config.yaml").write_text(text)
    assert main(flags(killed)) == 1
    assert "config.yaml is damaged or of another version" in capfd.readouterr().err


def test_paths_may_be_spelled_otherwise(
    killed: Path, flags, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(killed.parent)
    # The same folder, spelled relatively and with a slash; the settings that learning depends on
    # still count.
    assert (
        main(
            flags(
                Path("killed"),
                learning_rate=1e-4,
                resume_from_checkpoint=killed / f"checkpoint-{STEPS}",
            )
        )
        == 1
    )
    assert "other settings (learning_rate was " in capfd.readouterr().err
    assert main([*flags(Path("killed/")), "--resume_from_checkpoint", "killed"]) == 0


def test_what_a_manifest_must_hold(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"12345")
    assert find_damage(checkpoint) == "it was not finished"
    seal(checkpoint)
    assert find_damage(checkpoint) is None
    for text in (
        "[]",
        "{}",
        '{"model.safetensors": 5}',
        "5",
        '{"model.safetensors": {"bytes": 5}}',
        '{"model.sa',
    ):
        (checkpoint / "manifest.json").write_text(text)
        assert find_damage(checkpoint) == "its manifest.json cannot be read", text
    assert latest_whole(tmp_path)[0] is None
    assert find_damage(tmp_path / "checkpoint-2") == "it is missing"


def test_the_best_whole_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(step))
        seal(folder)
    assert best_whole(tmp_path, {1: 0.3, 2: 0.9, 3: 0.1, 9: 2.0}, 4, True) == (
        tmp_path / "checkpoint-2",
        [],
    ), "step 9 was not saved"
    assert best_whole(tmp_path, {1: 0.3, 2: 0.9, 3: 0.1}, 4, False) == (
        tmp_path / "checkpoint-3",
        [],
    )
    assert best_whole(tmp_path, {1: 0.3, 2: 0.9, 3: 0.9}, 3, True) == (None, []), (
        "of equal ones, that in memory"
    )
    (tmp_path / "checkpoint-2" / "weights").write_bytes(b"x")
    found, complaints = best_whole(tmp_path, {1: 0.3, 2: 0.9, 3: 0.1}, 3, True)
    assert (
        found == tmp_path / "checkpoint-1" and "weights has 1 bytes instead of 2" in complaints[0]
    )
    assert best_whole(tmp_path, {2: 0.9}, 4, True)[0] is None

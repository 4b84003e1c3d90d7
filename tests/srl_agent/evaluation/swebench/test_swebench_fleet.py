"""``evaluate swebench`` on several engines, and in Ray: each verdict once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from own_engine import own_engines

pytest.importorskip(
    "swebench", reason="the swebench harness is not installed: pip install -e '.[swebench]'"
)

from srl_agent.evaluate import main
from srl_agent.evaluation.swebench.builtin import builtin_row
from srl_envs.swe.tasks import load_task

JUDGING = ["--gold", "true", "--jobs", "1", "--container_memory_mib", "512"]
JUDGING += ["--container_cpus", "1", "--test_timeout", "120", "--container_network", "none"]


@pytest.fixture(scope="module")
def row(base_image) -> dict:
    return builtin_row(load_task("parse-microseconds"))


@pytest.fixture
def dataset(row, tmp_path) -> Path:
    """One task four times; its tests take their time, so that an engine can die meanwhile."""
    slow = row["eval_script"].replace("python -m pytest", "sleep 3; python -m pytest")
    path = tmp_path / "dataset.jsonl"
    rows = [row | {"instance_id": f"parse__parse-{n}", "eval_script": slow} for n in range(4)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def command(dataset: Path, folder: Path, *more: str) -> list[str]:
    return ["swebench", "--dataset", str(dataset), "--output_dir", str(folder), *JUDGING, *more]


def judged(folder: Path) -> Counter[tuple[str, str]]:
    lines = (folder / "judgements.jsonl").read_text().splitlines()
    return Counter((json.loads(one)["instance_id"], json.loads(one)["outcome"]) for one in lines)


ALL_ONCE = {(f"parse__parse-{number}", "resolved"): 1 for number in range(4)}


@pytest.mark.docker
def test_a_dead_engines_patches_are_judged_by_the_others(engine, row, dataset, tmp_path) -> None:
    folder = tmp_path / "run"
    with own_engines(1) as (other,):
        other.load(row["image"])
        both = f"{other.address},{os.environ['DOCKER_HOST']}"
        asked = [sys.executable, "-m", "srl_agent.evaluate", *command(dataset, folder)]
        with subprocess.Popen(
            [*asked, "--engines", both], stderr=subprocess.PIPE, text=True
        ) as process:
            while not other.containers():
                assert process.poll() is None
                time.sleep(0.1)
            other.stop(signal.SIGKILL)
            _, shown = process.communicate()
        assert process.returncode == 0, shown
        assert f"{other.address} does not answer: its work goes to the others" in shown
        assert judged(folder) == ALL_ONCE
        assert (folder / "results.json").is_file()
        other.restart()
        before = (folder / "judgements.jsonl").read_bytes()
        again = subprocess.run([*asked, "--engines", both], stderr=subprocess.PIPE, text=True)
        assert again.returncode == 0, again.stderr
        assert (folder / "judgements.jsonl").read_bytes() == before
        assert not other.containers()
    assert not engine.containers.list(all=True, filters={"ancestor": row["image"]})


@pytest.mark.docker
def test_in_ray_verdicts_and_logs_come_back(engine, row, dataset, tmp_path, monkeypatch) -> None:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")
    token = Path.home() / ".ray" / "auth_token"
    if token.exists():  # this process read it when it started a Ray before
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "run"
    assert main(command(dataset, folder, "--ray", "local", "--limit", "2")) == 0
    assert judged(folder) == {key: 1 for key in list(ALL_ONCE)[:2]}
    for line in (folder / "judgements.jsonl").read_text().splitlines():
        log = Path(json.loads(line)["log"])
        assert log.is_relative_to(folder)
        assert (
            "1 passed" in (log / "test_output.txt").read_text()
            or "passed" in (log / "test_output.txt").read_text()
        )
    assert not engine.containers.list(all=True, filters={"ancestor": row["image"]})


def test_what_cannot_help_is_refused(tmp_path, capsys) -> None:
    folder = str(tmp_path / "run")
    asked = ["swebench", "--output_dir", folder, "--judge", "false", "--engines", "unix:///a"]
    assert main(asked) == 1
    assert "engines and ray only judge, but judge is false" in capsys.readouterr().err
    assert main(["swebench", "--output_dir", folder, "--gold", "true", "--ray", "x"]) == 1
    assert "use local, auto, or host:port" in capsys.readouterr().err
    assert not Path(folder).exists()

"""The scripts in examples/ run as they are, and print what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from srl_envs.fleet.addresses import engine_addresses
from srl_envs.fleet.ray_hosts import RESOURCE

ROOT = Path(__file__).parents[1]
PRINTED = {
    "compare_two_runs.py": "second run minus first: ",
    "environment_with_your_policy.py": "expert: mean step reward +1.000",
    "score_with_another_trainer.py": "copied: mean reward +1.000\n",
}

WITH_ARGUMENTS = {
    "evaluate_a_server.py",
    "swe_episode_in_a_sandbox.py",
    "train_on_your_jsonl.py",
}


def test_every_example_is_run_and_short() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert {script.name for script in scripts} == PRINTED.keys() | WITH_ARGUMENTS
    for script in scripts:
        assert len(script.read_text(encoding="utf-8").splitlines()) < 60, script.name


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert PRINTED[name] in run.stdout


def test_comparing_a_folder_that_is_not_a_run_says_what_to_name(tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "compare_two_runs.py")
    command = [sys.executable, script, str(tmp_path), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "--output_dir of a finished training run" in run.stderr


@pytest.mark.slow
def test_training_on_a_jsonl_file(tiny_model_dir: Path, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "train_on_your_jsonl.py")
    flags = ["--model_name_or_path", str(tiny_model_dir), "--max_completion_length", "16"]
    run = subprocess.run(
        [sys.executable, script, *flags], capture_output=True, text=True, cwd=tmp_path
    )
    assert (tmp_path / "runs" / "your_jsonl" / "solutions.jsonl").is_file()
    assert "held-out step reward" in run.stderr


def test_a_server_must_be_named() -> None:
    script = str(ROOT / "examples" / "evaluate_a_server.py")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.returncode == 1 and "BASE_URL" in run.stderr


@pytest.mark.docker
@pytest.mark.slow
def test_an_episode_in_a_sandbox(base_image: str) -> None:
    script = str(ROOT / "examples" / "swe_episode_in_a_sandbox.py")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "<function=submit>" in run.stdout and "Observation:" in run.stdout


def test_manifests_name_what_the_fleet_asks_for() -> None:
    """Their fields were checked against the schemas of Compose and KubeRay when they were made."""
    folder = ROOT / "examples" / "fleet"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    engines = [name for name in compose["services"] if name.startswith("host-")]
    text = (folder / "compose.yaml").read_text()
    assert engine_addresses(",".join(f"tcp://{name}:2375" for name in engines))
    assert all(f"tcp://{name}:2375" in text for name in engines)
    assert compose["networks"]["engines"] == {"internal": True}
    assert not any("ports" in service for service in compose["services"].values())
    cluster, policy, _ = yaml.safe_load_all((folder / "kuberay.yaml").read_text())
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    assert json.loads(json.loads(workers["rayStartParams"]["resources"])) == {RESOURCE: 1}
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    label = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == label
    assert f"ray=={cluster['spec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()

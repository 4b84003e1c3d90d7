"""``python -m srl_agent.evaluate swebench`` to the end on built-in instances: real models, the
real harness, real containers, a kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip(
    "swebench", reason="the swebench harness is not installed: pip install -e '.[swebench]'"
)

from srl_agent.evaluate import main
from srl_agent.evaluation.swebench.builtin import builtin_row
from srl_envs import load_trajectories
from srl_envs.swe.tasks import load_task

sys.path.append(str(Path(__file__).parents[3] / "conformance"))
from expert_server import expert_server

pytestmark = pytest.mark.docker

NO_OP = (
    "diff --git a/unused.txt b/unused.txt\nnew file mode 100644\n--- /dev/null\n+++ "
    "b/unused.txt\n@@ -0,0 +1 @@\n+nothing\n"
)
FOREIGN = "diff --git a/nope.py b/nope.py\n--- a/nope.py\n+++ b/nope.py\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.fixture(scope="module")
def rows(base_image) -> list[dict]:
    return [builtin_row(load_task(name)) for name in ("parse-microseconds", "boltons-splitlines")]


@pytest.fixture
def dataset(rows, tmp_path) -> Path:
    path = tmp_path / "dataset.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(dataset: Path, folder: Path, *more: str) -> list[str]:
    judging = (
        "--jobs",
        "1",
        "--container_memory_mib",
        "512",
        "--container_cpus",
        "1",
        "--test_timeout",
        "120",
        "--container_network",
        "none",
    )
    cache = str(dataset.parent / "cache")
    return [
        "swebench",
        "--dataset",
        str(dataset),
        "--repositories",
        "image",
        "--repository_cache",
        cache,
        "--output_dir",
        str(folder),
        *judging,
        *more,
    ]


def verdicts(folder: Path) -> dict[str, str]:
    return {
        one["instance_id"]: one["verdict"]
        for one in json.loads((folder / "results.json").read_text())["verdicts"]
    }


def test_gold_patches_resolve(dataset, tmp_path) -> None:
    folder, submission = tmp_path / "run", tmp_path / "submission"
    asked = command(dataset, folder, "--gold", "true", "--submission_dir", str(submission))
    assert main(asked) == 0
    names = sorted(verdicts(folder))
    predictions = (submission / "all_preds.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["instance_id"] for line in predictions) == names
    for name in names:
        report = json.loads((submission / "logs" / name / "report.json").read_text())
        assert report[name]["resolved"] is True
        assert (submission / "logs" / name / "patch.diff").read_text().startswith("diff --git")
        assert (submission / "logs" / name / "test_output.txt").is_file()
    assert (submission / "metadata.yaml").is_file() and (submission / "README.md").is_file()
    assert main(asked) == 0, "an earlier submission is replaced"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    assert main([*asked[:-1], str(tmp_path / "notes")]) == 1
    assert (tmp_path / "notes" / "mine.txt").is_file()
    assert set(verdicts(folder).values()) == {"resolved"} and len(verdicts(folder)) == 2
    assert json.loads((folder / "results.json").read_text())["environment"]["packages"]["swebench"]
    before = (folder / "judgements.jsonl").read_bytes()
    assert main(command(dataset, folder, "--gold", "true")) == 0
    assert (folder / "judgements.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("patch", "verdict"),
    [("", "empty_patch"), (NO_OP, "unresolved"), (FOREIGN, "patch_does_not_apply")],
)
def test_given_patches_are_judged_and_a_missing_one_is_told(
    patch, verdict, rows, dataset, tmp_path, capsys
) -> None:
    given = tmp_path / "given.jsonl"
    given.write_text(
        json.dumps(
            {
                "instance_id": rows[0]["instance_id"],
                "model_name_or_path": "someone",
                "model_patch": patch,
            }
        )
        + "\n"
    )
    folder = tmp_path / "run"
    assert main(command(dataset, folder, "--predictions", str(given))) == 1
    assert verdicts(folder) == {rows[0]["instance_id"]: verdict, rows[1]["instance_id"]: "error"}
    assert f"1 of 2 instances were not judged: {rows[1]['instance_id']}" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["oracle", "end-to-end"])
def test_a_real_model_goes_through_both_modes(mode, dataset, tmp_path) -> None:
    folder = tmp_path / "run"
    asked = [
        "--model",
        "quickstart",
        "--device",
        "cpu",
        "--backend",
        "transformers",
        "--max_new_tokens",
        "24",
        "--max_prompt_tokens",
        "700",
    ]
    assert main(command(dataset, folder, "--mode", mode, "--limit", "1", *asked)) == 0
    (verdict,) = verdicts(folder).values()
    assert verdict in ("empty_patch", "does_not_parse", "unresolved", "resolved")
    assert "<article" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_an_ended_run_goes_on_and_leaves_no_container(
    number, rows, dataset, engine, tmp_path
) -> None:
    folder = tmp_path / "run"
    slow = tmp_path / "slow.jsonl"
    script = rows[1]["eval_script"].replace("python -m pytest", "sleep 8; python -m pytest")
    slow.write_text(
        "".join(json.dumps(row) + "\n" for row in (rows[0], rows[1] | {"eval_script": script}))
    )
    asked = [sys.executable, "-m", "srl_agent.evaluate", *command(slow, folder, "--gold", "true")]
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, text=True)
    judgements = folder / "judgements.jsonl"
    while not judgements.is_file() or not judgements.read_bytes().endswith(b"\n"):
        assert process.poll() is None
        time.sleep(0.1)
    while not containers(engine, rows[1]):
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, number)
    _, shown = process.communicate()
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert (
            shown.splitlines()[-1]
            == "interrupted: what was answered is kept. Rerun the same command to resume."
            and "Traceback" not in shown
        )
        assert not containers(engine, rows[1]), "gone when the command ends"
    first = judgements.read_bytes()
    for _ in range(600):
        if not containers(engine, rows[1]):
            break
        time.sleep(0.1)
    assert not containers(engine, rows[1])
    assert subprocess.run(asked, stderr=subprocess.DEVNULL).returncode == 0
    assert judgements.read_bytes().startswith(first) and judgements.read_bytes().count(b"\n") == 2
    assert set(verdicts(folder).values()) == {"resolved"}


def containers(engine, row) -> list:
    return engine.containers.list(all=True, ignore_removed=True, filters={"ancestor": row["image"]})


def test_an_agent_acts_in_the_images_and_the_harness_judges_what_it_changed(
    dataset, tmp_path
) -> None:
    experts = [
        one
        for one in load_trajectories("builtin_swe")
        if one.metadata["task"] in ("parse-microseconds", "boltons-splitlines")
    ]
    folder = tmp_path / "run"
    with expert_server(experts) as server:
        more = ("--mode", "agent", "--episode_history", "whole")
        asked = command(dataset, folder, *more, "--model", "m", "--base_url", server.url)
        assert main(asked) == 0
        answers = server.asked
        assert answers == sum(len(one.steps) for one in experts)
        assert main(asked) == 0
        assert server.asked == answers  # nothing twice
    assert list(verdicts(folder).values()) == ["resolved", "resolved"]
    for name in verdicts(folder):
        episode = json.loads((folder / "answers" / f"{name}.json").read_text())["agent"]
        assert episode["end"] == "ended" and episode["patch"].startswith("diff --git")
    page = (folder / "report.html").read_text()
    assert "Episode: " in page and "<th>agent</th>" in page

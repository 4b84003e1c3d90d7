"""The real swebench harness on the built-in instances, in real containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path

import docker.errors
import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox import DockerSandbox
from srl_envs.swe.tasks import load_task, verification
from srl_envs.swe.tasks.hidden_tests import task_tests

pytest.importorskip(
    "swebench", reason="the swebench harness is not installed: pip install -e '.[swebench]'"
)

from srl_agent.evaluation.swebench.builtin import builtin_row
from srl_agent.evaluation.swebench.harness import Harness, HarnessSettings
from srl_agent.evaluation.swebench.judgement import read_judgement

pytestmark = pytest.mark.docker

NO_OP = (
    "diff --git a/unused.txt b/unused.txt\nnew file mode 100644\n--- /dev/null\n+++ "
    "b/unused.txt\n@@ -0,0 +1 @@\n+nothing\n"
)
FOREIGN = "diff --git a/nope.py b/nope.py\n--- a/nope.py\n+++ b/nope.py\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.fixture(scope="module")
def row(base_image):
    return builtin_row(load_task("parse-microseconds"))


@pytest.fixture
def harness(tmp_path):
    harness = Harness(
        tmp_path / "harness",
        jobs=2,
        settings=HarnessSettings(timeout=120, memory_mib=512, cpus=1.0, network="none"),
    )
    yield harness
    harness.close()


@pytest.fixture(scope="module")
def slow(row):
    """The instance with tests that take seconds longer."""
    return {
        **row,
        "eval_script": row["eval_script"].replace("python -m pytest", "sleep 5; python -m pytest"),
    }


def open_harness(folder: Path, attempts: int) -> AbstractContextManager[Harness]:
    return closing(
        Harness(folder, settings=HarnessSettings(memory_mib=512, cpus=1.0, attempts=attempts))
    )


def test_verdicts_are_kept_apart(row, harness) -> None:
    gold = harness.judge(row, row["patch"], "gold")
    assert (gold.outcome, gold.failing) == ("resolved", ())
    unresolved = harness.judge(row, NO_OP, "model")
    assert unresolved.outcome == "unresolved"
    assert unresolved.failing == tuple(json.loads(row["FAIL_TO_PASS"]))
    assert harness.judge(row, FOREIGN, "model").outcome == "patch_does_not_apply"
    assert harness.judge(row, "not a patch at all", "model").outcome == "patch_does_not_apply"
    assert harness.judge(row, "\n", "model").outcome == "empty_patch"


def test_the_reward_in_training_and_the_harness_agree(row, harness) -> None:
    task = load_task("parse-microseconds")
    for patch in (row["patch"], NO_OP, FOREIGN, "not a patch at all", ""):
        with DockerSandbox(row["image"]) as sandbox:
            rewarded = verification.judge(task_tests(task), patch, sandbox)
        judged = harness.judge(row, patch, "model")
        assert rewarded.resolved == (judged.outcome == "resolved")
        assert rewarded.applied == (judged.outcome != "patch_does_not_apply")
        if rewarded.applied and patch:
            assert sorted(rewarded.failing) == sorted(judged.failing)


def test_a_verdict_never_belongs_to_another_patch(row, harness) -> None:
    assert harness.judge(row, NO_OP, "model").outcome == "unresolved"
    assert harness.judge(row, row["patch"], "model").outcome == "resolved"
    again = harness.judge(row, NO_OP, "model")
    assert again.outcome == "unresolved"
    assert len(list((harness.folder / "jobs").iterdir())) == 2


def test_a_missing_image_is_a_failure_of_the_machinery(row, harness) -> None:
    judgement = harness.judge(
        {**row, "image": "localhost:1/srl-no-such-image:1"}, row["patch"], "model"
    )
    assert judgement.outcome == "infrastructure_failure"
    assert judgement.reason
    assert len(list((harness.folder / "jobs").iterdir())) == harness.settings.attempts


def test_tests_that_do_not_end_are_told_and_leave_no_container(row, engine, tmp_path) -> None:
    endless = row["eval_script"].replace("python -m pytest", "sleep 1000; python -m pytest")
    harness = Harness(tmp_path, settings=HarnessSettings(timeout=2))
    judgement = harness.judge({**row, "eval_script": endless}, row["patch"], "model")
    harness.close()
    assert (judgement.outcome, judgement.reason) == ("unresolved", "the tests ran past their time")
    assert not containers(engine, row)


def test_a_failure_of_the_machinery_is_not_repeated_from_the_logs(row, tmp_path) -> None:
    """Wherever the folder was when it failed."""
    with open_harness(tmp_path / "before", attempts=1) as harness:
        first = harness.judge(row, row["patch"], "gold")
    (Path(first.log) / "report.json").write_text(
        json.dumps({row["instance_id"]: {"resolved": False, "infra_failure": True}})
    )
    (tmp_path / "before").rename(tmp_path / "after")
    with open_harness(tmp_path / "after", attempts=1) as harness:
        second = harness.judge(row, row["patch"], "gold")
    assert (first.outcome, second.outcome) == ("resolved", "resolved")


def test_containers_are_closed_and_limited(row, harness) -> None:
    look = (
        "cat /sys/class/net/*/address | sort -u; grep -h CapEff /proc/self/status; "
        "grep NoNewPrivs /proc/self/status; "
    )
    groups = (
        "memory.max",
        "memory/memory.limit_in_bytes",
        "pids.max",
        "pids/pids.max",
    )  # cgroups 2 and 1
    look += "; ".join(f"cat /sys/fs/cgroup/{group} 2>/dev/null" for group in groups)
    script = row["eval_script"].replace(": '>>>>> Start", f"{look}\n: '>>>>> Start")
    judgement = harness.judge({**row, "eval_script": script}, row["patch"], "gold")
    assert judgement.outcome == "resolved"
    output = (harness.folder / "logs").rglob("test_output.txt")
    lines = next(output).read_text().splitlines()
    assert "00:00:00:00:00:00" in lines and not any(line.startswith("02:42:") for line in lines)
    capabilities = int(next(line for line in lines if line.startswith("CapEff")).split()[1], 16)
    assert not capabilities & (1 << 21)  # CAP_SYS_ADMIN
    assert "NoNewPrivs:\t1" in lines
    assert str(512 * 1024 * 1024) in lines and "2048" in lines


def test_several_at_once(row, harness) -> None:
    patches = [row["patch"], NO_OP, FOREIGN, row["patch"] + "\n"]
    with ThreadPoolExecutor(4) as threads:
        outcomes = [
            judgement.outcome
            for judgement in threads.map(lambda patch: harness.judge(row, patch, "model"), patches)
        ]
    assert outcomes == ["resolved", "unresolved", "patch_does_not_apply", "resolved"]


def test_two_runs_judge_the_same_patch_at_once(slow, engine, tmp_path) -> None:
    with (
        open_harness(tmp_path / "first", attempts=1) as first,
        open_harness(tmp_path / "second", attempts=1) as second,
        ThreadPoolExecutor(2) as threads,
    ):
        judging = [
            threads.submit(harness.judge, slow, slow["patch"], "gold")
            for harness in (first, second)
        ]
        assert eventually(lambda: len(containers(engine, slow)) == 2)
        assert [one.result().outcome for one in judging] == ["resolved", "resolved"]


def test_a_container_that_is_ended_is_no_verdict_and_tried_again(slow, engine, tmp_path) -> None:
    with (
        open_harness(tmp_path / "harness", attempts=2) as harness,
        ThreadPoolExecutor(1) as threads,
    ):
        judging = threads.submit(harness.judge, slow, slow["patch"], "gold")
        assert eventually(lambda: containers(engine, slow))
        started = containers(engine, slow)[0]
        assert eventually(lambda: "sleep 5" in commands(engine, started))
        engine.api.kill(started)
        assert judging.result().outcome == "resolved"
    assert len(list((harness.folder / "jobs").iterdir())) == 2


@pytest.mark.parametrize(
    ("diff", "outcome"),
    [
        ("cannot exec in a stopped state: unknown\n", "infrastructure_failure"),
        (f"task {'0' * 64} not found: not found\n", "infrastructure_failure"),
        ("", "infrastructure_failure"),
        ("diff --git a/a.py b/a.py\n", "unresolved"),
    ],
)
def test_tests_that_are_cut_are_no_verdict_if_the_container_ended(diff, outcome, tmp_path) -> None:
    """Else the patch's own tests have killed the script."""
    (tmp_path / "report.json").write_text(
        json.dumps({"a": {"resolved": False, "infra_failure": False}})
    )
    (tmp_path / "run_instance.log").write_text(
        f"2026-01-01 00:00:00,000 - INFO - Git diff after:\n{diff}2026-01-01 "
        "00:00:00,000 - INFO - Grading answer\n"
    )
    (tmp_path / "test_output.txt").write_text(
        "+ : '>>>>> Start Test Output'\nPASSED tests/test_a.py::test_b\n"
    )
    assert read_judgement("a", tmp_path, "").outcome == outcome
    (tmp_path / "test_output.txt").write_text(
        "+ : '>>>>> Start Test Output'\n+ : '>>>>> End Test Output'\n"
    )
    assert read_judgement("a", tmp_path, "").outcome == "unresolved"


def test_no_container_outlives_a_killed_run(row, engine, tmp_path) -> None:
    script = (
        "import json, sys; from pathlib import Path; "
        "from srl_agent.evaluation.swebench.harness import *\n"
        "row = json.loads(Path(sys.argv[1]).read_text()); "
        "Harness(Path(sys.argv[2])).judge(row, row['patch'], 'gold')"
    )
    slow = {
        **row,
        "eval_script": row["eval_script"].replace(
            "python -m pytest", "sleep 300; python -m pytest"
        ),
    }
    (tmp_path / "row.json").write_text(json.dumps(slow))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "row.json"), str(tmp_path / "harness")],
        env={**os.environ},
    )
    assert eventually(lambda: containers(engine, row))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert eventually(lambda: not containers(engine, row))


def test_a_closed_harness_leaves_no_container_and_judges_no_more(row, engine, tmp_path) -> None:
    slow = {
        **row,
        "eval_script": row["eval_script"].replace(
            "python -m pytest", "sleep 300; python -m pytest"
        ),
    }
    harness = Harness(
        tmp_path / "harness", settings=HarnessSettings(memory_mib=512, cpus=1.0, attempts=3)
    )
    with ThreadPoolExecutor(1) as threads:
        judging = threads.submit(harness.judge, slow, row["patch"], "gold")
        assert eventually(lambda: containers(engine, row))
        harness.close()
        assert not containers(engine, row)
        assert judging.result().outcome == "infrastructure_failure"
    assert len(list((harness.folder / "jobs").iterdir())) == 1, "no further attempt"
    harness.close()
    with pytest.raises(ConfigError, match="closed"):
        harness.judge(row, row["patch"], "gold")


def test_a_patch_that_no_file_can_hold_does_not_apply(row, harness) -> None:
    judgement = harness.judge(row, row["patch"] + "\ud800", "model")
    assert judgement.outcome == "patch_does_not_apply" and "surrogates" in judgement.reason


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("2026-01-01 00:00:00,000 - INFO - >>>>> Patch Apply Failed:", "patch_does_not_apply"),
        (
            "swebench.harness.utils.EvaluationError: Error in evaluation for a: "
            "Test timed out after 2 seconds.",
            "unresolved",
        ),
        (
            "2026-01-01 00:00:00,000 - INFO - >>>>> Patch Apply Failed:\ncannot exec in "
            "a stopped state: unknown",
            "infrastructure_failure",
        ),
        (
            "2026-01-01 00:00:00,000 - INFO - >>>>> Patch Apply Failed:\ntask "
            f"{'0' * 64} not found: not found",
            "infrastructure_failure",
        ),
        (
            "2026-01-01 00:00:00,000 - INFO - >>>>> Patch Apply Failed:\ncan't find "
            "file to patch at input line 3",
            "patch_does_not_apply",
        ),
        ("+>>>>> Patch Apply Failed", "infrastructure_failure"),
        (" EvaluationError: Test timed out after 2 seconds.", "infrastructure_failure"),
    ],
)
def test_what_a_patch_says_decides_nothing(line, outcome, tmp_path) -> None:
    (tmp_path / "run_instance.log").write_text(
        f"2026-01-01 00:00:00,000 - INFO - Git diff before:\n{line}\n"
    )
    assert read_judgement("a", tmp_path, "the engine is gone").outcome == outcome


def test_the_harness_is_found_from_any_folder(row, tmp_path) -> None:
    """As in a clone that is not installed: the package is found in the current folder only."""
    (tmp_path / "row.json").write_text(json.dumps(row))
    script = (
        "import json, sys; from pathlib import Path; "
        "from srl_agent.evaluation.swebench.harness import *\n"
        "row = json.loads(Path(sys.argv[1]).read_text()); "
        "harness = Harness(Path(sys.argv[2]), settings=HarnessSettings(memory_mib=512, "
        "cpus=1.0))\n"
        "print(harness.judge(row, 'not a patch', 'model').outcome); harness.close()"
    )
    root = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "row.json"), str(tmp_path / "harness")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "patch_does_not_apply", done.stderr


def test_a_damaged_report_is_no_verdict(tmp_path) -> None:
    (tmp_path / "report.json").write_text('{"a": ')
    assert read_judgement("a", tmp_path, "").outcome == "infrastructure_failure"


def containers(engine, row) -> list[str]:
    return [
        container["Id"]
        for container in engine.api.containers(all=True)
        if any(row["instance_id"] in name for name in container["Names"] or ())
    ]


def commands(engine, container: str) -> list[str]:
    """What runs in a container; nothing before it has started."""
    try:
        return [
            process[-1]
            for process in engine.api.top(container, ps_args="-eo pid,args")["Processes"]
        ]
    except docker.errors.APIError:
        return []


def eventually(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def test_a_patch_to_a_file_that_is_not_utf_8_gets_a_verdict(row, harness) -> None:
    make = "printf 'caf\\351\\nx\\n' > names.txt && git add -N names.txt"
    of_row = row | {
        "eval_script": row["eval_script"].replace("git status\n", f"{make}\ngit status\n")
    }
    assert harness.judge(of_row, row["patch"], "m").outcome == "resolved"


def test_a_verdict_never_belongs_to_another_image(row, harness) -> None:
    first = harness.judge(row, NO_OP, "m", image_id="sha256:1")
    second = harness.judge(row, NO_OP, "m", image_id="sha256:2")
    assert first.image_id == "sha256:1" and second.image_id == "sha256:2"
    assert first.log != second.log


def test_the_default_network_is_the_engines(row, tmp_path) -> None:
    settings = HarnessSettings(timeout=120, memory_mib=512, cpus=1.0)
    assert settings.network == "default"
    harness = Harness(tmp_path / "harness", settings=settings)
    try:
        assert harness.judge(row, row["patch"], "gold").outcome == "resolved"
    finally:
        harness.close()

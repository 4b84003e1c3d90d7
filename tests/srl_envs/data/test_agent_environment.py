"""What rows of tasks say of image, set-up and hidden tests: columns as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srl_envs import load_trajectories
from srl_envs.data.agent_environment import environment_of
from srl_envs.errors import ConfigError, DataError

BUG = "diff --git a/pkg/a.py b/pkg/a.py\n--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1 +1 @@\n-a\n+b\n"
TESTS = BUG.replace("pkg/a.py", "tests/test_a.py")
SMITH = {  # SWE-bench/SWE-smith
    "instance_id": "org__repo.73871d76.func__x",
    "patch": BUG,
    "FAIL_TO_PASS": ["tests/test_a.py::test_b"],
    "PASS_TO_PASS": ["tests/test_a.py::test_c", "tests/test_d.py::test_d"],
    "image_name": "jyangballin/swesmith.x86_64.org_1776_repo.73871d76",
    "repo": "swesmith/org__repo.73871d76",
    "problem_statement": "It fails.",
}
REBENCH = {  # nebius/SWE-rebench
    "instance_id": "org__repo-1",
    "repo": "org/repo",
    "base_commit": "a" * 40,
    "patch": BUG,
    "test_patch": TESTS,
    "problem_statement": "It fails.",
    "version": "1.0",
    "FAIL_TO_PASS": json.dumps(["tests/test_a.py::test_b"]),
    "PASS_TO_PASS": json.dumps(["tests/test_a.py::test_c"]),
    "docker_image": "swerebench/sweb.eval.x86_64.org_1776_repo-1",
    "install_config": {
        "log_parser": "parse_log_pytest",
        "test_cmd": "pytest --no-header -rA --tb=line --color=no",
        "python": "3.9",
    },
}
REBENCH_2 = {  # nebius/SWE-rebench-V2
    **{key: REBENCH[key] for key in ("instance_id", "repo", "patch", "test_patch")},
    "image_name": "docker.io/swerebenchv2/org-repo:1",
    "FAIL_TO_PASS": ["TestB"],
    "PASS_TO_PASS": ["TestC"],
    "install_config": {"test_cmd": ["go test -v ./..."], "log_parser": "parse_log_gotest"},
}
HARNESS_5 = {  # SWE-bench Verified as its harness 5 has it
    **{key: REBENCH[key] for key in ("instance_id", "repo", "patch", "test_patch")},
    "FAIL_TO_PASS": ["tests/test_a.py::test_b"],
    "PASS_TO_PASS": [],
    "image": "swebench/sweb.eval.x86_64.org_1776_repo-1:latest",
    "eval_script": "#!/bin/bash\ncd /testbed\npytest -rA tests/test_a.py\n",
    "log_parser": "parse_log_pytest",
    "eval_type": "pass_and_fail",
}


def test_a_task_of_swe_smith() -> None:
    found = environment_of(SMITH)
    assert found.pop("startup").endswith("source /opt/miniconda3/bin/activate testbed")
    command = found.pop("test_command")
    assert command.startswith("python -m pytest")
    assert command.endswith(" tests/test_a.py tests/test_d.py")
    assert found == {
        "image": SMITH["image_name"],
        "workdir": "/testbed",
        "setup_patch": BUG,
        "test_files": ["tests/test_a.py"],
        "log_parser": "pytest",
        "FAIL_TO_PASS": SMITH["FAIL_TO_PASS"],
        "PASS_TO_PASS": SMITH["PASS_TO_PASS"],
        "source_files": ["pkg/a.py"],
    }
    named = environment_of({**SMITH, "bug_patch": "x", "removed_test_files": ["tests/test_z.py"]})
    assert (named["setup_patch"], named["test_files"]) == ("x", ["tests/test_z.py"])


def test_a_task_of_swe_rebench() -> None:
    found = environment_of(REBENCH)
    assert "setup_patch" not in found and "test_files" not in found
    assert found["test_command"] == f"{REBENCH['install_config']['test_cmd']} tests/test_a.py"  # type: ignore[index]
    assert (found["test_patch"], found["log_parser"]) == (TESTS, "parse_log_pytest")
    assert (found["image"], found["workdir"]) == (REBENCH["docker_image"], "/testbed")
    assert found["FAIL_TO_PASS"] == ["tests/test_a.py::test_b"]
    second = environment_of(REBENCH_2)
    assert (second["test_command"], second["workdir"]) == ("go test -v ./...", "/repo")
    assert second["log_parser"] == "parse_log_gotest"


def test_a_task_of_the_harness_brings_its_tests_with_its_script() -> None:
    found = environment_of(HARNESS_5)
    assert found["test_command"] == HARNESS_5["eval_script"]
    assert "test_patch" not in found


def test_where_the_agent_found_the_repository_a_link_leads_to_it() -> None:
    found = environment_of(REBENCH, "/workspace/org__repo__1.0")
    assert found["workdir"] == "/testbed"
    assert "ln -s /testbed /workspace/org__repo__1.0" in found["startup"]


def test_saved_runs_say_where_they_ran() -> None:
    mini = {"info": {"config": {"environment": {"image": "sweb:1", "cwd": "/repo", "env": {}}}}}
    assert environment_of(mini) == {"image": "sweb:1", "workdir": "/repo"}
    settings: dict[str, Any] = {
        "deployment": {"image": "sweb:2", "type": "docker"},
        "repo": {"repo_name": "testbed", "base_commit": "HEAD", "type": "preexisting"},
    }
    swe_agent = {"replay_config": json.dumps({"env": settings})}
    assert environment_of(swe_agent) == {"image": "sweb:2", "workdir": "/testbed"}
    settings["repo"] = {"github_url": "https://github.com/org/repo", "type": "github"}
    assert environment_of({"replay_config": json.dumps({"env": settings})}) == {}


def test_a_row_without_image_or_tests_gives_what_it_has() -> None:
    assert environment_of({"instance_id": "a", "patch": BUG, "FAIL_TO_PASS": ["x"]}) == {}
    assert set(environment_of({"image": "i"})) == {"image", "workdir", "startup"}
    assert "test_command" not in environment_of({**REBENCH, "install_config": None})
    assert "test_command" not in environment_of({**SMITH, "FAIL_TO_PASS": "[{"})


def row(instance: str) -> dict[str, Any]:
    return {
        "instance_id": instance,
        "traj_id": f"{instance}.1",
        "resolved": True,
        "patch": "of the agent",
        "messages": [
            {"role": "user", "content": "<pr_description>\nSeen.\n</pr_description>"},
            {
                "role": "assistant",
                "content": "<function=bash>\n<parameter=command>ls</parameter>\n</function>",
            },
        ],
    }


def test_tasks_are_joined_by_their_instance(tmp_path: Path) -> None:
    runs, tasks = tmp_path / "runs.jsonl", tmp_path / "tasks.jsonl"
    runs.write_text("".join(json.dumps(row(i)) + "\n" for i in (SMITH["instance_id"], "other-1")))
    tasks.write_text(json.dumps(SMITH) + "\n")
    loaded = load_trajectories("swe_smith", path=runs, tasks=tasks)
    assert loaded.rejected == {"no task of this instance": 1}
    (trajectory,) = loaded
    assert trajectory.metadata["setup_patch"] == BUG
    assert trajectory.prompt == "Seen."  # as the agent was asked
    alone = load_trajectories("swe_smith", path=runs)
    assert len(alone) == 2 and "setup_patch" not in alone[0].metadata


def test_columns_of_the_task_in_the_row_itself_count(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    runs.write_text(json.dumps({**row("org__repo-1"), **REBENCH}) + "\n")
    assert load_trajectories("agent", path=runs)[0].metadata["test_patch"] == TESTS


@pytest.mark.parametrize("tests", ["['tests/test_a.py::test_b']", ("tests/test_a.py::test_b",)])
def test_tests_may_be_the_text_of_a_list_of_python(tests: Any) -> None:
    found = environment_of({**REBENCH, "FAIL_TO_PASS": tests})
    assert found["FAIL_TO_PASS"] == ["tests/test_a.py::test_b"]


@pytest.mark.parametrize("tests", ["tests/test_a.py::test_b", {"a": 1}, [1], "[{"])
def test_tests_that_cannot_be_read_reject_the_row(tmp_path: Path, tests: Any) -> None:
    runs = tmp_path / "runs.jsonl"
    task = {**REBENCH, "PASS_TO_PASS": tests}
    runs.write_text(json.dumps({**row("org__repo-1"), **task}) + "\n")
    with pytest.raises(DataError, match="unreadable 'PASS_TO_PASS'"):
        load_trajectories("agent", path=runs)
    without = {key: value for key, value in task.items() if "image" not in key}
    runs.write_text(json.dumps({**row("org__repo-1"), **without}) + "\n")
    assert len(load_trajectories("agent", path=runs)) == 1


def test_what_is_wrong_with_tasks_is_said(tmp_path: Path) -> None:
    runs, tasks = tmp_path / "runs.jsonl", tmp_path / "tasks.jsonl"
    runs.write_text(json.dumps(row("a")) + "\n")
    tasks.write_text('{"instance": "a"}\n')
    with pytest.raises(DataError, match="row 1: a task needs an instance_id"):
        load_trajectories("swe_smith", path=runs, tasks=tasks)
    with pytest.raises(DataError, match="does not exist"):
        load_trajectories("swe_smith", path=runs, tasks=tmp_path / "no.jsonl")
    with pytest.raises(ConfigError, match="'builtin_swe' takes no tasks"):
        load_trajectories("builtin_swe", tasks=tasks)

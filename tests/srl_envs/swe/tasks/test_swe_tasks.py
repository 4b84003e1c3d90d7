"""The built-in tasks, with the packages' real releases: the hidden tests fail before the fix and
pass after it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from srl_envs.errors import ConfigError, DataError, InfrastructureError
from srl_envs.swe.tasks import (
    SweTask,
    base_tree,
    fetch_sdists,
    fixed_test_files,
    gold_patch,
    load_task,
    load_tasks,
)
from srl_envs.swe.tasks.package_index import download_sdist

TASKS = load_tasks()
PERMISSIVE = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tasks share for their archives; skips where the package index cannot be
    reached.
    """
    folder = tmp_path_factory.mktemp("releases")
    try:
        download_sdist(TASKS[0].package, TASKS[0].base_version)
    except InfrastructureError as error:
        pytest.skip(str(error))
    return folder


def failed_and_passed(task: SweTask, tree: Path) -> tuple[set[str], set[str]]:
    # Plugins of this project's own environment have no say in the package's tests.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    arguments = task.test_command.split()
    assert arguments[0] == "python"
    result = subprocess.run(
        [sys.executable, *arguments[1:]], cwd=tree, env=environment, capture_output=True, text=True
    )
    summary = result.stdout.rpartition("short test summary info")[2]
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", summary, flags=re.MULTILINE)
    return {name for status, name in found if status != "PASSED"}, {
        name for status, name in found if status == "PASSED"
    }


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_hidden_tests_fail_before_the_fix_and_pass_after_it(
    task: SweTask, releases: Path, tmp_path: Path
) -> None:
    tree = base_tree(task, releases, tmp_path / "tree")
    hidden = fixed_test_files(task, releases)
    patch = gold_patch(task, releases)
    assert not any(
        (tree / path).is_file() and (tree / path).read_bytes() == content
        for path, content in hidden.items()
    )
    shown = "".join((tree / path).read_text() for path in hidden if (tree / path).is_file())
    names = {name.rpartition("::")[2].partition("[")[0] for name in task.fail_to_pass}
    assert not [name for name in names if f"def {name}(" in shown]

    for path, content in hidden.items():
        (tree / path).write_bytes(content)
    failed, passed = failed_and_passed(task, tree)
    assert failed >= set(task.fail_to_pass)
    assert passed >= set(task.pass_to_pass)

    # A repository of its own: without one, git would look for one above the folder for temporary
    # files.
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    assert not subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "*.pyc"],
        cwd=tree,
        capture_output=True,
        check=True,
    ).stdout
    subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"], cwd=tree, input=patch.encode(), check=True
    )
    failed, passed = failed_and_passed(task, tree)
    assert passed >= {*task.fail_to_pass, *task.pass_to_pass}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_gold_patch_changes_the_source_files_and_no_test(task: SweTask, releases: Path) -> None:
    changed = re.findall(
        r"^diff --git a/(\S+) b/\1$", gold_patch(task, releases), flags=re.MULTILINE
    )
    assert changed == list(task.source_files)
    assert not set(changed) & set(task.test_files)


def test_the_set_is_what_the_documentation_says() -> None:
    assert len(TASKS) >= 6
    assert len({task.package for task in TASKS}) >= 3
    assert len({task.id for task in TASKS}) == len(TASKS)
    for task in TASKS:
        assert task.license in PERMISSIVE
        assert task.attribution and task.url.startswith("https://")
        assert task.fail_to_pass and task.pass_to_pass
        assert not set(task.fail_to_pass) & set(task.pass_to_pass)
        assert not any(re.search(r"\s", name) for name in (*task.fail_to_pass, *task.pass_to_pass))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_issue_does_not_give_the_fix_away(task: SweTask, releases: Path) -> None:
    added = [
        line[1:].strip()
        for line in gold_patch(task, releases).splitlines()
        if line.startswith("+") and not line.startswith("+++")
    ]
    assert not [line for line in added if len(line) > 20 and line in task.issue]


def test_a_task_is_found_by_its_id() -> None:
    assert load_task("parse-microseconds") is TASKS[0]
    with pytest.raises(
        ConfigError, match="no built-in task 'parse-nothing': use one of parse-microseconds, "
    ):
        load_task("parse-nothing")


def test_an_archive_that_is_another_one_is_refused(releases: Path, tmp_path: Path) -> None:
    task = replace(TASKS[0], base_sha256="0" * 64)
    with pytest.raises(DataError, match="not 0000"):
        fetch_sdists(task, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_archive_is_fetched_again(releases: Path, tmp_path: Path) -> None:
    (tmp_path / f"parse-{TASKS[0].base_version}.tar.gz").write_bytes(b"half of it")
    assert (fetch_sdists(TASKS[0], tmp_path).base / "parse.py").is_file()


def local_task(folder: Path, **members: bytes) -> SweTask:
    """A task whose base archive lies in ``folder`` already and holds these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    (folder / "parse-1.tar.gz").write_bytes(buffer.getvalue())
    return replace(
        TASKS[0], base_version="1", base_sha256=hashlib.sha256(buffer.getvalue()).hexdigest()
    )


@pytest.mark.parametrize(
    "name", ["../outside.py", "parse-1/../../outside.py", "/outside.py/../../outside.py"]
)
def test_an_archive_that_writes_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "releases"
    folder.mkdir()
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_sdists(local_task(folder, **{name: b"x = 1\n"}), folder)
    assert not list(tmp_path.rglob("outside.py"))


def test_an_archive_of_another_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold the folder parse-1"):
        fetch_sdists(local_task(tmp_path, **{"other-1/setup.py": b""}), tmp_path)


def test_a_path_out_of_the_repository_is_refused(releases: Path) -> None:
    with pytest.raises(DataError, match="leads out of the repository"):
        fixed_test_files(replace(TASKS[0], test_files=("../secret",)), releases)
    with pytest.raises(DataError, match=r"does not hold tests/test_absent\.py"):
        fixed_test_files(replace(TASKS[0], test_files=("tests/test_absent.py",)), releases)


def test_processes_can_share_a_folder(releases: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from srl_envs.swe.tasks import *; "
        "print(fetch_sdists(load_tasks()[0], Path(sys.argv[1])).base)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert {process.communicate()[0].strip() for process in running} == {
        str(tmp_path / f"parse-{TASKS[0].base_version}")
    }
    assert [process.returncode for process in running] == [0] * 4
    assert not list(tmp_path.glob(".*"))

"""Which files of a patch are left out when it is judged."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from srl_envs.swe.tasks import load_task, load_tasks
from srl_envs.swe.tasks.protected_files import is_protected

SQLPARSE = load_task(
    "sqlparse-case-in-begin"
)  # tests/test_split.py and tests/files/multiple_case_in_begin.sql


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_split.py",
        "tests/test_split.py/inside",
        "tests",
        "tests/files",
        "tests/test_split/__init__.py",
        "tests/test_split.cpython-311-x86_64-linux-gnu.so",
        "tests/files/multiple_case_in_begin.sql",
        "tests/__init__.py",
        "tests/helpers/__init__.py",
        "tests/test_other.py",
        "conftest.py",
        "sqlparse/conftest.py",
        "tests/pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        "tox.ini",
        "setup.cfg",
        "deep/er/pyproject.toml",
        "evil.egg-info/entry_points.txt",
        "src/evil-1.0.dist-info/entry_points.txt",
        "evil.pth",
        "sitecustomize.py",
        "usercustomize/__init__.py",
        "sqlparse/__pycache__/sql.cpython-311.pyc",
        "pytest.py",
        "pytest/__init__.py",
        "_pytest/main.py",
        "pluggy",
        "iniconfig.py",
        "packaging/version.py",
        "argparse.py",
        "tests/difflib.py",
        "tests/files/json/__init__.py",
    ],
)
def test_what_steers_is_left_out(path: str) -> None:
    assert is_protected(path, SQLPARSE)


@pytest.mark.parametrize(
    "path",
    [
        "sqlparse/sql.py",
        "sqlparse/types.py",
        "sqlparse/packaging/version.py",
        "tests.py",
        "sqlparse/tests.py",
        "setup.py",
        "README.md",
        "docs/argparse.md",
        "é\udcff.py",
    ],
)
def test_other_changes_are_applied(path: str) -> None:
    assert not is_protected(path, SQLPARSE)


def test_the_source_of_every_task_is_applied() -> None:
    assert not any(is_protected(path, task) for task in load_tasks() for path in task.source_files)


def test_tests_have_folders_of_their_own() -> None:
    for task in load_tasks():
        folders = {str(PurePosixPath(test).parent) for test in task.test_files}
        assert "." not in folders and not [
            path
            for path in task.source_files
            for folder in folders
            if path.startswith(f"{folder}/")
        ]

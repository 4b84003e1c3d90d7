"""Which changes of a patch steer the test run: a patch is judged without them.

Left out is, whatever its content:

* the hidden tests, and folders of tests that hold them (``test`` is in a name of their
  path) with everything inside (their ``__init__.py`` runs before them, their helpers
  are part of them), and whatever is in the place of a folder above them;
* the configuration of pytest and its plugins, in any folder: ``conftest.py``,
  ``pytest.ini``, ``.pytest.ini``, ``pytest.toml``, ``.pytest.toml``, ``tox.ini``,
  ``setup.cfg``, ``pyproject.toml``, and package metadata (``*.egg-info``,
  ``*.dist-info``), whose entry points pytest loads as plugins;
* what Python reads before any test, in any folder: ``*.pth``, ``sitecustomize``,
  ``usercustomize``, and compiled modules (``*.pyc``, ``__pycache__``);
* modules that would be imported in place of pytest, of what pytest imports, or of the
  standard library: those of such a name in the repository's root and in the folders
  above the tests, because Python looks there first.

A file that the task's own ``source_files`` name is never left out. What remains is code
under test, and that shares a process with the tests.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from srl_envs.swe.tasks.hidden_tests import HiddenTests
from srl_envs.swe.tasks.tasks import SweTask

_ANYWHERE = (
    *(
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "tox.ini",
        "setup.cfg",
        "pyproject.toml",
        "*.egg-info",
        "*.dist-info",
    ),
    *(
        "*.pth",
        "sitecustomize",
        "sitecustomize.*",
        "usercustomize",
        "usercustomize.*",
        "__pycache__",
        "*.pyc",
    ),
)
_PYTEST = (
    "pytest",
    "_pytest",
    "conftest",
    "pluggy",
    "iniconfig",
    "packaging",
    "attr",
    "attrs",
    "exceptiongroup",
    "tomli",
    "py",
    "pygments",
    "colorama",
)
_SHADOWED = frozenset(
    (*_PYTEST, "typing_extensions", "setuptools", "pkg_resources", *sys.stdlib_module_names)
)


def is_protected(path: str, tests: HiddenTests | SweTask) -> bool:
    """Whether a file of a patch could decide how the task's tests run.

    Args:
        path: Of the file, relative to the repository.
        tests: The hidden tests, or the built-in task that has them.
    """
    if path in tests.source_files:
        return False
    parts = path.split("/")
    if any(fnmatchcase(part, pattern) for part in parts for pattern in _ANYWHERE):
        return True
    return any(_is_of(test, path) for test in tests.test_files) or any(
        path.startswith(folder)
        and path.removeprefix(folder).partition("/")[0].partition(".")[0] in _SHADOWED
        for folder in _import_folders(tests)
    )


def _is_of(test: str, path: str) -> bool:
    """Whether a file is a test or in a folder of tests, or in the place of a folder above one."""
    folder = PurePosixPath(test).parent
    of_tests = any("test" in part.lower() for part in folder.parts)
    return (
        path == test or (of_tests and path.startswith(f"{folder}/")) or test.startswith(f"{path}/")
    )


def _import_folders(tests: HiddenTests | SweTask) -> set[str]:
    """The folders that Python searches before pytest's own, each with final ``/``; empty: root."""
    above = {str(folder) for test in tests.test_files for folder in PurePosixPath(test).parents}
    return {"" if folder == "." else f"{folder}/" for folder in above}

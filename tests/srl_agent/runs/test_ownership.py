"""A folder has one owner at a time: a second process is refused, the ranks of one run are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from srl_agent.runs.ownership import (
    check_run_folder,
    check_same_settings,
    lock_folder,
    run_folder,
)
from srl_envs.errors import ConfigError

SETTINGS = {"method": "srl", "seed": 1, "max_steps": 4, "source": "built-in"}

RANKS = """
import os
import sys
from pathlib import Path
from accelerate import PartialState
from srl_agent.runs.ownership import run_folder
from srl_envs.errors import ConfigError

PartialState(cpu=True)
try:
    with run_folder(Path(sys.argv[1]), {"method": "srl", "seed": 1}):
        PartialState().wait_for_everyone()
        os.write(1, b"owned\\n")  # one call: lines of two ranks never mix
        PartialState().wait_for_everyone()
except ConfigError as error:
    os.write(1, f"{error}\\n".encode())
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = "import sys; from pathlib import Path\n"
    code += "from srl_agent.runs.ownership import lock_folder\n"
    code += "with lock_folder(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "locked\n"
        with (
            pytest.raises(ConfigError, match="run is in use by another process: wait for it"),
            run_folder(folder, SETTINGS),
        ):
            raise AssertionError
        assert not (folder / "config.yaml").exists()
    finally:
        first.kill()
        first.communicate()
    with run_folder(folder, SETTINGS):  # a killed process frees its folder
        assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 1


def test_the_lock_is_freed_when_a_run_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path / "run", SETTINGS):
        with pytest.raises(ConfigError, match="in use"), run_folder(tmp_path / "run", SETTINGS):
            raise AssertionError
        raise ZeroDivisionError
    with FileLock(tmp_path / "run" / ".lock", timeout=0):
        pass


def test_the_ranks_of_one_run_share_its_folder(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    def ranks() -> list[str]:
        command = [*launch, str(script), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert ranks() == ["owned", "owned"]
    with lock_folder(tmp_path / "run"):
        refused = ranks()
    assert len(refused) == 2, "no rank waits for one that has failed"
    assert all("run is in use by another process" in line for line in refused)


def test_only_settings_that_affect_what_was_learned_must_stay(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with run_folder(folder, SETTINGS):
        (folder / "metrics.jsonl").write_text("{}\n")
    check_run_folder(folder, SETTINGS | {"max_steps": 8})
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(seed was 1, is 2\)"):
        check_run_folder(folder, SETTINGS | {"seed": 2})


def test_a_difference_names_both_values(tmp_path: Path) -> None:
    check_same_settings(tmp_path, {"a": 1}, {"a": 1, "b": None})
    with pytest.raises(ConfigError, match=r"holds answers .*a was 1, is 2; b was None, is 'x'"):
        check_same_settings(tmp_path, {"a": 1}, {"a": 2, "b": "x"}, "answers")

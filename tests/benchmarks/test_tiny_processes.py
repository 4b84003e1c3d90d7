"""A process for each base of the tiny study: at once, ended together, and heard."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.study.tiny.processes import for_each_base  # noqa: E402
from srl_envs.errors import ConfigError, InfrastructureError  # noqa: E402


def meet(folder: Path, base: int) -> None:
    """Ends once the other base's process is there too."""
    (folder / str(base)).write_text(os.environ["OMP_NUM_THREADS"])
    while not (folder / str(1 - base)).is_file():
        time.sleep(0.01)


def note(folder: Path, base: int) -> None:
    """Fails if another process is there at the same time."""
    (folder / "here").mkdir()
    (folder / str(base)).touch()
    (folder / "here").rmdir()


def refuse(folder: Path, base: int) -> None:
    """Base 1 is refused once base 0 waits; base 0 waits for ever."""
    (folder / str(base)).write_text(str(os.getpid()))
    while base == 0 or not (folder / "0").is_file():
        time.sleep(0.01)
    raise ConfigError("base 1 is not what the study needs")


def die(folder: Path, base: int) -> None:
    """As the system ends a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_bases_run_at_the_same_time_or_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for_each_base(functools.partial(meet, tmp_path / "both"), 2, jobs=2)
    for_each_base(functools.partial(note, tmp_path), 3, jobs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "both"]


def test_a_base_that_is_refused_ends_the_others_with_its_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base 1 is not what the study needs"):
        for_each_base(functools.partial(refuse, tmp_path), 2, jobs=2)
    assert not is_alive(int((tmp_path / "0").read_text()))
    with pytest.raises(InfrastructureError, match="base 0 ended with status -9"):
        for_each_base(functools.partial(die, tmp_path), 1, jobs=1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_study(how: signal.Signals, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import functools, sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]\n"
        "from pathlib import Path\n"
        "from test_tiny_processes import for_each_base, refuse\n"
        "if __name__ == '__main__':\n"
        f"    for_each_base(functools.partial(refuse, Path({str(tmp_path)!r})), 1, jobs=1)\n"
    )
    study = subprocess.Popen([sys.executable, str(program)])
    while not (tmp_path / "0").is_file() or not (tmp_path / "0").read_text():
        assert study.poll() is None
        time.sleep(0.05)
    study.send_signal(how)
    study.wait()
    while is_alive(int((tmp_path / "0").read_text())):  # else the test's own limit ends it
        time.sleep(0.05)

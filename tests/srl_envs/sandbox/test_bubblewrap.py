"""What is bubblewrap's own: bounds, what of the host can be seen, and that nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox import BubblewrapSandbox, SandboxError, SandboxLimits, bwrap_program
from srl_envs.sandbox.bubblewrap_sandbox import unpacked_image
from srl_envs.sandboxes import SANDBOXES

pytestmark = pytest.mark.usefixtures("bubblewrap")
LIMITS = SandboxLimits(memory_mib=128, disk_mib=32, processes=60, file_mib=16)


@pytest.fixture(scope="module")
def used() -> Iterator[BubblewrapSandbox]:
    with BubblewrapSandbox(limits=LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(used: BubblewrapSandbox) -> BubblewrapSandbox:
    used.reset()
    return used


def descendants(pid: int) -> set[int]:
    """Processes below one, that are not zombies."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found |= {int(folder.name)} | descendants(int(folder.name))
    return found


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- bounds


def test_written_data_is_bounded_and_room_can_be_made(sandbox: BubblewrapSandbox) -> None:
    full = sandbox.run(
        "for n in 1 2 3 4; do head -c 15M /dev/zero > $n; done; cp /dev/zero /dev/shm/x"
    )
    assert "No space left on device" in full.output
    assert sandbox.run("rm -f 1 2 /dev/shm/x; echo made > room; cat room").output == "made\n"


def test_empty_files_are_bounded_too(sandbox: BubblewrapSandbox) -> None:
    script = "i = 0\nwhile True:\n    open(str(i), 'w').close(); i += 1"
    assert "No space left" in sandbox.run(f'python3 -c "{script}"', timeout=300).output


def test_one_file_is_bounded(sandbox: BubblewrapSandbox) -> None:
    sandbox.run("head -c 20M /dev/zero > large")
    assert sandbox.run("stat -c %s large").output == f"{16 * 2**20}\n"


def test_the_memory_of_a_process_and_of_all_is_bounded(sandbox: BubblewrapSandbox) -> None:
    assert "MemoryError" in sandbox.run("python3 -c 'bytearray(10**9)'").output
    hog = "python3 -c 'import time; x = bytearray(b\"x\") * (50 << 20); time.sleep(300)' &"
    many = sandbox.run(f"for n in 1 2 3 4 5; do {hog} done; wait", timeout=100)
    assert (many.exit_code, many.timed_out, many.restarted) == (137, False, True)
    assert sandbox.run("echo works").output == "works\n"


def test_a_fork_bomb_is_bounded_and_ended(sandbox: BubblewrapSandbox) -> None:
    sandbox.run("bomb() { bomb | bomb & }; bomb; sleep 1", timeout=30)
    assert sandbox.run("echo works", timeout=30).output.endswith("works\n")
    # The bomb's shells die of the bound by and by: how soon is the machine's affair. Until then
    # nothing can be started, so they are counted without a process of its own.
    while sandbox.run("set -- /proc/[0-9]*; [ $# -lt 20 ]").exit_code:
        time.sleep(0.1)


# -- what can be seen and done


def test_nothing_of_the_host_but_its_system_is_there(
    sandbox: BubblewrapSandbox, tmp_path: Path
) -> None:
    assert sandbox.run(f"ls {tmp_path} {Path(__file__).parent}").exit_code == 2
    for folder in ("/home", "/root", "/tmp", "/var/tmp", "/run"):
        assert sandbox.run(f"ls -A {folder}").output == ""
    assert sandbox.run("touch /usr/x || touch /etc/x").exit_code == 1
    assert sandbox.run("cat /etc/shadow").exit_code == 1


def test_there_are_no_network_no_privileges_and_no_processes_of_others(
    sandbox: BubblewrapSandbox,
) -> None:
    assert sandbox.run("cat /proc/net/dev | grep -c :").output == "1\n"
    seen = sandbox.run("cat /proc/self/status").output
    assert "NoNewPrivs:\t1" in seen and "CapEff:\t000000000000000b" in seen
    assert sandbox.run("unshare --user true || mount -t tmpfs none /tmp").exit_code != 0
    assert int(sandbox.run("ls -d /proc/[0-9]* | wc -l").output) < 10
    assert f"/{os.getpid()}\n" not in sandbox.run("ls -d /proc/[0-9]*").output
    assert sandbox.run("echo x > /proc/sys/kernel/hostname || touch /dev/x").exit_code != 0


def test_root_outside_is_not_root_inside(sandbox: BubblewrapSandbox) -> None:
    assert sandbox.run("id -u").output == "0\n"
    assert sandbox.run("cat /proc/self/uid_map").output.split()[1] != "0"


# -- ends


def test_a_sandbox_outlives_the_thread_that_made_it() -> None:
    made: list[BubblewrapSandbox] = []
    thread = threading.Thread(target=lambda: made.append(BubblewrapSandbox(limits=LIMITS)))
    thread.start()
    thread.join()
    with made[0] as sandbox:
        assert sandbox.run("echo works").output == "works\n"


def test_nothing_is_left_after_close_or_when_nobody_holds_it() -> None:
    before = descendants(os.getpid())
    BubblewrapSandbox(limits=LIMITS).close()
    assert until(lambda: descendants(os.getpid()) <= before)
    sandbox = BubblewrapSandbox(limits=LIMITS)
    sandbox.run("setsid sleep 300 & disown")
    assert descendants(os.getpid()) > before
    del sandbox
    gc.collect()
    assert until(lambda: descendants(os.getpid()) <= before)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name
)
def test_nothing_is_left_when_its_process_is_killed(number: signal.Signals) -> None:
    script = (
        "from srl_envs.sandbox import BubblewrapSandbox\n"
        "sandbox = BubblewrapSandbox()\nprint('open', flush=True)\n"
        "sandbox.run('trap \"\" TERM INT; setsid sleep 3000 & sleep 3000', timeout=3000)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    assert until(lambda: len(descendants(process.pid)) >= 6)
    left = descendants(process.pid)
    process.send_signal(number)
    process.wait()
    assert until(lambda: not any(map(is_alive, left)))


# -- what it is made of


def test_a_folder_that_is_copied_in_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here\n")
    with BubblewrapSandbox(repository=tmp_path, limits=LIMITS) as sandbox:
        assert sandbox.run("cat file; echo changed > file; echo new > new").output == "here\n"
        sandbox.reset()
        assert sandbox.run("cat *").output == "here\n"
    assert (tmp_path / "file").read_text() == "here\n" and len(list(tmp_path.iterdir())) == 1


def test_images_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRL_IMAGES", str(tmp_path))
    assert unpacked_image("srl-base:bookworm") == "/"
    with pytest.raises(SandboxError, match=r"org/x:1 was not unpacked.*docker export"):
        SANDBOXES.named("bubblewrap")("org/x:1", workdir="/testbed", limits=LIMITS, startup="")
    (tmp_path / "org" / "x:1").mkdir(parents=True)
    assert unpacked_image("org/x:1") == str(tmp_path / "org" / "x:1")
    with pytest.raises(ConfigError, match="not a folder"):
        BubblewrapSandbox(str(tmp_path / "missing"))


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "testbed").mkdir()
    with pytest.raises(SandboxError, match=str(tmp_path)):
        BubblewrapSandbox(str(tmp_path))
    bwrap_program.tools.cache_clear()
    monkeypatch.setattr(bwrap_program, "PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match=r"needs bwrap.*install the packages bubblewrap"):
        BubblewrapSandbox()
    bwrap_program.tools.cache_clear()


def test_a_program_that_waited_too_long_is_never_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors it was to have are closed by then, and their numbers are others'."""
    monkeypatch.setattr(bwrap_program, "_START_S", 0.2)
    spawner, slow = bwrap_program._Spawner(), Future[Any]()
    spawner._asked.put((slow, ["true"], {"preexec_fn": partial(time.sleep, 3)}))
    with pytest.raises(SandboxError, match=r"touch was not started within 0\.2 s"):
        spawner.run(["touch", str(tmp_path / "late")])
    assert slow.result(60).wait(60) == 0
    assert spawner.run(["true"]).wait(60) == 0
    assert not list(tmp_path.iterdir())

"""No container outlives its process, however that ends; and no process takes another one's
container.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxLimits
from srl_envs.sandbox.ownership import LABEL, owner_labels, prune, remove_container

pytestmark = pytest.mark.docker

OPEN = """
import os, signal, sys, time
from srl_envs.sandbox import DockerSandbox, SandboxLimits
sandbox = DockerSandbox("{image}", workdir="/tmp", limits=SandboxLimits(cpus=0.5, memory_mib=256))
print("open", flush=True)
"""

Start = Callable[[str], "subprocess.Popen[str]"]
Owned = Callable[..., "list[Any]"]


def until(condition: Callable[[], bool]) -> bool:
    """Whether a condition came true; the bound is there for what never does."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def start(base_image: str) -> Iterator[Start]:
    """Starts a Python process that opens a sandbox, and waits until it is open."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OPEN.format(image=base_image) + script]
        started.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        assert started[-1].stdout is not None and started[-1].stdout.readline() == "open\n"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit(0)",
        "sandbox.close()",
        "raise RuntimeError('of the user')",
        "os._exit(1)",
        "sandbox.run('sleep 300')",
        "with sandbox: sandbox.run('sleep 300 &'); raise KeyboardInterrupt",
        "os.kill(os.getpid(), signal.SIGSEGV)",
    ],
)
def test_containers_vanish_when_their_process_ends(
    start: Start, own_containers: Owned, end: str
) -> None:
    process = start(end)
    if "sleep 300')" in end:
        assert len(own_containers(process.pid)) == 1
        process.terminate()
    process.wait()
    assert until(lambda: not own_containers(process.pid))


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP],
    ids=lambda number: number.name,
)
def test_containers_vanish_when_their_process_is_killed(
    start: Start, own_containers: Owned, number: signal.Signals
) -> None:
    process = start("sandbox.run('sleep 300', timeout=300)")
    assert len(own_containers(process.pid)) == 1
    process.send_signal(number)
    process.wait()
    assert until(lambda: not own_containers(process.pid))


def test_a_sandbox_that_nobody_holds_is_removed(
    base_image: str, small_limits: SandboxLimits, own_containers: Owned
) -> None:
    before = {container.id for container in own_containers()}
    sandbox = DockerSandbox(base_image, workdir="/tmp", limits=small_limits)
    assert len({container.id for container in own_containers()} - before) == 1
    del sandbox
    gc.collect()
    assert {container.id for container in own_containers()} == before


def test_an_exception_leaves_none_behind(
    base_image: str, small_limits: SandboxLimits, own_containers: Owned
) -> None:
    before = {container.id for container in own_containers()}
    with (
        pytest.raises(KeyError),
        DockerSandbox(base_image, workdir="/tmp", limits=small_limits) as sandbox,
    ):
        sandbox.run("sleep 300 &")
        raise KeyError
    with pytest.raises(SandboxError, match="no-such-image"):
        DockerSandbox("srl-tests-no-such-image:ever", limits=small_limits)
    with pytest.raises(SandboxError):
        DockerSandbox(base_image, workdir="/tmp", limits=small_limits, runtime="no-such-runtime")
    with pytest.raises(SandboxError):
        DockerSandbox(base_image, workdir="/tmp", limits=small_limits, user="nobody-of-that-name")
    assert {container.id for container in own_containers()} == before


def test_a_forked_child_does_not_take_its_parents_container(start: Start) -> None:
    parent = start(
        "child = os.fork() or sys.exit(0)\nos.waitpid(child, "
        "0)\nprint(sandbox.run('echo alive').output, flush=True)\ntime.sleep(600)"
    )
    assert parent.stdout is not None and parent.stdout.readline() == "alive\n"


def test_nor_one_that_leaves_the_sandboxs_block(start: Start) -> None:
    body = (
        "child = os.fork() or sys.exit(0)",
        "os.waitpid(child, 0)",
        "print(sandbox.run('echo alive').output, flush=True)",
        "time.sleep(600)",
    )
    parent = start("with sandbox:\n" + "".join(f"    {line}\n" for line in body))
    assert parent.stdout is not None and parent.stdout.readline() == "alive\n"


def watchers_of(process: subprocess.Popen[str]) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[1:2] and words[1].endswith(b"/reaper.py"):
                found += [int(folder.name)] * (int(words[2]) == process.pid)
    return found


def kill_with_its_watcher(process: subprocess.Popen[str]) -> None:
    for watcher in watchers_of(process):
        os.kill(watcher, signal.SIGKILL)
    process.kill()
    process.wait()


CHILDREN_ARE_TOLD = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="processes are found by /proc"
)


@CHILDREN_ARE_TOLD
def test_the_watcher_outlives_whoever_ends_all_children_of_its_process(
    start: Start, own_containers: Owned
) -> None:
    """As Ray does with a node and its actors."""
    process = start("time.sleep(600)")
    assert len(watchers_of(process)) == 1
    session = os.getsid(process.pid)
    assert os.getsid(watchers_of(process)[0]) != session
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()
    assert until(lambda: not own_containers(process.pid))


@CHILDREN_ARE_TOLD
def test_the_first_sandbox_of_a_process_removes_what_the_dead_left(
    start: Start, own_containers: Owned
) -> None:
    dead = start("time.sleep(600)")
    kill_with_its_watcher(dead)
    assert len(own_containers(dead.pid)) == 1
    start("time.sleep(600)")
    assert not own_containers(dead.pid)


def test_what_stands_still_since_before_a_reboot_is_removed(engine: Any, base_image: str) -> None:
    labels = owner_labels()
    machine, _, namespace = labels[f"{LABEL}.place"].split("/")
    labels |= {f"{LABEL}.place": f"{machine}/another-boot/{namespace}", f"{LABEL}.run": "none"}
    ended, running = (
        engine.containers.run(base_image, command, labels=labels, network_mode="none", detach=True)
        for command in ("true", "sleep 600")
    )
    try:
        ended.wait()
        assert ended.id[:12] in prune()
        running.reload()  # raises if it is gone
    finally:
        for container in (ended, running):
            remove_container(engine, container.id)


@CHILDREN_ARE_TOLD
def test_prune_removes_those_of_the_dead_and_no_others(
    start: Start, own_containers: Owned, engine: Any, base_image: str, small_limits: SandboxLimits
) -> None:
    """Two runs side by side, one of them killed together with what would have cleaned up after
    it; then two prunes at once.
    """
    dead = [start("time.sleep(600)") for _ in range(2)]
    living = start(
        "sys.stdin.readline(); print(sandbox.run('echo alive').output, flush=True); time.sleep(600)"
    )
    foreign = engine.containers.create(
        base_image,
        ["true"],
        labels={
            "srl-envs.sandbox": "1",
            "srl-envs.sandbox.pid": str(dead[0].pid),
            "srl-envs.sandbox.place": "elsewhere",
        },
    )
    try:
        with DockerSandbox(base_image, workdir="/tmp", limits=small_limits) as own:
            for process in dead:
                kill_with_its_watcher(process)
            assert [len(own_containers(process.pid)) for process in dead] == [
                2,
                1,
            ]  # the foreign one names the first's id
            prunes = [
                subprocess.Popen(
                    [sys.executable, "-m", "srl_envs.sandbox", "prune"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for _ in range(2)
            ]
            outputs = [process.communicate()[0] for process in prunes]
            assert [process.returncode for process in prunes] == [0, 0]
            assert all("removed" in output for output in outputs)
            assert until(lambda: [len(own_containers(process.pid)) for process in dead] == [1, 0])
            assert own.run("echo alive").output == "alive\n"
            assert living.stdin is not None and living.stdout is not None
            living.stdin.write("\n")
            living.stdin.flush()
            assert living.stdout.readline() == "alive\n"
            assert foreign.id[:12] not in prune()
            foreign.reload()  # raises if it is gone
    finally:
        foreign.remove(force=True)


def test_prunes_at_once_report_each_container_once(
    engine: Any, base_image: str, start: Start, own_containers: Owned
) -> None:
    process = start("time.sleep(600)")
    (sandbox,) = own_containers(process.pid)
    process.kill()
    process.wait()
    dead = [engine.containers.create(base_image, ["true"], labels=sandbox.labels) for _ in range(3)]
    try:
        barrier = Barrier(4)
        with ThreadPoolExecutor(max_workers=4) as threads:
            removed = Counter(
                name
                for names in threads.map(lambda _: barrier.wait() >= 0 and prune(), range(4))
                for name in names
            )
        assert all(removed[container.id[:12]] <= 1 for container in dead)
        assert until(lambda: not own_containers(process.pid))
    finally:
        for container in dead:
            remove_container(engine, container.id)


def test_what_is_gone_already_was_not_removed_again(engine: Any, base_image: str) -> None:
    container = engine.containers.create(base_image, ["true"]).id
    assert remove_container(engine, container) is True
    assert remove_container(engine, container) is False

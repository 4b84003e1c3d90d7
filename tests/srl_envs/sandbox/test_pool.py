from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from srl_envs.errors import ConfigError
from srl_envs.sandbox import DockerSandbox, SandboxError, SandboxPool
from srl_envs.sandbox.ownership import LABEL

pytestmark = pytest.mark.docker


def containers(engine) -> set[str]:
    """Of this process."""
    return {
        container["Id"]
        for container in engine.api.containers(
            all=True, filters={"label": f"{LABEL}.pid={os.getpid()}"}
        )
    }


@pytest.fixture
def make(base_image, small_limits):
    return lambda: DockerSandbox(workdir="/tmp", limits=small_limits)


def test_each_gets_a_clean_sandbox_of_its_own_and_none_is_left(engine, make) -> None:
    before = containers(engine)
    with SandboxPool(make, size=2) as pool:

        def one(number: int) -> str:
            sandbox = pool.acquire()
            sandbox.run(f"echo {number} >> seen.txt")
            seen = sandbox.run("cat seen.txt").output
            pool.release(sandbox)
            return seen

        with ThreadPoolExecutor(max_workers=4) as threads:
            assert list(threads.map(one, range(8))) == [f"{number}\n" for number in range(8)]
        pool.acquire()  # still in use when the pool closes
    assert containers(engine) == before


def test_a_closed_pool_says_so(make) -> None:
    pool = SandboxPool(make, size=1)
    sandbox = pool.acquire()
    pool.close()
    pool.close()
    with pytest.raises(SandboxError, match="closed"):
        pool.acquire()
    pool.release(sandbox)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run("true")


class Stubborn(DockerSandbox):
    """Is closed, but says that it was not."""

    def close(self) -> None:
        super().close()
        raise SandboxError("not closed")


def test_one_that_is_not_closed_does_not_keep_the_others_open(
    engine, base_image, small_limits
) -> None:
    before = containers(engine)
    pool = SandboxPool(lambda: Stubborn(workdir="/tmp", limits=small_limits), size=2)
    pool.acquire()
    used = pool.acquire()
    with pytest.raises(SandboxError, match="not closed"):
        pool.close()
    pool.close()
    assert containers(engine) == before
    with pytest.raises(SandboxError, match="closed"):
        used.run("true")


def test_those_that_their_users_close_or_drop_are_forgotten(engine, make) -> None:
    with SandboxPool(make, size=1) as pool:
        closed, dropped = pool.acquire(), pool.acquire()
        closed.close()
        references = weakref.ref(closed), weakref.ref(dropped)
        del closed, dropped
        gc.collect()
        assert [reference() for reference in references] == [None, None]


def test_one_that_is_made_while_the_pool_closes_is_closed_too(engine, make) -> None:
    before, go = containers(engine), threading.Event()

    def slowly() -> DockerSandbox:
        go.wait()
        return make()

    pool = SandboxPool(slowly, size=1)
    with ThreadPoolExecutor(max_workers=2) as threads:
        asked = threads.submit(pool.acquire)
        while (
            len(pool._ready) != 1 or pool._threads._work_queue.empty()
        ):  # until the first is waited for, and the next is queued
            time.sleep(0.01)
        closing = threads.submit(pool.close)
        while not pool._closed:
            time.sleep(0.01)
        go.set()
        with pytest.raises(SandboxError, match="closed"):
            asked.result()
        closing.result()
    assert containers(engine) == before


def test_one_that_cannot_be_made_is_told_to_who_asks(engine, make, base_image) -> None:
    images = iter(["srl-no-such-image:1", base_image, base_image])
    with SandboxPool(lambda: DockerSandbox(next(images), workdir="/tmp"), size=1) as pool:
        with pytest.raises(SandboxError, match="srl-no-such-image"):
            pool.acquire()
        assert pool.acquire().run("echo fine").output == "fine\n"


def test_a_pool_needs_a_size(make) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        SandboxPool(make, size=0)

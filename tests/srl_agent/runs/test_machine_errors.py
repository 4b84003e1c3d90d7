"""What the libraries really raise when a file cannot grow, as one message."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srl_agent.runs.machine_errors import explained_errors, is_disk_full, is_memory_full
from srl_envs.errors import InfrastructureError

BIG = torch.zeros(100_000)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(BIG, path),
        lambda path: save_file({"weights": BIG}, path),
        lambda path: path.write_text("a" * 100_000),
    ],
    ids=["torch", "safetensors", "text"],
)
def test_files_that_cannot_grow(write: Callable[[Path], object], tmp_path: Path) -> None:
    with (
        pytest.raises(InfrastructureError) as caught,
        explained_errors(lambda: tmp_path / "run"),
        files_end_at(20_000),
    ):
        write(tmp_path / "file")
    message = str(caught.value)
    assert (
        message.startswith(f"The disk is full: {tmp_path / 'run'} cannot be written")
        and "rerun the same command" in message
        and "\n" not in message
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_device() -> None:
    for write in (
        lambda: torch.save(BIG, "/dev/full"),
        lambda: Path("/dev/full").write_text("a" * 100_000),
    ):
        with pytest.raises((OSError, RuntimeError)) as caught:
            write()
        assert is_disk_full(caught.value)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), explained_errors(lambda: tmp_path):
        (tmp_path / "nowhere" / "file").write_text("")
    with pytest.raises(RuntimeError, match="shape"), explained_errors(lambda: tmp_path):
        torch.zeros(2).reshape(3)


def test_memory_that_cannot_be_had(tmp_path: Path) -> None:
    with (
        pytest.raises(InfrastructureError, match="lower --per_device_train_batch_size"),
        explained_errors(lambda: tmp_path),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_memory_full(MemoryError())
